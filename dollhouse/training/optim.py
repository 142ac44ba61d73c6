"""Muon for matrices and AdamW for everything else, as one optimiser."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dollhouse.training.config import StageConfig
from dollhouse.training.parallel import shard_like

#: of the logarithms of Eq. 2's sigmas: with the learning rate of weights they would not reach their optimum in a stage
SIGMA_LEARNING_RATE = 0.02


class Muon(torch.optim.Muon):
    """Muon that computes updates in a given type.

    torch's own computes them in bfloat16 always, which takes ten to twenty times as long as float32 on processors that
    emulate it. A sharded matrix is gathered for its update, which every process computes whole; momentum stays sharded.
    """

    def __init__(self, params: list[nn.Parameter], dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(params, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate, momentum = float(group["lr"]), group["momentum"]
            for parameter in group["params"]:
                if (grad := parameter.grad) is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(grad)
                buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
                direction = grad.lerp(buffer, momentum)
                whole = direction.full_tensor() if isinstance(direction, DTensor) else direction
                update = shard_like(orthogonalize(whole.to(self.dtype), *group["ns_coefficients"]), parameter)
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(update, alpha=-rate * sqrt(max(1, grad.shape[0] / grad.shape[1])))


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers behind one ``step``; they share their groups, so that schedulers set both learning rates."""

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        muon_learning_rate: float,
        weight_decay: float,
        stem_learning_rate: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """``dtype``: of Muon's own computation."""
        matrices, rest = split_parameters(model, muon_learning_rate > 0)
        sigmas = [parameter for name, parameter in model.named_parameters() if ".log_sigma." in f".{name}"]
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            muon = Muon(matrices, dtype, lr=muon_learning_rate, weight_decay=weight_decay, momentum=0.95)
            self.parts.append(muon)
        if rest:
            stem = {parameter for name, parameter in model.named_parameters() if ".patch_embed.backbone." in name}
            apart = stem | set(sigmas)
            groups = [{"params": [parameter for parameter in rest if parameter not in apart], "lr": learning_rate}]
            if sigmas:
                groups.append({"params": sigmas, "lr": SIGMA_LEARNING_RATE, "weight_decay": 0.0})
            if pretrained := [parameter for parameter in rest if parameter in stem]:
                groups.append({"params": pretrained, "lr": stem_learning_rate or learning_rate})
            self.parts.append(torch.optim.AdamW(groups, weight_decay=weight_decay, betas=(0.9, 0.98)))
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
            for parameter, own in part.state.items():  # interned keys: pickled as those of a run that never stopped
                part.state[parameter] = {sys.intern(key): shard_like(value, parameter) for key, value in own.items()}
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def orthogonalize(update: Tensor, a: float, b: float, c: float, steps: int = 5) -> Tensor:
    """Compute Muon's approximation of the nearest orthogonal matrix by Newton-Schulz iterations, as torch does."""
    tall = update.shape[0] > update.shape[1]
    x = update.T if tall else update
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def build_optimizer(model: nn.Module, stage: StageConfig, dtype: torch.dtype = torch.float32) -> MuonWithAdamW:
    """Build the optimiser of a stage; ``dtype``: of Muon's own computation."""
    rates = (stage.learning_rate, stage.muon_learning_rate, stage.weight_decay, stage.stem_learning_rate)
    return MuonWithAdamW(model, *rates, dtype)


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
