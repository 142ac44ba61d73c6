"""Scene-packed batches: each scene once, with all its targets and many questions.

Turns targets and questions into tensors; knows nothing of models or losses.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, K true objects, R questions of
all scenes together, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dollhouse.distill.mentions import Mention, MentionFinder
from dollhouse.distill.targets import ObjectTargets, SceneTargets
from dollhouse.errors import SceneError
from dollhouse.student.config import DollhouseConfig
from dollhouse.student.scratchpad import END_TOKEN, question_text
from dollhouse.student.sensors import Sensors

IGNORE = -100  #: the label that carries no loss, as everywhere in transformers
OBLONG = 1.15  #: from this ratio of its sides on, a box without a front still has a direction


@dataclass
class Tensors:
    """A dataclass of tensors that moves between devices as one."""

    def to(self, device: torch.device | str) -> Tensors:
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (Tensor, Tensors)):
                value = value.to(device)
            elif isinstance(value, list):
                value = [one.to(device) if isinstance(one, (Tensor, Tensors)) else one for one in value]
            moved[field.name] = value
        return type(self)(**moved)


@dataclass
class BoxTargets(Tensors):
    """The true boxes of one scene, in the level frame of its first view."""

    label: Tensor  #: (K,)
    colour: Tensor  #: (K,) -1 unknown
    center: Tensor  #: (K, 3)
    size: Tensor  #: (K, 3)
    yaw: Tensor  #: (K,)
    has_front: Tensor  #: (K,)
    oblong: Tensor  #: (K,) whether the box's direction can be told at all

    def take(self, rows: Tensor) -> BoxTargets:
        return BoxTargets(*[getattr(self, field.name)[rows] for field in fields(self)])

    @staticmethod
    def join(several: Sequence[BoxTargets]) -> BoxTargets:
        return BoxTargets(*[torch.cat([getattr(one, field.name) for one in several]) for field in fields(BoxTargets)])


@dataclass
class PatchTargets(Tensors):
    """What every patch of every scene shows, (B, M) each; ``own_*`` in the patch's own view's level frame."""

    label: Tensor  #: index, L for background, IGNORE where the scene is not annotated
    colour: Tensor  #: -1 unknown
    object_patch: Tensor  #: 1 where an object is shown
    depth: Tensor  #: metres, 0 unknown
    own_center: Tensor  #: (B, M, 3)
    center: Tensor  #: (B, M, 3)
    size: Tensor  #: (B, M, 3)
    own_yaw: Tensor
    has_front: Tensor
    oblong: Tensor


@dataclass
class Mentions(Tensors):
    """Objects that the questions of a chunk name."""

    names: Tensor  #: (K, 4): row in the chunk, the name's last token, true object, view named before (-1 none)
    pairs: Tensor  #: (K, 6) of questions that name several: row, the question's last token, view, three objects (-1)


@dataclass
class Batch(Tensors):
    """A few scenes and many questions."""

    pixel_values: Tensor  #: (B, V, 3, H, W)
    depth: Tensor  #: (B, V, H, W) metres, 0 unknown
    metric: Tensor  #: (B,)
    posed: Tensor  #: (B,)
    level_from_camera: Tensor  #: (B, V, 4, 4), identity where not posed
    up: Tensor  #: (B, V, 3)
    focal: Tensor  #: (B, V)
    patches: PatchTargets
    boxes: list[BoxTargets | None]
    member: Tensor  #: (B, M, N) true grouping
    question_ids: list[Tensor]  #: chunks (R, T) of questions of like length
    question_labels: list[Tensor]  #: (R, T) each, IGNORE but on the answer
    scene_of_question: list[Tensor]  #: (R,) each
    mentions: list[Mentions]  #: one a chunk
    group_by_truth: bool = False  #: whether the student is given ``member`` instead of grouping by its votes

    @property
    def sensors(self) -> Sensors:
        """Depth and poses, for a teacher that looks at them. Raises SceneError where a scene has none."""
        if not bool(self.posed.all()):
            raise SceneError("a model that looks at depth and poses cannot learn from scenes without them")
        return Sensors.of(self.depth, self.level_from_camera, self.up, self.focal)


def box_targets(objects: ObjectTargets) -> BoxTargets:
    """Arrays -> tensors."""
    sides = np.sort(objects.size[:, :2], axis=1)
    oblong = objects.has_front | (sides[:, 1] > OBLONG * sides[:, 0])
    return BoxTargets(
        label=torch.from_numpy(objects.label),
        colour=torch.from_numpy(objects.colour),
        center=torch.from_numpy(objects.center).float(),
        size=torch.from_numpy(objects.size).float(),
        yaw=torch.from_numpy(objects.yaw).float(),
        has_front=torch.from_numpy(objects.has_front).float(),
        oblong=torch.from_numpy(oblong).float(),
    )


def patch_targets(targets: SceneTargets, labels: int) -> PatchTargets:
    """One scene's patch targets, (M, ...) each."""
    views, height, width = targets.images.shape[:3]
    count = views * (height // 14) * (width // 14)
    objects = targets.objects
    if objects is None or targets.level_from_camera is None:
        nothing = torch.zeros(count)
        ignored = torch.full((count,), IGNORE)
        triple = torch.zeros(count, 3)
        return PatchTargets(
            ignored, -torch.ones(count).long(), nothing, nothing, triple, triple, triple + 1, nothing, nothing, nothing
        )
    boxes = box_targets(objects)
    shown = torch.from_numpy(objects.patch_object.reshape(-1).copy())
    is_object = shown >= 0
    at = shown.clamp(min=0)
    if len(boxes.label) == 0:
        boxes = BoxTargets(
            *[
                torch.zeros(1, *getattr(boxes, f.name).shape[1:], dtype=getattr(boxes, f.name).dtype)
                for f in fields(boxes)
            ]
        )
        boxes.size += 1.0
    of_patch = boxes.take(at)
    pose = torch.from_numpy(targets.level_from_camera).float()
    pose = pose.repeat_interleave(count // views, 0)
    ahead = torch.nn.functional.normalize(pose[:, :2, 2], dim=-1)
    turn = torch.atan2(-ahead[:, 0], ahead[:, 1])  # of the view's heading from the first view's, which is the y axis
    offset = of_patch.center - pose[:, :3, 3]
    cos, sin = turn.cos(), turn.sin()
    own = torch.stack(
        [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]], -1
    )
    return PatchTargets(
        label=torch.where(is_object, of_patch.label, torch.tensor(labels)),
        colour=torch.where(is_object, of_patch.colour, torch.tensor(-1)),
        object_patch=is_object.float(),
        depth=torch.from_numpy(objects.patch_depth.reshape(-1).copy()).float(),
        own_center=own,
        center=of_patch.center,
        size=of_patch.size,
        own_yaw=of_patch.yaw - turn,
        has_front=of_patch.has_front,
        oblong=of_patch.oblong,
    )


class Asked(NamedTuple):
    """One tokenised question with its answer."""

    ids: list[int]
    start: int  #: number of tokens before the answer
    mentions: tuple[Mention, ...] = ()


def question_tokens(
    tokenizer: PreTrainedTokenizerBase,
    config: DollhouseConfig,
    questions: Sequence[tuple[str, str]],
    objects: ObjectTargets | None = None,
    finder: MentionFinder | None = None,
) -> list[Asked]:
    """Questions with answers -> tokens, with the mentions of ``objects`` where both are given."""
    count, placement = config.num_thinking_tokens, config.thinking_placement
    asked = [question_text(question, count, placement) for question, _ in questions]
    answers = [" " + answer.strip().lower() + END_TOKEN for _, answer in questions]
    asked_ids = tokenizer(asked, add_special_tokens=False)["input_ids"] if asked else []
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"] if answers else []
    told = []
    for question, answer in zip(asked_ids, answer_ids, strict=True):
        mentions = finder.find(question, objects) if finder is not None and objects is not None else ()
        told.append(Asked(list(question) + list(answer), len(question), mentions))
    return told


def collate(
    scenes: Sequence[SceneTargets],
    questions: Sequence[Sequence[Asked]],
    config: DollhouseConfig,
    group_by_truth: bool = False,
    chunks: int = 3,
) -> Batch:
    """Scenes with their tokenised questions -> one batch. All scenes must have one image shape and view count."""
    views, height, width = scenes[0].images.shape[:3]
    count = views * (height // 14) * (width // 14)
    images = torch.from_numpy(np.stack([scene.images for scene in scenes]))
    member = torch.zeros(len(scenes), count, config.num_objects)
    boxes: list[BoxTargets | None] = []
    patches = []
    for row, scene in enumerate(scenes):
        patches.append(patch_targets(scene, len(config.labels)))
        boxes.append(None if scene.objects is None else box_targets(scene.objects))
        if scene.objects is not None:
            shown = torch.from_numpy(scene.objects.patch_object.reshape(-1).copy())
            kept = (shown >= 0) & (shown < config.num_objects)
            member[row, kept.nonzero().squeeze(-1), shown[kept]] = 1.0
    ids, labels, owners, mentions = pack_questions(questions, config.pad_token_id, chunks)
    unposed = np.tile(np.eye(4), (views, 1, 1))
    upright = np.tile([0.0, -1.0, 0.0], (views, 1))
    return Batch(
        pixel_values=images.permute(0, 1, 4, 2, 3).contiguous().float().div_(255),
        depth=torch.from_numpy(
            np.stack([np.zeros(s.images.shape[:3], np.float32) if s.depth is None else s.depth for s in scenes])
        ).float(),
        metric=torch.tensor([scene.metric for scene in scenes]),
        posed=torch.tensor([scene.level_from_camera is not None and scene.focal is not None for scene in scenes]),
        level_from_camera=torch.from_numpy(
            np.stack([unposed if s.level_from_camera is None else s.level_from_camera for s in scenes])
        ).float(),
        up=torch.from_numpy(np.stack([upright if s.up is None else s.up for s in scenes])).float(),
        focal=torch.from_numpy(np.stack([np.ones(views) if s.focal is None else s.focal for s in scenes])).float(),
        patches=PatchTargets(
            *[torch.stack([getattr(one, field.name) for one in patches]) for field in fields(PatchTargets)]
        ),
        boxes=boxes,
        member=member,
        question_ids=ids,
        question_labels=labels,
        scene_of_question=owners,
        mentions=mentions,
        group_by_truth=group_by_truth and all(box is not None for box in boxes),
    )


def pack_questions(
    questions: Sequence[Sequence[Asked]], pad: int, chunks: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Mentions]]:
    """Questions of all scenes -> chunks of like length, so that a long description does not pad a short answer."""
    rows = [(asked, owner) for owner, of_scene in enumerate(questions) for asked in of_scene]
    rows.sort(key=lambda row: len(row[0].ids))
    if not rows:
        return [], [], [], []
    bounds = np.linspace(0, len(rows), min(chunks, len(rows)) + 1).round().astype(int)
    ids_chunks, label_chunks, owner_chunks, mention_chunks = [], [], [], []
    for low, high in pairwise(bounds):
        chunk = rows[low:high]
        length = len(chunk[-1][0].ids)
        ids = torch.full((len(chunk), length), pad)
        labels = torch.full((len(chunk), length), IGNORE)
        names, pairs = [], []
        for row, (asked, _) in enumerate(chunk):
            ids[row, : len(asked.ids)] = torch.tensor(asked.ids)
            labels[row, asked.start : len(asked.ids)] = torch.tensor(asked.ids[asked.start :])
            names += [[row, one.place, one.object, one.view] for one in asked.mentions]
            if len(asked.mentions) > 1:
                objects = [one.object for one in asked.mentions[:3]] + [-1]
                pairs.append([row, asked.start - 1, asked.mentions[1].view, *objects[:3]])
        ids_chunks.append(ids)
        label_chunks.append(labels)
        owner_chunks.append(torch.tensor([owner for _, owner in chunk]))
        mention_chunks.append(
            Mentions(
                torch.tensor(names, dtype=torch.long).reshape(-1, 4),
                torch.tensor(pairs, dtype=torch.long).reshape(-1, 6),
            )
        )
    return ids_chunks, label_chunks, owner_chunks, mention_chunks
