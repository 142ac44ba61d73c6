"""Weighted sums of losses; names with a slash are parts of another loss and are not added again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import write_text
from dollhouse.system.read_files import read_object

#: one half over the loss of a trained student, which is the optimum of Eq. 2. The first six are about what uncertainty
#: weighting learned for the shipped student; depth_ce, depth_kl, spatial and multiview were measured on that student in
#: new rooms after a short training of the missing heads; the rest are guesses
# fmt: off
STATIC_WEIGHTS = {
    "text": 1.0, "grounding": 1.0, "depth_reg": 4.0, "camera": 2.0, "voting": 0.4, "detection": 0.25, "labels": 0.5,
    "depth_ce": 0.4, "depth_kl": 0.75, "spatial": 1.0, "multiview": 2.0,
    "feature": 1.0, "text_kl": 1.0, "thinking_probe": 1.0,
}
# fmt: on


class UncertaintyWeighting(nn.Module):
    """Learned weights (paper, Eq. 2): sum over i of L_i / (2 sigma_i^2) + log sigma_i.

    ``initial`` has values of log sigma by name; others start at 0.
    """

    def __init__(self, names: Sequence[str], initial: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.log_sigma = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor((initial or {}).get(name, 0.0))) for name in names if "/" not in name}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        pairs = [(loss, self.log_sigma[name]) for name, loss in without_parts(losses).items()]
        return torch.stack([0.5 * loss * torch.exp(-2 * log_sigma) + log_sigma for loss, log_sigma in pairs]).sum()

    def weights(self) -> dict[str, float]:
        """Return the current weight of each loss."""
        return {name: float(0.5 * torch.exp(-2 * value.detach())) for name, value in self.log_sigma.items()}


class StaticWeighting(nn.Module):
    """Fixed weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.fixed = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.fixed[name] * loss for name, loss in without_parts(losses).items()]).sum()

    def weights(self) -> dict[str, float]:
        """Return the weight of each loss."""
        return dict(self.fixed)


def without_parts(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses that are no part of another."""
    return {name: loss for name, loss in losses.items() if "/" not in name}


def build_weighting(
    kind: Literal["uncertainty", "static", "equal"],
    names: Sequence[str],
    fixed: Mapping[str, float],
    log_sigma: Mapping[str, float] | None = None,
) -> UncertaintyWeighting | StaticWeighting:
    """Build a recipe's weighting of the losses ``names``.

    ``fixed`` overrides :data:`STATIC_WEIGHTS`; ``log_sigma`` has the values at which learned weights start.
    """
    if kind == "uncertainty":
        return UncertaintyWeighting(names, log_sigma)
    weights = {**STATIC_WEIGHTS, **fixed} if kind == "static" else dict.fromkeys(names, 1.0)
    return StaticWeighting({name: weights[name] for name in names})


def store_log_sigma(weighting: nn.Module, path: Path) -> None:
    """Write log sigma of every loss, for the stages that follow; nothing where weights are fixed."""
    if isinstance(weighting, UncertaintyWeighting):
        write_text(path, json.dumps({name: float(value.detach()) for name, value in weighting.log_sigma.items()}))


def read_log_sigma(path: Path) -> dict[str, float]:
    """Read a file of :func:`store_log_sigma`: {} where there is none. Raises StorageError where it is damaged."""
    advice = "delete it, to start from equal weights"
    values = read_object(path, StorageError, advice) if path.exists() else {}
    if not all(isinstance(value, float) for value in values.values()):
        raise StorageError(f"{path}: should hold numbers by loss; {advice}")
    return values
