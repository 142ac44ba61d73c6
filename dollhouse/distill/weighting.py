"""How several losses become one.

Knows nothing of what the losses mean; a loss that is absent from a batch takes no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """Learned weights (paper, Eq. 2): sum over i of L_i / (2 sigma_i^2) + log sigma_i."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.log_sigma = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for name, loss in losses.items():
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
        return torch.stack([self.fixed[name] * loss for name, loss in losses.items()]).sum()

    def weights(self) -> dict[str, float]:
        """What each loss is multiplied by."""
        return dict(self.fixed)
