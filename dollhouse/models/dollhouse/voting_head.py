"""Voting head (after VoteNet): every patch predicts label, colour and box of the object that it shows.

Axes: B batch, V views, P patches of a view, M = V*P patches of a scene, D trunk width, L labels, C colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.rgbd_embedding import refine_depth
from dollhouse.models.onednn_linear import Linear
from dollhouse.models.tensors import Tensors

BLOCK = 2**24  #: pairs of patches whose agreement is held at a time


@dataclass
class VoteOutput(Tensors):
    """Votes in the level frame of the first view; ``own_*`` are in that of the patch's view."""

    label_logits: Tensor  #: (B, M, L+1), the last one is "no object"
    colour_logits: Tensor  #: (B, M, C)
    log_depth: Tensor  #: (B, M) log metres of the patch
    center: Tensor  #: (B, M, 3) metres
    own_center: Tensor  #: (B, M, 3) the same in the level frame of the patch's view
    log_size: Tensor  #: (B, M, 3) log metres: length, width, height
    own_front: Tensor  #: (B, M, 2) direction of the box's x axis on the ground, in the view's level frame
    own_axis: Tensor  #: (B, M, 2) cosine and sine of twice its angle, for boxes without a front
    front: Tensor  #: (B, M, 2) as ``own_front``, in the first view's level frame
    axis: Tensor  #: (B, M, 2)

    @property
    def foreground(self) -> Tensor:
        """(B, M) probability that a patch shows an object."""
        return 1.0 - self.label_logits.float().softmax(-1)[..., -1]

    def with_cameras(self, cameras: Cameras) -> VoteOutput:
        """Transform the votes from each view's level frame to the first one's by other cameras."""
        views = cameras.focal.shape[1]
        own_center, own_front, own_axis = (
            value.unflatten(1, (views, -1)) for value in (self.own_center, self.own_front, self.own_axis)
        )
        with full_precision(own_center):
            center = own_center @ cameras.level_from_own_level.transpose(-1, -2) + cameras.position.unsqueeze(2)
        cos, sin = cameras.heading.unsqueeze(2).unbind(-1)
        front, axis = turned(own_front, cos, sin), turned(own_axis, cos * cos - sin * sin, 2 * sin * cos)
        return replace(self, center=center.flatten(1, 2), front=front.flatten(1, 2), axis=axis.flatten(1, 2))


class VotingHead(nn.Module):
    """Predict votes from patch tokens and cameras.

    A vote is the patch's back-projected point, in the level frame of its view, plus an offset to the object's centre.
    """

    def __init__(self, width: int, labels: int, colours: int) -> None:
        super().__init__()
        self.fields = [labels + 1, colours, 1, 3, 3, 2, 2]
        self.mlp = nn.Sequential(Linear(width, 2 * width), nn.GELU(), Linear(2 * width, sum(self.fields)))

    def forward(
        self,
        patches: Tensor,
        cameras: Cameras,
        rows: int,
        columns: int,
        measured: Tensor | None = None,
        depth_offset: Tensor | None = None,
    ) -> VoteOutput:
        """Vote for ``patches`` (B, V, P, D), P = rows*columns.

        ``measured`` is depth (B, V, H, W) if there is any; ``depth_offset`` (B, V) is added to the predicted log depth.
        """
        fields = self.mlp(patches).float()
        label_logits, colour_logits, log_depth, offset, log_size, own_front, own_axis = fields.split(self.fields, -1)
        log_depth = log_depth.squeeze(-1) + 1.0
        if depth_offset is not None:
            log_depth = log_depth + depth_offset.unsqueeze(-1)
        if measured is not None:
            snapped = refine_depth(log_depth.flatten(1), measured, measured.shape[-1] // columns)
            log_depth = snapped.view_as(log_depth)
        with full_precision(fields):
            points = cameras.patch_rays(rows, columns) * log_depth.clamp(-3, 4).exp().unsqueeze(-1)
            own_center = points @ cameras.own_level_from_camera.transpose(-1, -2) + offset
        own = own_center, log_size - 0.5, own_front, own_axis
        votes = VoteOutput(label_logits, colour_logits, log_depth, own_center, *own, own_front, own_axis)
        return votes.map(lambda value: value.flatten(1, 2)).with_cameras(cameras)


def full_precision(like: Tensor) -> torch.autocast:
    """Disable autocast: in bfloat16, 4 m would lose 2 cm, and a probability of 0.999 would become 1."""
    return torch.autocast(like.device.type, enabled=False)


def turned(directions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate plane directions (..., 2) counter-clockwise by an angle given as cosine and sine (...)."""
    x, y = directions.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def cluster_votes(votes: VoteOutput, slots: int) -> Tensor:
    """Cluster votes greedily: one-hot (B, M, slots), all-zero rows for background.

    The patch with the highest density of agreeing votes takes the free patches that agree with it on label, colour
    and centre; then the next. Distances of centres are relative to the predicted sizes, so that two lamps half a metre
    apart stay two while a bed stays one. Not differentiable.
    """
    with torch.no_grad():
        labels = votes.label_logits.float().softmax(-1)[..., :-1]
        colours = votes.colour_logits.float().softmax(-1)
        foreground = labels.sum(-1)
        reach = 0.12 + 0.35 * votes.log_size[..., :2].exp().amin(-1).clamp(max=2.0)
        patches = votes.center, reach, F.normalize(labels, dim=-1), F.normalize(colours, dim=-1)
        count = foreground.shape[1]
        step = max(1, BLOCK // count)
        blocks = []
        for start in range(0, count, step):
            agreement = _agreement([value[:, start : start + step] for value in patches], patches)
            blocks.append((agreement @ foreground.unsqueeze(-1)).squeeze(-1))
        density = torch.cat(blocks, -1) * foreground
        # density of free patches; 0 once a patch is assigned
        left = density * (foreground > 0.4)
        patch_assignment = torch.zeros(*foreground.shape, slots, device=foreground.device)
        agreed = agreement > 0.25 if step >= count else None  # of many patches, one row at a time
        rows = torch.arange(len(foreground), device=foreground.device)
        for slot in range(slots):
            dense = left.argmax(-1)
            if agreed is not None:
                near = agreed[rows, dense]
            else:
                near = _agreement([value[rows, dense].unsqueeze(1) for value in patches], patches).squeeze(1) > 0.25
            gathered = near & (left > 0)
            patch_assignment[..., slot] = gathered
            left = left.masked_fill(gathered, 0.0)
        return patch_assignment


def _agreement(some: Sequence[Tensor], patches: Sequence[Tensor]) -> Tensor:
    """Return how well some patches' votes agree with all (B, R, M): centres, reaches, labels and colours."""
    (center, reach, kind, hue), (others, far, kinds, hues) = some, patches
    distance = torch.cdist(center, others) / (0.5 * (reach.unsqueeze(2) + far.unsqueeze(1)))
    alike, shade = kind @ kinds.transpose(1, 2), hue @ hues.transpose(1, 2)
    return torch.exp(-0.5 * distance**2) * alike * (0.4 + 0.6 * shade)
