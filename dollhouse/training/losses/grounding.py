"""Auxiliary probe: geometry of named objects, read linearly from hidden states of the language model.

Answers such as "yes" carry one bit, too little for a small model to discover that it has to retrieve and compare
objects. The probe supervises both steps:

- names: below the middle, the hidden state at an object's name predicts the object's box and where each view shows it;
- pairs: above that, the hidden state at the question's end predicts how the named objects differ.

Its heads are used in training only.

Axes: K mentions or pairs, F features, D text width, V views, R questions, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.data.tokenization import ReferredObjects
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, FRONT, VIEW_FEATURES

BETA = 0.3  #: error from which the smooth L1 loss is linear
SIZES = slice(3, FRONT.start)  #: of the box features; weighted higher, since a label says little about size
SIZE_WEIGHT = 3.0
REFERENCED_VIEW_WEIGHT = 2.0  #: of the observation in the view that the question names


@dataclass
class GroundingTargets:
    """Targets of the probe."""

    values: Tensor  #: (K, F)
    weight: Tensor  #: (K, F) 0 where there is no target, such as the position in a view that does not show the object


def name_features(views: int) -> int:
    """Return the number of targets of a mention."""
    return BOX_FEATURES + views * (1 + VIEW_FEATURES) + VIEW_FEATURES


PAIR_FEATURES = FRONT.start + 3 + 1 + VIEW_FEATURES  #: number of targets of a pair


def grounding_targets(features: Tensor, views: int, view: Tensor) -> GroundingTargets:
    """Return the targets of mentions.

    ``features`` (K, ...) of ``views`` views are of the named objects, by :meth:`ObjectProjector.geometry_features`;
    ``view`` (K,) is the view that each question has named, -1 none.
    """
    box = features[:, :BOX_FEATURES]
    visible = features[:, -views:]
    observations = features[:, -views * (1 + VIEW_FEATURES) : -views].unflatten(1, (views, VIEW_FEATURES))
    row, named = torch.arange(len(features), device=features.device), view.clamp(min=0)
    in_view = visible[row, named] * (view >= 0)
    values = torch.cat([box, observations.flatten(1), visible, observations[row, named]], 1)
    always, named_weight = torch.ones_like(visible), REFERENCED_VIEW_WEIGHT * in_view
    parts = [_box_weights(box), visible.repeat_interleave(VIEW_FEATURES, 1), always]
    return GroundingTargets(values, torch.cat([*parts, named_weight.unsqueeze(1).expand(-1, VIEW_FEATURES)], 1))


def pair_targets(features: Tensor, views: int, view: Tensor, has_third: Tensor) -> GroundingTargets:
    """Return the differences of two or three named objects, whose ``features`` are (K, 3, ...)."""
    first, second, _ = features.unbind(1)
    center = features[..., :3]
    distances = [(center[:, i] - center[:, j]).norm(dim=-1, keepdim=True) for i, j in ((0, 1), (0, 2), (1, 2))]
    towards = F.normalize(center[:, 1, :2] - center[:, 0, :2], dim=-1)
    facing = (first[:, FRONT] * towards).sum(-1, keepdim=True)
    row, named = torch.arange(len(features), device=features.device), view.clamp(min=0)
    observations = features[..., -views * (1 + VIEW_FEATURES) : -views].unflatten(-1, (views, VIEW_FEATURES))
    of_view = observations[row, :, named]
    both = features[row, 0, named - views] * features[row, 1, named - views] * (view >= 0)
    difference = second[:, : FRONT.start] - first[:, : FRONT.start]
    values = torch.cat([difference, *distances, facing, of_view[:, 1] - of_view[:, 0]], 1)
    always, third = torch.ones_like(facing), has_third.unsqueeze(1).to(features.dtype)
    parts = [_box_weights(difference), always, third, third, always]
    named_weight = (REFERENCED_VIEW_WEIGHT * both).unsqueeze(1).expand(-1, VIEW_FEATURES)
    return GroundingTargets(values, torch.cat([*parts, named_weight], 1))


def _box_weights(box: Tensor) -> Tensor:
    weight = torch.ones_like(box)
    weight[:, SIZES] = SIZE_WEIGHT
    return weight


def grounding_errors(predicted: Tensor, target: GroundingTargets) -> Tensor:
    """Return the smooth L1 loss (K,) of each mention's features: metres, log metres, unit vectors, view coordinates."""
    error = F.smooth_l1_loss(predicted.float(), target.values, reduction="none", beta=BETA)
    return (error * target.weight).sum(1) / target.weight.sum(1)


class GroundingProbe(nn.Module):
    """Linear heads on hidden states at names and, further up, at the ends of questions."""

    def __init__(self, text_width: int, text_layers: int, views: int) -> None:
        super().__init__()
        self.views = views
        first = name_layer(text_layers)
        self.name_layers = sorted({first, min(first + 1, text_layers)})
        self.pair_layer = pair_layer(text_layers)
        self.names = nn.ModuleList(_probe(text_width, name_features(views)) for _ in self.name_layers)
        self.pairs = _probe(text_width, PAIR_FEATURES)

    def forward(
        self, hidden_states: Sequence[Tensor], features: Tensor, scene: Tensor, referred: ReferredObjects
    ) -> Tensor:
        """Return the loss of the questions of a chunk, which name at least one object.

        Args:
            hidden_states: (R, T, D) after 0, 1, ... blocks.
            features: (B, N, ...) of true objects.
            scene: (R,) row of each question's scene.
        """
        row, position, object_, view = referred.names.unbind(1)
        target = grounding_targets(features[scene[row], object_], self.views, view)
        losses = [
            grounding_errors(head(hidden_states[layer][row, position]), target).mean()
            for layer, head in zip(self.name_layers, self.names, strict=True)
        ]
        loss = torch.stack(losses).mean()
        if len(referred.pairs):
            row, position, view = referred.pairs[:, :3].unbind(1)
            objects = referred.pairs[:, 3:]
            of_objects = features[scene[row].unsqueeze(1), objects.clamp(min=0)]
            target = pair_targets(of_objects, self.views, view, objects[:, 2] >= 0)
            loss = loss + grounding_errors(self.pairs(hidden_states[self.pair_layer][row, position]), target).mean()
        return loss


def name_layer(text_layers: int) -> int:
    """Return the block, below the middle, after which names are probed."""
    return max(3 * text_layers // 8, 1)


def pair_layer(text_layers: int) -> int:
    """Return the block after which pairs are probed; the blocks above turn the result into words."""
    return min(name_layer(text_layers) + 2, text_layers)


def _probe(width: int, features: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, features))
