"""A signal ends a long verb with its exit code and one line, whatever it is doing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from dollhouse import cli
from dollhouse.cli.app import interruptible


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_verb(number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    closed = []
    before = signal.getsignal(number)

    @interruptible()
    def verb() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(20)
        finally:
            closed.append("requests")

    with pytest.raises(SystemExit) as ended:
        verb()
    assert ended.value.code == code
    assert closed == ["requests"]
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("name", ["annotate", "evaluate", "benchmark", "scenes"])
def test_long_verbs_are_interruptible(name: str) -> None:
    source = (Path(cli.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    assert "@interruptible()" in source
