"""Kill small runs of every command at random moments, run the same command again, and compare what it wrote.

``python -m tests.chaos.kill_at_random [--kills 200] [--seed 0] [--commands distill]`` prints a table by command; exit
code 1 where a run ended with other files than an undisturbed run. Of three kills, two come at a random moment of the
run, and one just after a file appeared or vanished; every second run that follows a kill is killed as well. Where kills
leave states of the folder that are equal but for times, process ids and random names, the last run is made once.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos import commands as chaos

WEIGHTS = {"annotate": 2, "distill": 5, "evaluate": 2, "export glb": 1, "export colmap": 1, "ask --show": 1}


def kill(process: int, folder: Path, seconds: float, changes: int) -> bool:
    """SIGKILL a process after some seconds, or after so many changes of the files; False where it ended before."""
    until, names, left = time.monotonic() + seconds, _names(folder), changes
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        began = time.monotonic()
        if changes and (found := _names(folder)) != names:
            names, left = found, left - 1
        if (changes and left <= 0) or (not changes and began >= until):
            os.kill(process, signal.SIGKILL)
            break
        # looking takes at most a third of a core
        time.sleep(2 * (time.monotonic() - began) if changes else max(0.0, min(0.01, until - began)))
    return chaos.finish(process) == -signal.SIGKILL


def _names(folder: Path) -> frozenset[str]:
    return frozenset(os.path.join(place, name) for place, folders, files in os.walk(folder) for name in folders + files)


def killed_and_repeated(
    command: chaos.Command,
    folder: Path,
    took: float,
    draw: random.Random,
    expected: dict[str, Any],
    seen: dict[str, tuple[str, str]],
) -> tuple[int, str, str]:
    """Kill a command, perhaps several times, and let it end; return kills, outcome, and what is wrong or printed.

    ``seen`` has the outcomes by the digest of what the kills left, from where the command runs once.
    """
    shutil.rmtree(folder, ignore_errors=True)
    kills = 0
    while kills == 0 or draw.random() < 0.5:
        changes = draw.choice((0, 0, draw.randint(1, 2 * len(expected))))
        if not kill(chaos.start(command, folder), folder, draw.uniform(0, took), changes):
            break
        kills += 1
    if (state := chaos.digest(folder)) not in seen:
        seen[state] = _repeated(command, folder, expected)
    return kills, *seen[state]


def _repeated(command: chaos.Command, folder: Path, expected: dict[str, Any]) -> tuple[str, str]:
    chaos.let_a_day_pass(folder)
    code, output = chaos.finish(chaos.start(command, folder)), chaos.output_of(folder)
    wrong = chaos.differences(chaos.contents(folder), expected) + chaos.leftovers(folder)
    # a temporary file goes with the next write in its folder; full caches and refused exports write nothing more
    idle = ("cache/", "") if command.refused_again else ("cache/",)
    wrong = [words for words in wrong if not (".unfinished-" in words and words.startswith(idle))]
    if code in (1, 2) and "Traceback" not in output and output.strip():
        return "advised" if not wrong or not command.refused_again else "wrong", output.strip().splitlines()[-1]
    if code or wrong:
        return "wrong", ", ".join(wrong[:4]) or output
    return "equal", ""


def processor_seconds() -> float:
    """Return the time that all commands so far kept a core busy; the clock says little where others run beside them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Kill as often as asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", default=list(WEIGHTS))
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills, outcomes, seconds = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    seen: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in options.commands}
    with tempfile.TemporaryDirectory() as made:
        inputs, folder = Path(made) / "inputs", Path(made) / "trial"
        commands = chaos.make_commands(inputs)
        chaos.import_everything(
            {name: commands[name] for name in {"distill": 0} | dict.fromkeys(options.commands)}, inputs
        )
        expected = {name: chaos.undisturbed(commands[name], folder) for name in options.commands}
        for name, (files, took) in expected.items():
            print(f"{name}: {len(files)} files, {took:.2f} s undisturbed", flush=True)
        while kills.total() < options.kills:
            name = draw.choices(options.commands, [WEIGHTS[name] for name in options.commands])[0]
            files, took = expected[name]
            began = processor_seconds()
            count, outcome, words = killed_and_repeated(commands[name], folder, took, draw, files, seen[name])
            seconds[name] += processor_seconds() - began  # type: ignore[assignment]
            kills[name] += count
            if not count:  # it ended before: other programs have left it more of the processor
                expected[name] = files, 0.6 * took
            outcomes[name, outcome] += 1
            if outcome != "equal" or outcomes.total() % 5 == 0:
                print(f"  {name}, after {count} kills: {outcome}: {words}; {kills.total()} kills in all", flush=True)
    print(f"seed {options.seed}\n{'command':14}  kills  equal  advised  wrong  states  processor seconds a kill")
    for name in [*options.commands, "all"]:
        among = options.commands if name == "all" else [name]
        equal, advised, wrong = (
            sum(outcomes[each, outcome] for each in among) for outcome in ("equal", "advised", "wrong")
        )
        count = sum(kills[each] for each in among)
        rate, states = sum(seconds[each] for each in among) / max(1, count), sum(len(seen[each]) for each in among)
        print(f"{name:14}  {count:5}  {equal:5}  {advised:7}  {wrong:5}  {states:6}  {rate:.2f}")
    return int(any(outcome == "wrong" for _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
