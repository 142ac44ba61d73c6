"""All losses of perception outputs that a batch has targets for; the others are absent, not zero.

A loss of several parts is returned as a sum ("spatial") and by part ("spatial/views").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from dollhouse.data.collator import Batch
from dollhouse.data.correspondence import shared_in
from dollhouse.models.dollhouse.heads import DepthBins
from dollhouse.models.dollhouse.modeling_perception import PerceptionOutput
from dollhouse.models.tensors import IGNORE
from dollhouse.training.losses.camera import camera_loss
from dollhouse.training.losses.depth import aligned_depth, depth_bin_kl, depth_bin_loss, depth_loss
from dollhouse.training.losses.detection import detection_losses, match_boxes
from dollhouse.training.losses.feature import label_kl, patch_depth_loss
from dollhouse.training.losses.multiview import label_consistency, point_consistency
from dollhouse.training.losses.relation import relation_kl
from dollhouse.training.losses.spatial import feature_distance, view_consistency
from dollhouse.training.losses.voting import patch_label_loss, voting_loss


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
    parts: dict[str, Tensor] = {}
    teacher, votes, log_depth = batch.teacher, perception.votes, perception.log_depth
    if log_depth is not None and bool((batch.depth > 0).any()):
        if "depth_reg" in names:
            parts["depth_reg"] = depth_loss(log_depth, batch.depth, batch.metric)
        if perception.depth_bins is not None and {"depth_ce", "depth_kl"} & set(names):
            depth = aligned_depth(log_depth, batch.depth, batch.metric)
            if "depth_ce" in names:
                parts["depth_ce"] = depth_bin_loss(perception.depth_bins, depth, bins)
            if "depth_kl" in names:
                parts["depth_kl"] = depth_bin_kl(perception.depth_bins, depth, bins)
    if "camera" in names and bool((batch.focal > 0).any()):
        cameras = replace(perception.cameras, focal=perception.predicted_focal)
        targets = (batch.level_from_camera, batch.up, batch.focal)
        parts["camera"] = camera_loss(cameras, *targets, batch.posed, batch.metric)
    apart = "labels" in names  # else they are part of the losses of voting and detection
    classes: dict[str, Tensor] = {}
    if {"voting", "labels"} & set(names) and bool((batch.patches.label != IGNORE).any()):
        classes["patches"] = patch_label_loss(votes, batch.patches)
        if "voting" in names:
            parts["voting"] = voting_loss(votes, batch.patches) + (0 if apart else classes["patches"])
    if {"detection", "labels"} & set(names) and any(boxes is not None for boxes in batch.boxes):
        classes["objects"], boxes = detection_losses(perception.objects, batch.boxes, batch.ignored_boxes)
        if "detection" in names:
            parts["detection"] = boxes + (0 if apart else classes["objects"])
    if apart:
        parts |= _with_sum("labels", **classes)
    if {"spatial", "multiview"} & set(names):
        height, width = batch.pixel_values.shape[-2:]
        grid = (height // patch_size, width // patch_size)
        shared = shared_in(batch, perception, patch_size)
        if "spatial" in names:
            features = None
            if mapped is not None and teacher is not None and bool(teacher.known.any()):
                features = feature_distance(mapped.flatten(1, 2), teacher.features, teacher.known)
            views = view_consistency(perception.patches, grid, shared) if len(shared) else None
            relations = pair_loss(perception, batch, batch.relations)
            parts |= _with_sum("spatial", features=features, views=views, relations=relations)
        if "multiview" in names and len(shared):
            assert log_depth is not None
            points = point_consistency(log_depth, perception.cameras, shared)
            labels = votes.label_logits.unflatten(1, perception.patches.shape[1:3])
            parts |= _with_sum("multiview", points=points, labels=label_consistency(labels, grid, shared))
    if "feature" in names and teacher is not None:
        parts |= _with_sum(
            "feature",
            labels=label_kl(votes.label_logits, teacher.labels),
            relations=pair_loss(perception, batch, teacher.relations),
            depth=patch_depth_loss(votes.log_depth, teacher.depth),
        )
    return parts


def pair_loss(perception: PerceptionOutput, batch: Batch, relations: list[Tensor | None]) -> Tensor | None:
    """Return the loss of relations between matched objects; None without a head or without targets."""
    if perception.relations is None:
        return None
    matches = [
        None if boxes is None else match_boxes(perception.objects, row, boxes) for row, boxes in enumerate(batch.boxes)
    ]
    return relation_kl(perception.relations, relations, matches)


def _with_sum(name: str, **parts: Tensor | None) -> dict[str, Tensor]:
    known = {f"{name}/{part}": value for part, value in parts.items() if value is not None}
    return {name: sum(known.values(), start=next(iter(known.values())).new_zeros(())), **known} if known else {}
