"""The losses of seeing: every one that a batch has targets for, from what the student sees.

A loss made of several is told as a whole and in parts ("spatial" and "spatial/views"); what a batch lacks is absent,
not zero. Knows nothing of weights or of words.

Axes: B batch, V views, P patches of a view, M = V*P, D the teacher's width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from dollhouse.data.collator import Batch
from dollhouse.data.correspondence import SharedPoints, shared_in
from dollhouse.data.tensors import IGNORE
from dollhouse.models.dollhouse.depth_bins import DepthBins
from dollhouse.models.dollhouse.modeling import PerceptionOutput
from dollhouse.training.losses import (
    aligned_depth,
    camera_loss,
    depth_bin_kl,
    depth_bin_loss,
    depth_hint_loss,
    depth_loss,
    detection_loss,
    feature_distance,
    label_disagreement,
    label_kl,
    match_boxes,
    point_disagreement,
    relation_kl,
    view_disagreement,
    vote_loss,
)


def perception_losses(
    names: Collection[str],
    perception: PerceptionOutput,
    batch: Batch,
    bins: DepthBins,
    patch_size: int,
    mapped: Tensor | None,
) -> dict[str, Tensor]:
    """Those of the losses ``names`` that have targets.

    ``mapped`` (B, V, P, D) are the trunk's features brought to the teacher's width; None: the teacher has no features.
    """
    parts: dict[str, Tensor] = {}
    parts.update(depth_losses(names, perception, batch, bins))
    if "camera" in names and bool(batch.posed.all()):
        parts["camera"] = camera_loss(perception.cameras, batch.level_from_camera, batch.up, batch.focal)
    if "voting" in names and bool((batch.patches.label != IGNORE).any()):
        parts["voting"] = vote_loss(perception.votes, batch.patches)
    if "detection" in names and any(box is not None for box in batch.boxes):
        parts["detection"] = detection_loss(perception.objects, batch.boxes)
    if {"spatial", "multiview"} & set(names):
        height, width = batch.pixel_values.shape[-2:]
        grid = (height // patch_size, width // patch_size)
        shared = shared_in(batch, perception, patch_size)
        if "spatial" in names:
            parts.update(spatial_losses(perception, batch, mapped, shared, grid))
        if "multiview" in names:
            parts.update(multiview_losses(perception, shared, grid))
    if "feature" in names:
        parts.update(feature_losses(perception, batch))
    return parts


def depth_losses(
    names: Collection[str], perception: PerceptionOutput, batch: Batch, bins: DepthBins
) -> dict[str, Tensor]:
    """Depth of pixels, and of patches by bins."""
    parts: dict[str, Tensor] = {}
    if perception.log_depth is None or not bool((batch.depth > 0).any()):
        return parts
    if "depth_reg" in names:
        parts["depth_reg"] = depth_loss(perception.log_depth, batch.depth, batch.metric)
    if perception.depth_bins is not None and {"depth_ce", "depth_kl"} & set(names):
        depth = aligned_depth(perception.log_depth, batch.depth, batch.metric)
        if "depth_ce" in names:
            parts["depth_ce"] = depth_bin_loss(perception.depth_bins, depth, bins)
        if "depth_kl" in names:
            parts["depth_kl"] = depth_bin_kl(perception.depth_bins, depth, bins)
    return parts


def spatial_losses(
    perception: PerceptionOutput, batch: Batch, mapped: Tensor | None, shared: SharedPoints, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """The paper's Eq. 1, and relations."""
    features = None
    if mapped is not None and batch.teacher is not None and bool(batch.teacher.known.any()):
        features = feature_distance(mapped.flatten(1, 2), batch.teacher.features, batch.teacher.known)
    views = view_disagreement(perception.patches, grid, shared) if len(shared) else None
    return summed(
        "spatial", {"features": features, "views": views, "relations": pair_loss(perception, batch, batch.relations)}
    )


def multiview_losses(perception: PerceptionOutput, shared: SharedPoints, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Predictions about shared points."""
    if not len(shared):
        return {}
    assert perception.log_depth is not None
    labels = perception.votes.label_logits.unflatten(1, perception.patches.shape[1:3])
    return summed(
        "multiview",
        {
            "points": point_disagreement(perception.log_depth, perception.cameras, shared),
            "labels": label_disagreement(labels, grid, shared),
        },
    )


def feature_losses(perception: PerceptionOutput, batch: Batch) -> dict[str, Tensor]:
    """What the teacher itself makes of patches and pairs."""
    teacher = batch.teacher
    if teacher is None:
        return {}
    return summed(
        "feature",
        {
            "labels": label_kl(perception.votes.label_logits, teacher.labels),
            "relations": pair_loss(perception, batch, teacher.relations),
            "depth": depth_hint_loss(perception.votes.log_depth, teacher.depth),
        },
    )


def pair_loss(perception: PerceptionOutput, batch: Batch, relations: list[Tensor | None]) -> Tensor | None:
    """Relations of the objects that the student's slots hold."""
    if perception.relations is None:
        return None
    matches = [
        None if truth is None else match_boxes(perception.objects, row, truth) for row, truth in enumerate(batch.boxes)
    ]
    return relation_kl(perception.relations, relations, matches)


def summed(name: str, parts: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """The parts that there are as ``name/part``, and their sum as ``name``; nothing where there are none."""
    known = {f"{name}/{part}": value for part, value in parts.items() if value is not None}
    return {name: sum(known.values(), start=next(iter(known.values())).new_zeros(())), **known} if known else {}
