"""Scene-packed batches: each scene once, with all its targets and many questions.

Turns targets into tensors (questions: :mod:`dollhouse.data.tokenization`); knows nothing of models or losses.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, K true objects, L labels,
D the teacher's width, R questions of all scenes together, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dollhouse.data.targets import ObjectTargets, SceneTargets
from dollhouse.data.tensors import IGNORE, Tensors
from dollhouse.data.tokenization import ReferredObjects, SparseTeacherLogits, TokenizedQA, pack_questions
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs

OBLONG = 1.15  #: from this ratio of its sides on, a box without a front still has a direction


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
class TeacherTargets(Tensors):
    """What the teacher saw in every patch of every scene; what it did not tell of a patch is marked so."""

    features: Tensor  #: (B, M, D); D is 0 where no scene of the batch has any
    known: Tensor  #: (B, M) 1 where there are features
    labels: Tensor  #: (B, M, L+1) chances of labels, the last "no object"; all 0 unknown
    depth: Tensor  #: (B, M) metres, 0 unknown
    relations: list[Tensor | None]  #: as ``Batch.relations``, by the teacher's own estimate


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
    relations: list[Tensor | None]  #: (K, K, 2) each: chance that the second is right of, above the first; nan unknown
    patch_assignment: Tensor  #: (B, M, N) true grouping
    question_ids: list[Tensor]  #: chunks (R, T) of questions of like length
    question_labels: list[Tensor]  #: (R, T) each, IGNORE but on the answer
    scene_of_question: list[Tensor]  #: (R,) each
    mentions: list[ReferredObjects]  #: one a chunk
    top_tokens: list[SparseTeacherLogits | None]  #: one a chunk
    teacher: TeacherTargets | None  #: None where it told nothing of any patch of the batch
    use_gt_assignment: bool = False  #: whether the student uses ``patch_assignment``, not its votes
    numbers: list[int] = field(default_factory=list)  #: of the lessons, where they have any

    @property
    def rgbd_inputs(self) -> RGBDInputs:
        """Depth and poses, for a teacher that looks at them. Raises SceneError where a scene has none."""
        if not bool(self.posed.all()):
            raise SceneError("a model that looks at depth and poses cannot learn from scenes without them")
        return RGBDInputs.of(self.depth, self.level_from_camera, self.up, self.focal)


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


def teacher_targets(scenes: Sequence[SceneTargets], patches: int, labels: int) -> TeacherTargets | None:
    """What the teacher saw in scenes of ``patches`` patches; None where it told nothing.

    Raises RecipeError where the features of two scenes are not of one width: they are of two teachers.
    """
    told = [scene.teacher for scene in scenes]
    widths = sorted({one.features.shape[-1] for one in told if one is not None and one.features is not None})
    if len(widths) > 1:
        raise RecipeError(
            f"the scenes of a batch have teacher's features {' and '.join(map(str, widths))} wide: "
            "distil from the records of one teacher"
        )
    if not any(told):
        return None
    targets = TeacherTargets(
        features=torch.zeros(len(scenes), patches, widths[0] if widths else 0),
        known=torch.zeros(len(scenes), patches),
        labels=torch.zeros(len(scenes), patches, labels + 1),
        depth=torch.zeros(len(scenes), patches),
        relations=[None if one is None else as_tensor(one.relations) for one in told],
    )
    for row, one in enumerate(told):
        if one is None:
            continue
        if one.features is not None and one.known is not None:
            targets.features[row] = flat_patches(one.features)
            targets.known[row] = flat_patches(one.known)
        if one.labels is not None:
            targets.labels[row] = flat_patches(one.labels)
        if one.depth is not None:
            targets.depth[row] = flat_patches(one.depth)
    return targets


def flat_patches(array: NDArray[Any]) -> Tensor:
    """(V, P, ...) -> (M, ...)."""
    return torch.from_numpy(array.reshape(-1, *array.shape[2:]).astype(np.float32))


def as_tensor(array: NDArray[Any] | None) -> Tensor | None:
    """The array's numbers, if there is one."""
    return None if array is None else torch.from_numpy(array.astype(np.float32))


def collate(
    scenes: Sequence[SceneTargets],
    questions: Sequence[Sequence[TokenizedQA]],
    config: DollhouseConfig,
    use_gt_assignment: bool = False,
    chunks: int = 3,
    numbers: Sequence[int] = (),
) -> Batch:
    """Scenes with their tokenised questions -> one batch. All scenes must have one image shape and view count.

    ``numbers`` are the lessons that the scenes are.
    """
    views, height, width = scenes[0].images.shape[:3]
    count = views * (height // 14) * (width // 14)
    images = torch.from_numpy(np.stack([scene.images for scene in scenes]))
    patch_assignment = torch.zeros(len(scenes), count, config.num_objects)
    boxes: list[BoxTargets | None] = []
    patches = []
    for row, scene in enumerate(scenes):
        patches.append(patch_targets(scene, len(config.labels)))
        boxes.append(None if scene.objects is None else box_targets(scene.objects))
        if scene.objects is not None:
            shown = torch.from_numpy(scene.objects.patch_object.reshape(-1).copy())
            kept = (shown >= 0) & (shown < config.num_objects)
            patch_assignment[row, kept.nonzero().squeeze(-1), shown[kept]] = 1.0
    ids, labels, owners, mentions, alternatives = pack_questions(questions, config.pad_token_id, chunks)
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
        relations=[None if s.objects is None else as_tensor(s.objects.relations) for s in scenes],
        patch_assignment=patch_assignment,
        question_ids=ids,
        question_labels=labels,
        scene_of_question=owners,
        mentions=mentions,
        top_tokens=alternatives,
        teacher=teacher_targets(scenes, count, len(config.labels)),
        use_gt_assignment=use_gt_assignment and all(box is not None for box in boxes),
        numbers=list(numbers),
    )
