"""A few real steps of every stage, timed; no weights are kept."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import StageEstimate, dry_run
from dollhouse.training.estimate.memory import peak_memory
from dollhouse.training.estimate.peak_flops import now, processor_flops
from dollhouse.training.stage import use_bfloat16
from dollhouse.training.train import distill


@dataclass(frozen=True)
class StageProfile:
    """The speed of one stage."""

    estimate: StageEstimate
    seconds: list[float]  #: of each step, without waiting for its batch
    peak_flops: float  #: floating-point operations per second that the processor can do

    @property
    def step_seconds(self) -> float:
        """Median step time, without the first step where there are more."""
        return statistics.median(self.seconds[1:] or self.seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.estimate.tokens / self.step_seconds

    @property
    def utilisation(self) -> float:
        """Share of the processor's peak operations that the model uses."""
        return self.estimate.flops / self.step_seconds / self.peak_flops


@dataclass(frozen=True)
class TrainingProfile:
    """The speed and memory of a recipe."""

    stages: list[StageProfile]
    peak_bytes: int  #: resident memory of the process, or memory allocated on the GPU


def profile_training(recipe: Recipe, out: Path, steps: int, peak_flops: float | None = None) -> TrainingProfile:
    """Run at most ``steps`` steps of every stage in folder ``out``; encoders without weights are random.

    ``peak_flops`` of the processor are looked up or measured where None. Raises what :func:`.train.distill`
    and :func:`.dry_run.dry_run` raise.
    """
    recipe = recipe.with_max_steps(steps)
    estimates = dry_run(recipe)
    timer = StepTimer()
    distill(recipe, out, keep_weights=False, callbacks=[timer])
    peak_flops = peak_flops or processor_flops(use_bfloat16(recipe.precision))
    stages = [StageProfile(estimate, timer.seconds[estimate.name], peak_flops) for estimate in estimates]
    return TrainingProfile(stages, peak_memory())


class StepTimer(TrainerCallback):
    """Records the seconds of every step by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._start = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._start = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds[Path(args.output_dir).name].append(now() - self._start)
