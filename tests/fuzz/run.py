"""Read mutated inputs by every reader in watched processes, and print what happened as a table.

``FUZZ_INPUTS`` (default 20000) inputs over all readers, the first of them numbered ``FUZZ_FIRST`` (default 0);
``FUZZ_READERS`` names some, separated by commas. Failing inputs are added to ``kept.txt`` and read again by every
run. SIGINT and SIGTERM end a run with the table so far.
"""

from __future__ import annotations

import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.fuzz.mutations import mutate
from tests.fuzz.readers import READERS, FuzzedReader, outcome

MEMORY = 2 << 30  #: bytes
SECONDS = 20.0
KEPT = Path(__file__).with_name("kept.txt")
OUTCOMES = ("works", "named error", "traceback", "hang", "memory", "outside", "crash")
Case = tuple[FuzzedReader, int]


def prepare(reader: FuzzedReader, seeds: Path) -> None:
    """Write the valid input of a reader below ``seeds``."""
    folder = seeds / reader.name
    if not folder.exists():
        folder.mkdir(parents=True)
        reader.write(folder)


def read_case(reader: FuzzedReader, number: int, seeds: Path, work: Path) -> tuple[str, str]:
    """Damage the valid input in a way that depends on reader and number alone, and read it."""
    shutil.rmtree(work, ignore_errors=True)
    folder = work / "input"
    shutil.copytree(seeds / reader.name, folder, symlinks=True)
    mutate(folder, random.Random(f"{reader.name}:{number}"))
    outside: list[str] = []
    _watched[:] = [outside, str(work)]
    try:
        result = outcome(reader.read, folder)
    finally:
        _watched.clear()
    return ("outside", outside[0]) if outside else result


_watched: list = []  #: the list that takes paths written elsewhere, and the folder in which writing is right
_WRITING = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.link", "os.symlink", "os.truncate"}


def _audit(event: str, arguments: tuple) -> None:
    if not _watched or (event != "open" and event not in _WRITING):
        return
    if event == "open" and not (
        isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith((_watched[1], os.devnull)):
            _watched[0].append(f"{event} {place}")


def watch_writes() -> None:
    """Note every file that Python opens for writing, renames or removes outside the folder of the input."""
    if not getattr(watch_writes, "installed", False):
        sys.addaudithook(_audit)
        watch_writes.installed = True  # type: ignore[attr-defined]


def run(cases: Sequence[Case], seeds: Path, work: Path) -> Iterator[tuple[Case, str, str]]:
    """Yield outcome and words of each case; a worker process that hangs, grows or dies is replaced."""
    place = 0
    while place < len(cases):
        for result in _run_worker(cases[place:], seeds, work):
            yield result
            place += 1


def _run_worker(cases: Sequence[Case], seeds: Path, work: Path) -> Iterator[tuple[Case, str, str]]:
    """Yield the results of one worker process, which does not outlive this generator."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        os.close(receive)
        _work(cases, seeds, work, send)
    os.close(send)
    try:
        yield from _results(child, receive, cases)
    finally:
        os.close(receive)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _results(child: int, receive: int, cases: Sequence[Case]) -> Iterator[tuple[Case, str, str]]:
    place, watch, pending = 0, _Watch(child), b""
    while True:
        ready, _, _ = select.select([receive], [], [], 0.25)
        chunk = os.read(receive, 1 << 16) if ready else b""
        if ready and not chunk:
            _, status = os.waitpid(child, 0)
            if place < len(cases) and status:
                yield cases[place], "crash", f"signal {os.WTERMSIG(status)}"
            return
        pending += chunk
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            kind, _, words = line.decode("utf-8", "replace").partition("\t")
            yield cases[place], kind, words
            place, watch = place + 1, _Watch(child)
        late = watch.is_late()
        if place < len(cases) and (late or _memory(child) > MEMORY):
            os.kill(child, signal.SIGKILL)
            yield cases[place], "hang" if late else "memory", ""
            return


def _work(cases: Sequence[Case], seeds: Path, work: Path, send: int) -> None:
    """Read the cases one by one in this process and write a line for each; never returns."""
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    watch_writes()
    warnings.simplefilter("ignore")
    try:
        for reader, number in cases:
            try:
                kind, words = read_case(reader, number, seeds, work)
            except Exception as error:  # of the damage itself
                kind, words = "crash", f"the input could not be made: {error!r}"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            kind, words = ("memory", f"{peak:,} bytes") if peak > MEMORY else (kind, words)
            line = f"{kind}\t{' '.join(words.split())}"
            os.write(send, line.encode("utf-8", "replace")[:1000] + b"\n")
            if peak > MEMORY:
                break
    finally:
        os._exit(0)


class _Watch:
    """Whether a process has computed, or waited, for longer than SECONDS; a busy machine that lets it wait is none."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.first, _ = self._state()
        self.ticks, self.moved = self.first, time.monotonic()

    def is_late(self) -> bool:
        ticks, is_ready = self._state()
        if ticks != self.ticks or is_ready:
            self.ticks, self.moved = ticks, time.monotonic()
        computed = (ticks - self.first) / os.sysconf("SC_CLK_TCK")
        return max(computed, time.monotonic() - self.moved) > SECONDS

    def _state(self) -> tuple[int, bool]:
        """Return the clock ticks of computing so far, and whether the process is computing or ready to."""
        try:
            with open(f"/proc/{self.process}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0, False
        return int(fields[11]) + int(fields[12]), fields[0] == "R"


def _memory(process: int) -> int:
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def kept_cases(readers: Sequence[FuzzedReader]) -> list[Case]:
    """Return the inputs that once failed."""
    by_name = {reader.name: reader for reader in readers}
    pairs = [line.rpartition(":") for line in KEPT.read_text("utf-8").splitlines() if line]
    return [(by_name[name], int(number)) for name, _, number in pairs if name in by_name]


def main() -> None:
    names = os.environ.get("FUZZ_READERS", "")
    readers = [reader for reader in READERS if not names or reader.name in names.split(",")]
    inputs, first = int(os.environ.get("FUZZ_INPUTS", "20000")), int(os.environ.get("FUZZ_FIRST", "0"))
    cases = kept_cases(readers)
    for number in range(inputs):
        cases.append((readers[number % len(readers)], first + number // len(readers)))
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell lets its background processes ignore SIGINT
        signal.signal(stop, signal.default_int_handler)
    counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in readers}
    failures: dict[str, list[str]] = {}
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as temporary:
        seeds, work = Path(temporary) / "seeds", Path(temporary) / "work"
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")
        for reader in readers:
            prepare(reader, seeds)
        for (reader, number), kind, words in run(cases, seeds, work):
            counts[reader.name][kind] += 1
            if kind not in ("works", "named error"):
                failures.setdefault(f"{reader.name}: {kind}: {words}", []).append(f"{reader.name}:{number}")
                print(f"{reader.name}:{number}: {kind}: {words}", file=sys.stderr, flush=True)
            if reader is readers[-1] and counts[reader.name].total() % 25 == 0:
                print(f"read {sum(map(Counter.total, counts.values())):,} inputs", file=sys.stderr, flush=True)
    print(f"{'reader':20}" + "".join(f"{name:>12}" for name in ("inputs", *OUTCOMES)))
    for name, row in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{name:20}{row.total():12,}" + "".join(f"{row[kind]:12,}" for kind in OUTCOMES))
    kept = {f"{reader.name}:{number}" for reader, number in kept_cases(READERS)}
    kept |= {numbers[0] for numbers in failures.values()}
    KEPT.write_text("".join(f"{case}\n" for case in sorted(kept)), "utf-8")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
