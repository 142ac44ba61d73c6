"""Scene-packed batches of tensors: each scene once, with its targets and many questions.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, K true objects, L labels,
D the teacher's width, R questions of all scenes together, T text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dollhouse.data.feature_cache import EncoderFeatures
from dollhouse.data.targets import IGNORED, PATCH, ObjectTargets, SceneTargets
from dollhouse.data.teacher_patches import resample_cells
from dollhouse.data.tokenization import ReferredObjects, SparseTeacherLogits, TokenizedQA, pack_questions
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.tensors import IGNORE, Tensors

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
    oblong: Tensor  #: (K,) whether the box has a direction at all


@dataclass
class PatchTargets(Tensors):
    """The object that every patch shows, (B, M) each; ``own_*`` in the level frame of the patch's own view."""

    label: Tensor  #: index, L for background, IGNORE where not annotated or of an object without a label
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
    """The teacher's predictions for every patch of every scene, with marks where there are none."""

    features: Tensor  #: (B, M, D); D is 0 where no scene of the batch has any
    known: Tensor  #: (B, M) 1 where there are features
    labels: Tensor  #: (B, M, L+1) probabilities, the last of "no object"; their sum is the confidence, 0 unknown
    depth: Tensor  #: (B, M) metres, 0 unknown
    relations: list[Tensor | None]  #: as ``Batch.relations``, predicted by the teacher


@dataclass
class Batch(Tensors):
    """A few scenes and many questions."""

    pixel_values: Tensor  #: (B, V, 3, H, W)
    depth: Tensor  #: (B, V, H, W) metres, 0 unknown
    metric: Tensor  #: (B,)
    posed: Tensor  #: (B,)
    level_from_camera: Tensor  #: (B, V, 4, 4), identity where not posed
    up: Tensor  #: (B, V, 3)
    focal: Tensor  #: (B, V) over the image's width, 0 unknown
    patches: PatchTargets
    boxes: list[BoxTargets | None]
    #: (K, K, 2) each, probabilities that the second is right of, above the first; or nan
    relations: list[Tensor | None]
    patch_assignment: Tensor  #: (B, M, N) true object of each patch, one-hot
    question_ids: list[Tensor]  #: chunks (R, T) of questions of like length
    question_labels: list[Tensor]  #: (R, T) each, IGNORE but on the answer
    scene_of_question: list[Tensor]  #: (R,) each
    mentions: list[ReferredObjects]  #: one a chunk
    top_tokens: list[SparseTeacherLogits | None]  #: one a chunk
    teacher: TeacherTargets | None  #: None where no scene has any
    use_gt_assignment: bool = False  #: group patches by ``patch_assignment``, not by votes
    sample_indices: list[int] = field(default_factory=list)  #: of the scenes, where they have any
    #: (K, 7) each, centre, size and yaw of objects without a label
    ignored_boxes: list[Tensor | None] = field(default_factory=list)
    known_focal: Tensor | None = None  #: (B, V) as the student is given them, NaN for none
    features: EncoderFeatures | None = None  #: the frozen encoder's output; None: it is to be computed
    label_ids: Tensor | None = None  #: (B, L, W) tokens of each label's word, IGNORE as padding; None: the config's

    @property
    def rgbd_inputs(self) -> RGBDInputs:
        """Depth and poses, for RGB-D models. Raises SceneError where a scene has none."""
        if not bool(self.posed.all()):
            raise SceneError("a model with use_rgbd needs scenes with depth and poses")
        return RGBDInputs.from_poses(self.depth, self.level_from_camera, self.up, self.focal)


def box_targets(objects: ObjectTargets) -> BoxTargets:
    """Convert the boxes of one scene to tensors."""
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
    """Return one scene's patch targets, (M, ...) each; ``labels`` is the number of labels."""
    views, height, width = targets.images.shape[:3]
    count = views * (height // PATCH) * (width // PATCH)
    objects = targets.objects
    if objects is None or targets.level_from_camera is None:
        zero, vector = torch.zeros(count), torch.zeros(count, 3)
        ignored, no_colour = torch.full((count,), IGNORE), -torch.ones(count).long()
        return PatchTargets(ignored, no_colour, zero, zero, vector, vector, vector + 1, zero, zero, zero)
    boxes = box_targets(objects)
    shown = torch.from_numpy(objects.patch_object.reshape(-1).copy())
    is_object = shown >= 0
    at = shown.clamp(min=0)
    if len(boxes.label) == 0:
        boxes = boxes.map(lambda value: value.new_zeros(1, *value.shape[1:]))
        boxes.size += 1.0
    of_patch = boxes.take(at)
    pose = torch.from_numpy(targets.level_from_camera).float().repeat_interleave(count // views, 0)
    ahead = torch.nn.functional.normalize(pose[:, :2, 2], dim=-1)
    turn = torch.atan2(-ahead[:, 0], ahead[:, 1])  # of the view's heading from the first view's, which is the y axis
    offset = of_patch.center - pose[:, :3, 3]
    cos, sin = turn.cos(), turn.sin()
    x, y, z = offset.unbind(-1)
    own = torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)
    return PatchTargets(
        label=torch.where(is_object, of_patch.label, torch.tensor(labels)).masked_fill(shown == IGNORED, IGNORE),
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
    """Stack the teacher's predictions for scenes of ``patches`` patches; None where there are none.

    Raises RecipeError where the features of two scenes differ in width: they are of two teachers.
    """
    rows = [scene.teacher for scene in scenes]
    widths = sorted({row.features.shape[-1] for row in rows if row is not None and row.features is not None})
    if len(widths) > 1:
        raise RecipeError(
            f"the scenes of a batch have teacher's features {' and '.join(map(str, widths))} wide: "
            "distil from the records of one teacher"
        )
    if not any(rows) and all(scene.label_cells is None for scene in scenes):
        return None
    targets = TeacherTargets(
        features=torch.zeros(len(scenes), patches, widths[0] if widths else 0),
        known=torch.zeros(len(scenes), patches),
        labels=torch.zeros(len(scenes), patches, labels + 1),
        depth=torch.zeros(len(scenes), patches),
        relations=[None if row is None else _soft(row.relations) for row in rows],
    )
    for number, row in enumerate(rows):
        for name in ("features", "known", "labels", "depth"):
            values = None if row is None else getattr(row, name)
            if values is not None:
                getattr(targets, name)[number] = torch.from_numpy(values.reshape(patches, *values.shape[2:]))
        if (cells := scenes[number].label_cells) is not None:
            height, width = (side // PATCH for side in scenes[number].images.shape[1:3])
            targets.labels[number] = torch.from_numpy(resample_cells(cells, (height, width)).reshape(patches, -1))
    return targets


def photo_tensor(images: Tensor) -> Tensor:
    """Convert photos (B, V, H, W, 3), uint8, to (B, V, 3, H, W) in [0, 1]."""
    return images.permute(0, 1, 4, 2, 3).contiguous().float().div_(255)


def padded_ids(words: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return token ids of words (B, L, W), padded with IGNORE."""
    longest = max((len(ids) for scene in words for ids in scene), default=1)
    return torch.tensor([[[*ids, *[IGNORE] * (longest - len(ids))] for ids in scene] for scene in words])


def _soft(array: NDArray[Any] | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array.astype(np.float32))


def collate_batch(
    scenes: Sequence[SceneTargets],
    questions: Sequence[Sequence[TokenizedQA]],
    config: DollhouseConfig,
    use_gt_assignment: bool = False,
    chunks: int = 3,
    sample_indices: Sequence[int] = (),
    label_ids: Sequence[Sequence[Sequence[int]]] = (),
    features: Sequence[EncoderFeatures] = (),
) -> Batch:
    """Collate scenes of one image shape and number of views with the tokenized questions of each.

    Args:
        use_gt_assignment: group patches by the true instances, if every scene has boxes.
        chunks: how many chunks of similar length questions are packed into.
        sample_indices: of the scenes in their source, the keys of the object cache.
        label_ids: tokens of each label's word in each scene; (): those of the config.
        features: the encoder's output for each scene; (): none.
    """
    views, height, width = scenes[0].images.shape[:3]
    count = views * (height // PATCH) * (width // PATCH)
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
    packed = pack_questions(questions, config.pad_token_id, chunks)

    def stacked(values: Iterable[Any], default: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.stack([default if value is None else value for value in values])).float()

    return Batch(
        pixel_values=photo_tensor(torch.from_numpy(np.stack([scene.images for scene in scenes]))),
        depth=stacked((s.depth for s in scenes), np.zeros((views, height, width), np.float32)),
        metric=torch.tensor([scene.metric for scene in scenes]),
        posed=torch.tensor([scene.level_from_camera is not None and scene.focal is not None for scene in scenes]),
        level_from_camera=stacked((s.level_from_camera for s in scenes), np.tile(np.eye(4), (views, 1, 1))),
        up=stacked((s.up for s in scenes), np.tile([0.0, -1.0, 0.0], (views, 1))),
        focal=stacked((s.focal for s in scenes), np.zeros(views)),
        patches=PatchTargets.concat(patches, torch.stack),
        boxes=boxes,
        relations=[None if s.objects is None else _soft(s.objects.relations) for s in scenes],
        patch_assignment=patch_assignment,
        question_ids=packed.ids,
        question_labels=packed.labels,
        scene_of_question=packed.scene,
        mentions=packed.mentions,
        top_tokens=packed.top_tokens,
        teacher=teacher_targets(scenes, count, len(config.labels)),
        use_gt_assignment=use_gt_assignment and all(box is not None for box in boxes),
        sample_indices=list(sample_indices),
        features=EncoderFeatures.concat(features) if features else None,
        label_ids=padded_ids(label_ids) if label_ids else None,
        ignored_boxes=[None if s.objects is None else torch.from_numpy(s.objects.ignored_boxes) for s in scenes],
    )
