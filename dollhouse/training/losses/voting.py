"""Loss of the dense votes of patches. Axes: B batch, M patches of a scene."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.collator import PatchTargets
from dollhouse.models.dollhouse.voting_head import VoteOutput

MAX_CENTER_ERROR = 20  #: relative to the size of the box; larger errors get no gradient


def patch_label_loss(votes: VoteOutput, target: PatchTargets) -> Tensor:
    """Return the cross-entropy of the patches' labels, "no object" among them."""
    return F.cross_entropy(votes.label_logits.flatten(0, 1), target.label.flatten())


def voting_loss(votes: VoteOutput, target: PatchTargets) -> Tensor:
    """Return the loss of colour, depth, centre, size and direction, each predicted by every patch."""
    foreground = target.object_patch
    count = foreground.sum().clamp(min=1)

    def over_objects(error: Tensor) -> Tensor:
        return (error * foreground).sum() / count

    coloured = (target.colour >= 0).sum().clamp(min=1)
    colour_logits, colour = votes.colour_logits.flatten(0, 1), target.colour.flatten()
    colours = F.cross_entropy(colour_logits, colour, ignore_index=-1, reduction="sum") / coloured
    known = target.depth > 0
    depth = ((votes.log_depth - target.depth.clamp(min=1e-3).log()).abs() * known).sum() / known.sum().clamp(min=1)
    scale = 1.0 / (0.3 + target.size[..., :2].mean(-1))  # errors count relative to the size of the box
    own = ((votes.own_center - target.own_center).abs().sum(-1) * scale).clamp(max=MAX_CENTER_ERROR)
    joint = ((votes.center - target.center).abs().sum(-1) * scale).clamp(max=MAX_CENTER_ERROR)
    size = (votes.log_size - target.size.clamp(min=1e-2).log()).abs().sum(-1)
    front = (votes.own_front - direction(target.own_yaw)).abs().sum(-1) * target.has_front
    axis = (votes.own_axis - direction(2 * target.own_yaw)).abs().sum(-1) * target.oblong
    boxes = over_objects(own) + 0.5 * over_objects(joint) + over_objects(size)
    return 0.5 * colours + 2 * depth + 0.5 * (boxes + over_objects(front) + 0.5 * over_objects(axis))


def direction(yaw: Tensor) -> Tensor:
    """Return unit vectors (..., 2) of angles (...)."""
    return torch.stack([yaw.cos(), yaw.sin()], -1)
