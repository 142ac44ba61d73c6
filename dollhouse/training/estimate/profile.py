"""A rehearsal: a few steps of every stage in earnest, with how fast they went and what they took.

No weights are kept. Knows nothing of how a step is done.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import StageCheck, dry_run
from dollhouse.training.estimate.memory import peak_resident_bytes
from dollhouse.training.train import distill, use_bfloat16


@dataclass(frozen=True)
class StageSpeed:
    """How one stage's steps went."""

    check: StageCheck
    seconds: list[float]  #: of each step, waiting for its batch left out
    peak_flops: float  #: floating-point operations a second that the processor could do

    @property
    def step_seconds(self) -> float:
        """The median step; the first is left out where there are more, since it warms up."""
        return statistics.median(self.seconds[1:] or self.seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.check.tokens / self.step_seconds

    @property
    def utilisation(self) -> float:
        """Share of the processor's floating-point operations that the model made use of."""
        return self.check.flops / self.step_seconds / self.peak_flops


@dataclass(frozen=True)
class TrainingProfile:
    """What a rehearsal showed."""

    stages: list[StageSpeed]
    peak_bytes: int  #: resident memory of the process, or memory allocated on the graphics processor


def profile_training(recipe: Recipe, out: Path, steps: int, peak_flops: float | None = None) -> TrainingProfile:
    """At most ``steps`` steps of every stage in folder ``out``; eyes without weights are random.

    ``peak_flops`` of the processor is measured by multiplying matrices unless given. Raises what
    :func:`dollhouse.training.train.distill` and :func:`dollhouse.training.estimate.dry_run.dry_run` raise.
    """
    recipe = recipe.with_max_steps(steps)
    checks = dry_run(recipe)
    watch = Stopwatch()
    distill(recipe, out, rehearsal=True, callbacks=[watch])
    peak_flops = peak_flops or matrix_flops(use_bfloat16(recipe.precision))
    stages = [StageSpeed(check, watch.seconds[check.name], peak_flops) for check in checks]
    return TrainingProfile(stages, peak_memory())


class Stopwatch(TrainerCallback):
    """Notes how long each step takes, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds[Path(args.output_dir).name].append(_now() - self._begun)


def matrix_flops(bfloat16: bool) -> float:
    """Floating-point operations a second of large matrix products on this machine, the best of five."""
    cuda = torch.cuda.is_available()
    side = 8192 if cuda else 2048
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    left, right = (torch.randn(side, side, dtype=dtype, device="cuda" if cuda else "cpu") for _ in range(2))
    best = float("inf")
    for _ in range(5):
        begun = _now()
        left @ right
        best = min(best, _now() - begun)
    return 2 * side**3 / best


def peak_memory() -> int:
    """The most memory so far: allocated on the graphics processor if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
