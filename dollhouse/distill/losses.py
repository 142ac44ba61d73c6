"""Losses: one small function each, from predictions and targets to a scalar.

Know nothing of weights between them (:mod:`dollhouse.distill.weighting`) or of where targets come from.
Every function returns a mean over what is known; callers leave a loss out where nothing is.

Axes: B batch, V views, H and W pixels, M patches of a scene, N object slots, K true objects, T text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from dollhouse.distill.batches import BoxTargets, PatchTargets
from dollhouse.student.heads import Cameras
from dollhouse.student.objects import Objects
from dollhouse.student.votes import Votes


def text_loss(logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy of answer tokens, mean over answers: ``logits`` (T, vocabulary), ``labels`` and ``lengths`` (T).

    A token of an answer of n tokens (``lengths``) weighs 1/sqrt(n): a description of the room says more than "yes",
    but must not drown twenty of those.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return (losses / lengths.sqrt()).sum() / (1.0 / lengths).sum()


def depth_loss(log_depth: Tensor, depth: Tensor, metric: Tensor) -> Tensor:
    """L1 on log depth over valid pixels, so that a tenth too far costs the same near and far (AbsRel's measure).

    ``log_depth`` and ``depth`` (B, V, H, W), 0 in ``depth`` where unknown; ``metric`` (B) bool. Where depth is
    not metric its scale is aligned first, by the median of the scene.
    """
    valid = depth > 0
    error = torch.where(valid, log_depth - depth.clamp(min=1e-3).log(), torch.zeros_like(log_depth))
    if not bool(metric.all()):
        shifted = []
        for one, known, exact in zip(error, valid, metric, strict=True):
            free = not bool(exact) and bool(known.any())
            shifted.append(torch.where(known, one - one[known].median().detach(), one) if free else one)
        error = torch.stack(shifted)
    return error.abs().sum() / valid.sum().clamp(min=1)


def camera_loss(cameras: Cameras, level_from_camera: Tensor, up: Tensor, focal: Tensor) -> Tensor:
    """L1 of position (metres), heading, up vector and log focal length. Targets (B, V, 4, 4), (B, V, 3), (B, V)."""
    forward = level_from_camera[..., :2, 2]
    ahead = F.normalize(forward, dim=-1)
    heading = torch.stack([ahead[..., 1], -ahead[..., 0]], -1)  # the first view's heading is the y axis
    position = (cameras.position - level_from_camera[..., :3, 3]).abs().mean()
    turn = (cameras.heading - heading).abs().mean()
    tilt = (cameras.up - up).abs().mean()
    return position + 2 * turn + 4 * tilt + (cameras.focal.log() - focal.log()).abs().mean()


def vote_loss(votes: Votes, target: PatchTargets) -> Tensor:
    """Per-patch label and colour cross-entropy, depth, centre, size and direction (all of the object behind it)."""
    shown = target.object_patch
    count = shown.sum().clamp(min=1)

    def over_objects(error: Tensor) -> Tensor:
        return (error * shown).sum() / count

    labels = F.cross_entropy(votes.label_logits.flatten(0, 1), target.label.flatten())
    coloured = (target.colour >= 0).sum().clamp(min=1)
    hues, hue = votes.colour_logits.flatten(0, 1), target.colour.flatten()
    colours = F.cross_entropy(hues, hue, ignore_index=-1, reduction="sum") / coloured
    known = target.depth > 0
    depth = ((votes.log_depth - target.depth.clamp(min=1e-3).log()).abs() * known).sum() / known.sum().clamp(min=1)
    closeness = 1.0 / (0.3 + target.size[..., :2].mean(-1))  # a small box forgives less
    own = ((votes.own_center - target.own_center).abs().sum(-1) * closeness).clamp(max=20)
    joint = ((votes.center - target.center).abs().sum(-1) * closeness).clamp(max=20)
    size = (votes.log_size - target.size.clamp(min=1e-2).log()).abs().sum(-1)
    front = (votes.own_front - direction(target.own_yaw)).abs().sum(-1) * target.has_front
    axis = (votes.own_axis - direction(2 * target.own_yaw)).abs().sum(-1) * target.oblong
    dense = (
        over_objects(own)
        + 0.5 * over_objects(joint)
        + over_objects(size)
        + over_objects(front)
        + 0.5 * over_objects(axis)
    )
    return labels + 0.5 * colours + 2 * depth + 0.5 * dense


def detection_loss(objects: Objects, truths: Sequence[BoxTargets | None]) -> Tensor:
    """Focal classification, colour and box localisation on a Hungarian match of slots with true boxes.

    One ``truths`` entry a scene; None where nobody annotated it.
    """
    annotated = objects.present * objects.present.new_tensor([float(t is not None) for t in truths]).unsqueeze(-1)
    rows, slots, matched = [], [], []
    for row, truth in enumerate(truths):
        if truth is not None and len(truth.label):
            chosen, of_truth = match_boxes(objects, row, truth)
            rows.append(torch.full_like(chosen, row))
            slots.append(chosen)
            matched.append(truth.take(of_truth))
    wanted = torch.zeros_like(objects.label_logits)
    if not matched:
        return focal_loss(objects.label_logits, wanted, annotated)
    at, truth = (torch.cat(rows), torch.cat(slots)), BoxTargets.join(matched)
    total = max(len(truth.label), 1)
    wanted[at[0], at[1], truth.label] = 1.0
    classes = focal_loss(objects.label_logits, wanted, annotated) / total
    known = truth.colour >= 0
    colours = F.cross_entropy(
        objects.colour_logits[at], truth.colour, ignore_index=-1, reduction="sum"
    ) / known.sum().clamp(min=1)
    closeness = 1.0 / (0.3 + truth.size[:, :2].mean(-1))
    place = ((objects.center[at] - truth.center).abs().sum(-1) * closeness).clamp(max=20).sum()
    extent = (objects.log_size[at] - truth.size.log()).abs().sum()
    front = ((objects.front[at] - direction(truth.yaw)).abs().sum(-1) * truth.has_front).sum()
    axis = ((objects.axis[at] - direction(2 * truth.yaw)).abs().sum(-1) * truth.oblong).sum()
    return classes + 0.5 * colours + (place + extent + front + 0.5 * axis) / total


def focal_loss(logits: Tensor, wanted: Tensor, present: Tensor, gamma: float = 2.0, alpha: float = 0.4) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017), summed over slots that hold something.

    ``logits`` and ``wanted`` (B, N, L), ``present`` (B, N).
    """
    probability = logits.sigmoid()
    right = torch.where(wanted > 0, probability, 1 - probability)
    weight = torch.where(wanted > 0, alpha, 1 - alpha) * (1 - right) ** gamma
    return (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight * present.unsqueeze(-1)).sum()


def match_boxes(objects: Objects, row: int, truth: BoxTargets) -> tuple[Tensor, Tensor]:
    """Hungarian match of one scene's slots with its true boxes: slot indices and truth indices, both (matched)."""
    slots = objects.present[row].nonzero().squeeze(-1)
    with torch.no_grad():
        score = objects.label_logits[row, slots][:, truth.label].sigmoid()
        distance = torch.cdist(objects.center[row, slots], truth.center)
        cost = distance / (0.3 + truth.size[:, :2].mean(-1)) - 2 * score
    chosen, of_truth = linear_sum_assignment(cost.cpu().numpy())
    device = objects.present.device
    return slots[torch.as_tensor(chosen, device=device)], torch.as_tensor(of_truth, device=device)


def direction(yaw: Tensor) -> Tensor:
    """Unit vectors (..., 2) of angles (...)."""
    return torch.stack([yaw.cos(), yaw.sin()], -1)
