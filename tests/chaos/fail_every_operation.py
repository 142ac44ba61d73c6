"""Fail every file operation of a small annotation and distillation once, and run the same command again.

``python -m tests.chaos.fail_every_operation [--every 10] [--commands annotate distill] [--from 1]``; exit code 1
where a run that follows a failure ends with other files than an undisturbed run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos import commands as chaos
from tests.chaos.injection import CRASHED, Injection


def fail_once(command: chaos.Command, folder: Path, number: int, crash: bool, expected: dict[str, Any]) -> str | None:
    """Run a command whose operation ``number`` fails, then again; return the fault or "", None where none failed."""
    shutil.rmtree(folder, ignore_errors=True)
    report = folder.with_suffix(".failed")
    report.unlink(missing_ok=True)
    code = chaos.finish(chaos.start(command, folder, Injection(folder, number, crash, report).install))
    if not report.exists():
        return None
    place, output = report.read_text(), chaos.output_of(folder)
    if not crash and (code not in (0, 1, 2) or "Traceback" in output):
        return f"{place}: exit code {code}:\n{output}"
    if crash and code != CRASHED:
        return f"{place}: exit code {code}"
    if code == 0 and (wrong := chaos.differences(chaos.contents(folder), expected)):
        return f"{place}: exit code 0, but {', '.join(wrong[:4])}"
    chaos.let_a_day_pass(folder)
    again, output = chaos.finish(chaos.start(command, folder)), chaos.output_of(folder)
    if again and not (command.refused_again and command.refused_again in output):
        return f"{place}: the next run fails ({again}):\n{output}"
    wrong = chaos.differences(chaos.contents(folder), expected) + chaos.leftovers(folder)
    return f"{place}: {', '.join(wrong[:4])}" if wrong else ""


def main() -> int:
    """Fail the operations asked for; print a table by command, and every fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--commands", nargs="+", default=["annotate", "distill"])
    parser.add_argument("--kinds", nargs="+", default=["crash", "error"])
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as made:
        commands = chaos.make_commands(Path(made) / "inputs")
        chaos.import_everything(
            {name: commands[name] for name in {"distill": 0} | dict.fromkeys(options.commands)}, Path(made) / "inputs"
        )
        for name in options.commands:
            expected, took = chaos.undisturbed(commands[name], Path(made) / "trial")
            if wrong := chaos.differences(chaos.undisturbed(commands[name], Path(made) / "trial")[0], expected):
                raise RuntimeError(f"two undisturbed runs of {name} differ: {', '.join(wrong)}")
            print(f"{name}: {len(expected)} files, {took:.2f} s undisturbed", flush=True)
            for kind in options.kinds:
                began, number, counts = time.monotonic(), options.first, Counter[str]()
                while (
                    fault := fail_once(commands[name], Path(made) / "trial", number, kind == "crash", expected)
                ) is not None:
                    counts["wrong" if fault else "equal"] += 1
                    if fault:
                        print(f"  {name}, {kind} at operation {number}: {fault}", flush=True)
                    number += options.every
                faults += counts["wrong"]
                each = (time.monotonic() - began) / max(1, counts.total())
                print(
                    f"{name:10} {kind}: {counts['equal']} equal, {counts['wrong']} wrong; {each:.2f} s each", flush=True
                )
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
