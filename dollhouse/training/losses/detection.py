"""Loss of proposals against true boxes, matched one to one. Axes: B batch, N slots, K true objects, L labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.collator import BoxTargets
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.training.losses.voting import MAX_CENTER_ERROR, direction

IGNORED_MARGIN = 0.25  #: metres around an ignored object within which a slot is taken to be about it


def detection_losses(
    objects: ProposalOutput, truths: Sequence[BoxTargets | None], ignored: Sequence[Tensor | None] = ()
) -> tuple[Tensor, Tensor]:
    """Return the focal loss of labels, and that of colours and boxes, on a Hungarian match of slots and true boxes.

    Args:
        truths: one entry per scene; None: not annotated.
        ignored: (K, 7) per scene, centre, size and yaw of objects without a label. Slots on them are no negatives.
    """
    counted = objects.present * objects.present.new_tensor([float(t is not None) for t in truths]).unsqueeze(-1)
    for row, boxes in enumerate(ignored):
        if boxes is not None and len(boxes):
            counted[row] *= ~inside_boxes(objects.center[row].detach(), boxes, IGNORED_MARGIN)
    rows, slots, matched = [], [], []
    for row, truth in enumerate(truths):
        if truth is not None and len(truth.label):
            chosen, of_truth = match_boxes(objects, row, truth)
            rows.append(torch.full_like(chosen, row))
            slots.append(chosen)
            matched.append(truth.take(of_truth))
    one_hot = torch.zeros_like(objects.label_logits)
    if not matched:
        return focal_loss(objects.label_logits, one_hot, counted), objects.center.new_zeros(())
    at, truth = (torch.cat(rows), torch.cat(slots)), BoxTargets.concat(matched)
    total = max(len(truth.label), 1)
    one_hot[at[0], at[1], truth.label] = counted[at] = 1.0
    classes = focal_loss(objects.label_logits, one_hot, counted) / total
    coloured = (truth.colour >= 0).sum().clamp(min=1)
    colours = F.cross_entropy(objects.colour_logits[at], truth.colour, ignore_index=-1, reduction="sum") / coloured
    scale = 1.0 / (0.3 + truth.size[:, :2].mean(-1))
    center = ((objects.center[at] - truth.center).abs().sum(-1) * scale).clamp(max=MAX_CENTER_ERROR).sum()
    size = (objects.log_size[at] - truth.size.log()).abs().sum()
    front = ((objects.front[at] - direction(truth.yaw)).abs().sum(-1) * truth.has_front).sum()
    axis = ((objects.axis[at] - direction(2 * truth.yaw)).abs().sum(-1) * truth.oblong).sum()
    return classes, 0.5 * colours + (center + size + front + 0.5 * axis) / total


def inside_boxes(points: Tensor, boxes: Tensor, margin: float) -> Tensor:
    """Return which points (N, 3) lie within ``margin`` metres of any of ``boxes`` (K, 7): centre, size, yaw."""
    offset = points.unsqueeze(1) - boxes[:, :3].to(points.dtype)
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    x, y, z = offset.unbind(-1)
    own = torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)
    return (own.abs() <= 0.5 * boxes[:, 3:6] + margin).all(-1).any(-1)


def focal_loss(logits: Tensor, one_hot: Tensor, present: Tensor, gamma: float = 2.0, alpha: float = 0.4) -> Tensor:
    """Return the sigmoid focal loss (Lin et al. 2017), summed over occupied slots.

    ``logits`` and ``one_hot`` are (B, N, L); ``present`` (B, N) is 0 for empty slots.
    """
    probability = logits.sigmoid()
    correct = torch.where(one_hot > 0, probability, 1 - probability)
    weight = torch.where(one_hot > 0, alpha, 1 - alpha) * (1 - correct) ** gamma
    loss = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    return (loss * weight * present.unsqueeze(-1)).sum()


def match_boxes(objects: ProposalOutput, row: int, truth: BoxTargets) -> tuple[Tensor, Tensor]:
    """Match one scene's slots with its true boxes by distance and label: indices of slots and of boxes."""
    slots = objects.present[row].nonzero().squeeze(-1)
    with torch.no_grad():
        score = objects.label_logits[row, slots][:, truth.label].sigmoid()
        distance = torch.cdist(objects.center[row, slots], truth.center)
        cost = distance / (0.3 + truth.size[:, :2].mean(-1)) - 2 * score
    chosen, of_truth = linear_sum_assignment(cost.cpu().numpy())
    device = objects.present.device
    return slots[torch.as_tensor(chosen, device=device)], torch.as_tensor(of_truth, device=device)
