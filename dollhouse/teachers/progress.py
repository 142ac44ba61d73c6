"""What a person sees while scenes are labelled: a bar with rate and time left, or a line now and then.

Knows nothing of teachers or records.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dollhouse.teachers.annotate import Outcome

SECONDS_A_LINE = 10.0


class LabelProgress:
    """A rich bar on a terminal; a plain line every ten seconds elsewhere. A context manager."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts: dict[Outcome, int] = {"made": 0, "kept": 0, "failed": 0}
        self._bar: Progress | None = None
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("[bold]label"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[told]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.add_task("label", total=self.total, told="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def on_scene(self, scene: str, outcome: Outcome) -> None:
        """Another scene is done."""
        self.counts[outcome] += 1
        if self._bar:
            self._bar.update(self._bar.task_ids[0], advance=1, told=self._rate())
        elif time.monotonic() - self._told >= SECONDS_A_LINE:
            self._told = time.monotonic()
            done = sum(self.counts.values())
            # scenes whose records were there already cost next to nothing and tell nothing of those to come
            asked = max(1, done - self.counts["kept"])
            left = (self.total - done) * (self._told - self._started) / asked
            print(f"label {done}/{self.total}  {self._rate()}  left {_clock(left)}", file=sys.stderr, flush=True)

    def _rate(self) -> str:
        rate = (sum(self.counts.values()) - self.counts["kept"]) / max(1e-9, time.monotonic() - self._started)
        speed = f"{rate:.1f} scenes/s" if rate >= 1 else f"{rate * 60:.1f} scenes/min"
        return f"{speed}, {self.counts['kept']} there already, {self.counts['failed']} failed"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
