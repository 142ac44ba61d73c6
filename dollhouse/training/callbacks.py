"""Progress of a stage: a bar with rate, time left and the losses."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState

SHOWN = ("text", "depth_reg", "camera", "voting", "detection")


class StageProgress(TrainerCallback):
    """Shows a rich bar on a terminal, and prints plain lines elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Progress | None = None
        self.lines = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not sys.stderr.isatty():
            return
        self.bar = Progress(
            TextColumn(f"[bold]{self.name}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step, losses="")
        self.bar.start()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        text = "  ".join(f"{name} {float(logs[name]):.3f}" for name in SHOWN if name in (logs or {}))
        if not text:
            return
        if dropped := int(logs.get("dropped_steps", 0)):
            text += f"  {dropped} steps dropped: their gradients were not finite"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], losses=text)
        elif self.lines % 5 == 0:
            print(f"{self.name} {state.global_step}/{state.max_steps}  {text}", file=sys.stderr, flush=True)
        self.lines += 1

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar:
            self.bar.stop()
