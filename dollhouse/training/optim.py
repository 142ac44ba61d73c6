"""Muon for matrices and AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers behind one ``step``; they share their groups, so that schedulers set both learning rates."""

    def __init__(self, model: nn.Module, learning_rate: float, muon_learning_rate: float, weight_decay: float) -> None:
        matrices, rest = split_parameters(model, muon_learning_rate > 0)
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            muon = torch.optim.Muon(matrices, lr=muon_learning_rate, weight_decay=weight_decay, momentum=0.95)
            self.parts.append(muon)
        if rest:
            self.parts.append(torch.optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98)))
        super().__init__([{"params": matrices + rest}], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def split_parameters(model: nn.Module, muon: bool) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split trainable parameters into hidden matrices and the rest, which has the embeddings and output layers."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    outer = ("embed", "lm_head", "blind_prefix")
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and min(parameter.shape) > 16 and not any(word in name for word in outer)
        if parameter.requires_grad:
            (matrices if muon and hidden else rest).append(parameter)
    return matrices, rest
