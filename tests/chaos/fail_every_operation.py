"""Fail every file operation of a small annotation and distillation, and run the same command again.

``python -m tests.chaos.fail_every_operation [--every 10] [--commands annotate distill] [--from 1]``; exit code 1
where a run that follows a failure ends with other files than an undisturbed run.

What a crash leaves is recorded at every operation of one run. For an error, the command runs until the operation that
fails. Of states of the folder that are equal but for times, process ids and random names, the next run is the same:
it starts from each state once.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from dollhouse.records.store import RecordStore
from tests.chaos import commands as chaos
from tests.chaos.injection import Injection, Recording, Tree, write_tree


class Trial:
    """A command, the folder that it runs in, and what it writes undisturbed."""

    def __init__(self, command: chaos.Command, folder: Path) -> None:
        self.command, self.folder, self.report = command, folder, folder.with_suffix(".failed")
        self.expected, self.took = chaos.undisturbed(command, folder)
        self.seen: dict[str, str] = {}  #: fault, or "", of the run that follows a state, by its digest

    def crashes(self, first: int, every: int) -> Iterator[tuple[int, str, str]]:
        """Yield number, place and fault of the operations, each ending the process."""
        for number, (place, tree) in enumerate(self._record(), start=1):
            if number >= first and (number - first) % every == 0:
                write_tree(self.folder, tree)
                yield number, place, self._next_run()

    def errors(self, first: int, every: int) -> Iterator[tuple[int, str, str]]:
        """Yield number, place and fault of the operations, each raising an error of the system."""
        for number in count(first, every):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.report.unlink(missing_ok=True)
            injection = Injection(self.folder, self.report, number)
            code = chaos.finish(chaos.start(self.command, self.folder, injection.install))
            if not self.report.exists():
                return
            place, output = self.report.read_text(), chaos.output_of(self.folder)
            if code not in (0, 1, 2) or "Traceback" in output:
                yield number, place, f"exit code {code}:\n{output}"
            elif code == 0 and (wrong := chaos.differences(chaos.contents(self.folder), self.expected)):
                yield number, place, f"exit code 0, but {', '.join(wrong[:4])}"
            else:
                yield number, place, self._next_run()

    def _record(self) -> list[tuple[str, Tree]]:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.report.unlink(missing_ok=True)
        recording = Recording(self.folder, self.report)
        code = chaos.finish(chaos.start(self.command, self.folder, recording.install))
        if code or (wrong := chaos.differences(chaos.contents(self.folder), self.expected)):
            raise RuntimeError(f"the recorded run ends with {code or wrong}:\n{chaos.output_of(self.folder)}")
        states: list[tuple[str, Tree]] = []
        with self.report.open("rb") as file:
            while file.peek(1):
                states.append(pickle.load(file))
        return states

    def _next_run(self) -> str:
        state = chaos.digest(self.folder)
        if state not in self.seen:
            self.seen[state] = self._fault_of_next_run()
        return self.seen[state]

    def _fault_of_next_run(self) -> str:
        records = self.folder / "records"
        if records.exists() and (damaged := RecordStore(records).check()):
            return f"damaged records: {damaged}"
        chaos.let_a_day_pass(self.folder)
        code, output = chaos.finish(chaos.start(self.command, self.folder)), chaos.output_of(self.folder)
        if code and not (self.command.refused_again and self.command.refused_again in output):
            return f"the next run fails ({code}):\n{output}"
        wrong = chaos.differences(chaos.contents(self.folder), self.expected) + chaos.leftovers(self.folder)
        return ", ".join(wrong[:4])


def main() -> int:
    """Fail the operations asked for; print a table by command, and every fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--commands", nargs="+", default=["annotate", "distill"])
    parser.add_argument("--kinds", nargs="+", default=["crashes", "errors"])
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as made:
        commands = chaos.make_commands(Path(made) / "inputs", short=True)
        chaos.import_everything({name: commands[name] for name in options.commands}, Path(made) / "inputs")
        for name in options.commands:
            trial = Trial(commands[name], Path(made) / "trial")
            print(f"{name}: {len(trial.expected)} files, {trial.took:.2f} s undisturbed", flush=True)
            for kind in options.kinds:
                began, counts, known = time.monotonic(), Counter[str](), len(trial.seen)
                cases: Any = getattr(trial, kind)(options.first, options.every)
                for number, place, fault in cases:
                    counts["wrong" if fault else "equal"] += 1
                    if fault:
                        print(f"  {name}, {kind[:-1]} at operation {number}, {place}: {fault}", flush=True)
                    elif number % 20 == 0:
                        print(f"  {name}, {kind}: operation {number}, {len(trial.seen)} states", flush=True)
                faults += counts["wrong"]
                each = (time.monotonic() - began) / max(1, counts.total())
                print(
                    f"{name:10} {kind}: {counts['equal']} equal, {counts['wrong']} wrong,"
                    f" {len(trial.seen) - known} states to go on from; {each:.2f} s each",
                    flush=True,
                )
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
