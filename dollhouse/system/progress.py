"""Progress of long work on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dollhouse.system.console import console, guarded_streams

SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Show items done, rate and time left; a context manager."""

    def __init__(self, task: str, total: int | None = None, unit: str = "scenes", shown: bool = True) -> None:
        """``total`` may be given later, with :meth:`update`; ``shown=False`` prints nothing."""
        self.task, self.total, self.unit, self.shown = task, total, unit, shown
        self._bar: Progress | None = None
        self._guard = ExitStack()
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn(self.task, style="bold", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console(stderr=True),
            )
            self._bar.add_task(self.task, total=self.total, note="")
            self._bar.start()
            self._guard.enter_context(guarded_streams())  # Rich has replaced the streams, and parses escape codes
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()
        if self._bar:
            self._bar.stop()

    def update(self, done: int, total: int | None = None, note: str = "", skipped: int = 0) -> None:
        """Show that ``done`` items are finished, of which ``skipped`` took no work and count for no rate."""
        self.total = total if total is not None else self.total
        now = time.monotonic()
        worked = done - skipped
        rate = worked / max(1e-9, now - self._started)
        speed = f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{rate * 60:.1f} {self.unit}/min"
        note = ", ".join(text for text in (speed if worked or not skipped else "", note) if text)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, note=note)
        elif self.shown and now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            left = ((self.total or done) - done) * (now - self._started) / max(1, worked)
            time_left = f"  left {timedelta(seconds=round(left))}" if worked or not skipped else ""
            of = f"{done}/{self.total}" if self.total else str(done)
            print(f"{self.task} {of}  {note}{time_left}", file=sys.stderr, flush=True)
