"""Callbacks of a stage: progress with rate, time left and losses; and signals that end the run."""

from __future__ import annotations

import signal
import sys
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState

from dollhouse.system.progress import ProgressBar
from dollhouse.training.parallel import largest

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
SHOWN = ("text", "depth_reg", "camera", "voting", "detection")


class StageProgress(TrainerCallback):
    """Shows the steps of a stage, and the losses logged last, while its ``bar`` is open."""

    def __init__(self, name: str, shown: bool = True) -> None:
        self.bar = ProgressBar(name, unit="steps", shown=shown)
        self.losses = ""
        self.resumed_from = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.resumed_from = state.global_step

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.bar.update(state.global_step, state.max_steps, self.losses, skipped=self.resumed_from)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        self.losses = "  ".join(f"{name} {float(logs[name]):.3f}" for name in SHOWN if name in (logs or {}))
        if dropped := int((logs or {}).get("dropped_steps", 0)):
            self.losses += f"  {dropped} steps dropped: their gradients were not finite"


class Interrupted(KeyboardInterrupt):
    """Raised where SIGINT or SIGTERM ended a run; the message says how to continue it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopOnSignal(TrainerCallback):
    """Ends a run at SIGINT or SIGTERM: in a stage after the current step and a checkpoint; a second signal at once.

    So does SIGUSR1, which Slurm can send before a job's time is over. A signal to one process ends all of the run.
    A context manager: signals are handled as before outside of it. Raises Interrupted.
    """

    def __init__(self) -> None:
        self.received = 0
        self._in_stage = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._earlier = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        for each in self._earlier:
            signal.signal(each, signal.SIG_DFL)
        if not self._in_stage:
            raise Interrupted("interrupted: the same command continues the run", number)
        print("stopping after this step and a checkpoint; a second signal stops at once", file=sys.stderr)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._in_stage = True

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._in_stage = False
        self._stop(state)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.received = largest(self.received)
        control.should_save = control.should_save or bool(self.received)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._stop(state)

    def _stop(self, state: TrainerState) -> None:
        if self.received:
            done = f"interrupted after step {state.global_step} of {state.max_steps}"
            raise Interrupted(f"{done}: the same command continues the run", self.received)
