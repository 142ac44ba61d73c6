"""Grounding: a language model must know what it is asked about, not only what to answer.

An answer such as "yes" teaches one bit, and a small model may guess for a long time before it finds out that it has
to look things up and compare them. Two lessons say more:

- names: below the middle, the hidden state where a question names an object must tell where the teacher's object
  stands, how large it is, which way it faces and where each view shows it;
- pairs: above that, the hidden state at the question's end must tell how the objects named differ: in place, size
  and in the named view, how far apart they are and whether one faces the other.

The heads that read this out are used in training only. Knows nothing of words.

Axes: K mentions or pairs, F measures, D text width, V views, R questions, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.data.tokenization import ReferredObjects
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, FRONT, VIEW_FEATURES

BEND = 0.3  #: error from which the loss grows linearly
SIZES = slice(3, FRONT.start)  #: of the measures; what a label does not tell of a size is little, and asked for
SIZE_WEIGHT = 3.0
NAMED_VIEW = 2.0  #: weight of what the view shows that the question names


@dataclass
class GroundingTargets:
    """What should be known at each mention."""

    told: Tensor  #: (K, F)
    weight: Tensor  #: (K, F) 0 where there is nothing to know, such as the place in a view that does not show it


def grounding_targets(facts: Tensor, views: int, named: Tensor, every_view: bool = True) -> GroundingTargets:
    """From facts (K, ...) as :func:`dollhouse.models.dollhouse.proposal_head.geometry_features` has them.

    ``views`` is the number of views that the facts tell of, ``named`` (K) the view each question has named, -1 none.
    Without ``every_view`` nothing need be known of the others.
    """
    measures = facts[:, :BOX_FEATURES]
    visible = facts[:, -views:]
    view_observations = facts[:, -views * (1 + VIEW_FEATURES) : -views].unflatten(1, (views, VIEW_FEATURES))
    row, view = torch.arange(len(facts), device=facts.device), named.clamp(min=0)
    shown = visible[row, view] * (named >= 0)
    told = torch.cat([measures, view_observations.flatten(1), visible, view_observations[row, view]], 1)
    weight = torch.cat(
        [
            weighed(measures),
            every_view * visible.repeat_interleave(VIEW_FEATURES, 1),
            every_view * torch.ones_like(visible),
            NAMED_VIEW * shown.unsqueeze(1).expand(-1, VIEW_FEATURES),
        ],
        1,
    )
    return GroundingTargets(told, weight)


def pair_targets(facts: Tensor, views: int, named: Tensor, third: Tensor) -> GroundingTargets:
    """From facts (K, 3, ...) of the first, second and third object that a question names.

    ``named`` (K) the view it has named, -1 none; ``third`` (K) 1 where there is a third object.
    """
    first, second, _ = facts.unbind(1)
    center = facts[..., :3]
    apart = [(center[:, i] - center[:, j]).norm(dim=-1, keepdim=True) for i, j in ((0, 1), (0, 2), (1, 2))]
    towards = F.normalize(center[:, 1, :2] - center[:, 0, :2], dim=-1)
    faced = (first[:, FRONT] * towards).sum(-1, keepdim=True)
    row, view = torch.arange(len(facts), device=facts.device), named.clamp(min=0)
    seen = facts[..., -views * (1 + VIEW_FEATURES) : -views].unflatten(-1, (views, VIEW_FEATURES))[row, :, view]
    both = facts[row, 0, view - views] * facts[row, 1, view - views] * (named >= 0)
    measured = second[:, : FRONT.start] - first[:, : FRONT.start]
    told = torch.cat([measured, *apart, faced, seen[:, 1] - seen[:, 0]], 1)
    sure, maybe = torch.ones_like(faced), third.unsqueeze(1).to(facts.dtype)
    weight = torch.cat(
        [
            weighed(measured),
            *(sure, maybe, maybe, sure),
            NAMED_VIEW * both.unsqueeze(1).expand(-1, VIEW_FEATURES),
        ],
        1,
    )
    return GroundingTargets(told, weight)


def weighed(measures: Tensor) -> Tensor:
    """Weights of measures (K, F)."""
    weight = torch.ones_like(measures)
    weight[:, SIZES] = SIZE_WEIGHT
    return weight


def grounding_loss(said: Tensor, target: GroundingTargets) -> Tensor:
    """Smooth L1 (Huber) of measures (K, F): metres, log metres, unit vectors, places in a view from -1 to 1."""
    return grounding_errors(said, target).mean()


def grounding_errors(said: Tensor, target: GroundingTargets) -> Tensor:
    """The loss (K,) of each mention by itself."""
    error = F.smooth_l1_loss(said.float(), target.told, reduction="none", beta=BEND)
    return (error * target.weight).sum(1) / target.weight.sum(1)


class GroundingProbe(nn.Module):
    """Reads measures out of the hidden states of a language model: of names first, of pairs above."""

    def __init__(self, text_width: int, text_layers: int, views: int, every_view: bool = True) -> None:
        super().__init__()
        self.views = views
        self.every_view = every_view  #: whether the language model can know how views look that nobody named
        first = name_layer(text_layers)
        self.name_layers = sorted({first, min(first + 1, text_layers)})
        self.pair_layer = pair_layer(text_layers)
        of_name = BOX_FEATURES + views * (1 + VIEW_FEATURES) + VIEW_FEATURES
        of_pair = FRONT.start + 3 + 1 + VIEW_FEATURES
        self.names = nn.ModuleList(readout(text_width, of_name) for _ in self.name_layers)
        self.pairs = readout(text_width, of_pair)

    def forward(self, hidden_states: Sequence[Tensor], facts: Tensor, owner: Tensor, asked: ReferredObjects) -> Tensor:
        """``hidden_states`` (R, T, D) after 0, 1, ... blocks; ``facts`` (B, N, ...) of true objects; ``owner`` (R)."""
        row, place, object_, view = asked.names.unbind(1)
        target = grounding_targets(facts[owner[row], object_], self.views, view, self.every_view)
        losses = [
            grounding_loss(head(hidden_states[layer][row, place]), target)
            for layer, head in zip(self.name_layers, self.names, strict=True)
        ]
        loss = torch.stack(losses).mean()
        if len(asked.pairs):
            row, place, view = asked.pairs[:, :3].unbind(1)
            objects = asked.pairs[:, 3:]
            third = objects[:, 2] >= 0
            facts_of = facts[owner[row].unsqueeze(1), objects.clamp(min=0)]
            target = pair_targets(facts_of, self.views, view, third)
            loss = loss + grounding_loss(self.pairs(hidden_states[self.pair_layer][row, place]), target)
        return loss


def name_layer(text_layers: int) -> int:
    """After how many of a language model's blocks it should know what a name stands for: below the middle."""
    return max(3 * text_layers // 8, 1)


def pair_layer(text_layers: int) -> int:
    """After how many blocks it should have compared: the blocks above turn what is known into words."""
    return min(name_layer(text_layers) + 2, text_layers)


def readout(width: int, told: int) -> nn.Module:
    """A linear view of a normalised hidden state."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, told))
