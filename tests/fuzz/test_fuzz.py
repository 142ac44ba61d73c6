"""A short run of ``make fuzz`` over the readers that need no torch, and all inputs that once failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.readers import READERS

LIGHT = [reader for reader in READERS if not reader.heavy]


@pytest.mark.parametrize("inputs", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_are_one_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "work" / "cache"))
    readers = LIGHT if inputs < 10 else READERS
    for reader in readers:
        run.prepare(reader, tmp_path / "seeds")
    cases = [*run.kept_cases(readers), *((reader, number) for number in range(inputs) for reader in readers)]
    results = list(run.run(cases, tmp_path / "seeds", tmp_path / "work"))
    assert len(results) == len(cases)
    failed = [f"{reader.name}:{number}: {kind}: {words}" for (reader, number), kind, words in results
              if kind not in ("works", "named error")]  # fmt: skip
    assert not failed
    assert {kind for _, kind, _ in results} == {"works", "named error"}


def test_hangs_deaths_and_other_writes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(folder: Path) -> None:
        number = int((folder / "number").read_text())
        if number == 1:
            (tmp_path / "elsewhere").write_text("")
        elif number == 2:
            run.os.kill(run.os.getpid(), run.signal.SIGKILL)
        elif number == 3:
            run.time.sleep(60)
        elif number == 4:
            raise ValueError("unnamed")

    monkeypatch.setattr(run, "SECONDS", 5.0)
    reader = run.FuzzedReader("behaviour", lambda folder: (folder / "number").write_text("0"), behave)
    run.prepare(reader, tmp_path / "seeds")
    numbered = {run.random.Random(f"behaviour:{number}").random(): str(number) for number in range(5)}
    monkeypatch.setattr(run, "mutate", lambda folder, rng: (folder / "number").write_text(numbered[rng.random()]))
    cases = [(reader, number) for number in range(5)]
    kinds = [kind for _, kind, _ in run.run(cases, tmp_path / "seeds", tmp_path / "work")]
    assert kinds == ["works", "outside", "crash", "hang", "traceback"]
