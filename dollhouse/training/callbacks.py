"""Callbacks of a stage: progress with rate, time left and losses; the log; and signals that end the run."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import ADVICE, write_text
from dollhouse.system.progress import ProgressBar
from dollhouse.system.read_files import decode_json
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


class MetricsFile(TrainerCallback):
    """Appends the trainer's logs to a JSONL file.

    On resume, lines of steps to be repeated are removed.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        self.stage = stage

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if self._is_done(line, state.global_step)]
            write_text(self.path, "".join(line + "\n" for line in lines))

    def _is_done(self, line: str, step: int) -> bool:
        try:
            entry = decode_json(line)
            return bool(entry["stage"] != self.stage or entry["step"] <= step)
        except (ValueError, TypeError, KeyError):  # truncated by a kill
            return False

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        if "loss" not in (logs or {}):  # the summary at a stage's end, of the steps since the run was last continued
            return
        self.append({"step": state.global_step, **logs})

    def append(self, entry: dict[str, Any]) -> None:
        """Append a line. Raises StorageError where the disk is full."""
        line = json.dumps({"stage": self.stage, **entry}) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise StorageError(f"cannot write {self.path} ({error.strerror}); {ADVICE}") from error
