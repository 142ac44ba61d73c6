"""How several losses become one.

Knows nothing of what the losses mean; a loss that is absent from a batch takes no part in it, and a name with a slash
is a part of another loss, told but not counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

#: fixed weights: one half over what the loss is for a trained student, where Eq. 2 settles. Those of the first six are
#: about what uncertainty learned for the shipped student; depth_ce, depth_kl, spatial and multiview are from that
#: student's losses in new rooms, with the missing heads trained for a moment; the rest is a guess
STATIC_WEIGHTS = {
    "text": 1.0,
    "grounding": 1.0,
    "depth_reg": 7.0,
    "camera": 2.0,
    "voting": 0.4,
    "detection": 0.25,
    "depth_ce": 0.4,
    "depth_kl": 0.75,
    "spatial": 1.0,
    "multiview": 2.0,
    "feature": 1.0,
    "text_kl": 1.0,
    "thinking_probe": 1.0,
}


class UncertaintyWeighting(nn.Module):
    """Learned weights (paper, Eq. 2): sum over i of L_i / (2 sigma_i^2) + log sigma_i."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.log_sigma = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names if "/" not in name})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for name, loss in whole(losses).items():
            log_sigma = self.log_sigma[name]
            terms.append(0.5 * loss * torch.exp(-2 * log_sigma) + log_sigma)
        return torch.stack(terms).sum()

    def weights(self) -> dict[str, float]:
        """What each loss is multiplied by just now."""
        return {name: float(0.5 * torch.exp(-2 * value.detach())) for name, value in self.log_sigma.items()}


class StaticWeighting(nn.Module):
    """Fixed weights, to compare with."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.fixed = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.fixed[name] * loss for name, loss in whole(losses).items()]).sum()

    def weights(self) -> dict[str, float]:
        """What each loss is multiplied by."""
        return dict(self.fixed)


def whole(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses that are no part of another."""
    return {name: loss for name, loss in losses.items() if "/" not in name}


def weighting_of(
    kind: Literal["uncertainty", "static", "equal"], names: Sequence[str], fixed: Mapping[str, float]
) -> UncertaintyWeighting | StaticWeighting:
    """The weighting that a recipe names, of the losses ``names``; ``fixed`` stands over :data:`STATIC_WEIGHTS`."""
    if kind == "uncertainty":
        return UncertaintyWeighting(names)
    weights = {**STATIC_WEIGHTS, **fixed} if kind == "static" else dict.fromkeys(names, 1.0)
    return StaticWeighting({name: weights[name] for name in names})
