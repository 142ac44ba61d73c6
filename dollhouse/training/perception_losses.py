"""All losses of perception outputs that a batch has targets for; the others are absent, not zero.

A loss of several parts is returned as a sum ("spatial") and by part ("spatial/views").

Axes: B batch, V views, P patches of a view, D the teacher's width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from dollhouse.data.collator import Batch
from dollhouse.data.correspondence import SharedPoints, shared_in
from dollhouse.data.tensors import IGNORE
from dollhouse.models.dollhouse.depth_bins import DepthBins
from dollhouse.models.dollhouse.modeling import PerceptionOutput
from dollhouse.training import losses


def perception_losses(
    names: Collection[str],
    perception: PerceptionOutput,
    batch: Batch,
    bins: DepthBins,
    patch_size: int,
    mapped: Tensor | None,
) -> dict[str, Tensor]:
    """Return those of the losses ``names`` that have targets.

    Args:
        bins: of the depth bin head.
        patch_size: in pixels.
        mapped: (B, V, P, D) the trunk's features at the teacher's width; None: the teacher has no features.
    """
    parts = depth_losses(names, perception, batch, bins)
    if "camera" in names and bool(batch.posed.all()):
        parts["camera"] = losses.camera_loss(perception.cameras, batch.level_from_camera, batch.up, batch.focal)
    if "voting" in names and bool((batch.patches.label != IGNORE).any()):
        parts["voting"] = losses.voting_loss(perception.votes, batch.patches)
    if "detection" in names and any(boxes is not None for boxes in batch.boxes):
        parts["detection"] = losses.detection_loss(perception.objects, batch.boxes)
    if {"spatial", "multiview"} & set(names):
        height, width = batch.pixel_values.shape[-2:]
        grid = (height // patch_size, width // patch_size)
        shared = shared_in(batch, perception, patch_size)
        if "spatial" in names:
            parts.update(spatial_losses(perception, batch, mapped, shared, grid))
        if "multiview" in names and len(shared):
            parts.update(multiview_losses(perception, shared, grid))
    if "feature" in names:
        parts.update(feature_losses(perception, batch))
    return parts


def depth_losses(
    names: Collection[str], perception: PerceptionOutput, batch: Batch, bins: DepthBins
) -> dict[str, Tensor]:
    """Return the losses of depth maps and of patches' depth bins."""
    parts: dict[str, Tensor] = {}
    if perception.log_depth is None or not bool((batch.depth > 0).any()):
        return parts
    if "depth_reg" in names:
        parts["depth_reg"] = losses.depth_loss(perception.log_depth, batch.depth, batch.metric)
    if perception.depth_bins is not None and {"depth_ce", "depth_kl"} & set(names):
        depth = losses.aligned_depth(perception.log_depth, batch.depth, batch.metric)
        if "depth_ce" in names:
            parts["depth_ce"] = losses.depth_bin_loss(perception.depth_bins, depth, bins)
        if "depth_kl" in names:
            parts["depth_kl"] = losses.depth_bin_kl(perception.depth_bins, depth, bins)
    return parts


def spatial_losses(
    perception: PerceptionOutput, batch: Batch, mapped: Tensor | None, shared: SharedPoints, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """Return the paper's Eq. 1 and the loss of relations."""
    features = None
    if mapped is not None and batch.teacher is not None and bool(batch.teacher.known.any()):
        features = losses.feature_distance(mapped.flatten(1, 2), batch.teacher.features, batch.teacher.known)
    views = losses.view_consistency(perception.patches, grid, shared) if len(shared) else None
    relations = pair_loss(perception, batch, batch.relations)
    return _with_sum("spatial", {"features": features, "views": views, "relations": relations})


def multiview_losses(perception: PerceptionOutput, shared: SharedPoints, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Return the inconsistency of points and labels between views."""
    assert perception.log_depth is not None
    labels = perception.votes.label_logits.unflatten(1, perception.patches.shape[1:3])
    points = losses.point_consistency(perception.log_depth, perception.cameras, shared)
    return _with_sum("multiview", {"points": points, "labels": losses.label_consistency(labels, grid, shared)})


def feature_losses(perception: PerceptionOutput, batch: Batch) -> dict[str, Tensor]:
    """Return the losses against the teacher's own predictions for patches and pairs."""
    teacher = batch.teacher
    if teacher is None:
        return {}
    return _with_sum(
        "feature",
        {
            "labels": losses.label_kl(perception.votes.label_logits, teacher.labels),
            "relations": pair_loss(perception, batch, teacher.relations),
            "depth": losses.patch_depth_loss(perception.votes.log_depth, teacher.depth),
        },
    )


def pair_loss(perception: PerceptionOutput, batch: Batch, relations: list[Tensor | None]) -> Tensor | None:
    """Return the loss of relations between matched objects; None without a head or without targets."""
    if perception.relations is None:
        return None
    matches = [
        None if boxes is None else losses.match_boxes(perception.objects, row, boxes)
        for row, boxes in enumerate(batch.boxes)
    ]
    return losses.relation_kl(perception.relations, relations, matches)


def _with_sum(name: str, parts: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    known = {f"{name}/{part}": value for part, value in parts.items() if value is not None}
    return {name: sum(known.values(), start=next(iter(known.values())).new_zeros(())), **known} if known else {}
