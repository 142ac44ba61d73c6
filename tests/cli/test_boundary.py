"""The boundary of the command: whatever is raised or printed, one clean line and an exit code."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from rich.table import Table

from dollhouse.cli import boundary
from dollhouse.errors import SceneError
from dollhouse.system.console import console
from dollhouse.system.progress import ProgressBar
from tests.cli.command import run

HOSTILE = "\x1b[31m\x07\x9b2J\x7f\r\u202e[/b][red]:x:$\\frac$"
SHOWN = "[31m2J[/b][red]:x:$\\frac$"
REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of saved reports."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "argv", ["dollhouse", "ask", "photos", "--teacher-arg", "api_key=opensesame"])
    return tmp_path / "state" / "dollhouse" / "reports"


def ended_by(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def command(**_: Any) -> NoReturn:
        raise error

    return boundary.run(command), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SceneError("photos: bad\n  photo\r\nname"), 2, "error: photos: bad photo name\n"),
        (typer.BadParameter("no\nsuch"), 2, "error: Invalid value: no such\n"),
        (OSError(28, "No space left on device"), 2, "error: the disk is full"),
        (
            UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
            2,
            "error: 'caf\\\\xe9' is not text",
        ),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(1), 1, ""),
        (SystemExit("no"), 2, "error: no\n"),
        (ValueError("month must be in 1..12"), 3, "error: unexpected ValueError: month must be in 1..12; please send"),
        (RecursionError("too deep"), 3, "error: unexpected RecursionError: too deep; please send"),
        (MemoryError(), 3, "error: unexpected MemoryError; please send"),
        (EOFError(), 3, "error: unexpected EOFError; please send"),
        (BrokenPipeError(32, "Broken pipe"), 3, "error: unexpected BrokenPipeError"),  # of another pipe than the output
        (
            type("PanicException", (BaseException,), {})("rust"),
            3,
            "error: unexpected PanicException: rust; please send",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_is_one_line(
    error: BaseException, code: int, line: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, printed = ended_by(error, capsys)
    assert ended == code
    assert printed.startswith(line)
    assert printed.count("\n") == (line != "")
    assert state.is_dir() == (code == 3)
    if code == 3:
        (report,) = state.iterdir()
        assert str(report) in printed
        text = report.read_text()
        assert "command: dollhouse ask photos --teacher-arg api_key=***" in text
        assert "opensesame" not in text
        assert "Traceback (most recent call last)" in text
        assert "dollhouse: " in text


def test_errors_of_typer_pass_through_the_boundary(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["frob"], ["ask"], ["version", "--frob"], ["scenes", "show", "x", "--views", "0"], ["--frob\n"]):
        code, _, error = run(capsys, monkeypatch, *arguments)
        assert (code, error.count("\n")) == (2, 1), error
        assert error.startswith("error: ")
    app = typer.Typer()

    @app.command()
    def raise_error(name: str) -> None:
        raise {"eof": EOFError("cut"), "pipe": BrokenPipeError(32, "worker"), "end": KeyboardInterrupt()}[name]

    for name, code in (("eof", 3), ("pipe", 3), ("end", 130)):
        assert boundary.run(lambda name=name, **options: app([name], **options)) == code
    assert len(list(state.iterdir())) == 2


def test_long_messages_are_cut_and_reports_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    code, error = ended_by(ValueError("9" * 5000 + "\udce9\ud800"), capsys)
    assert code == 3
    assert len(error) < 2100
    (report,) = (tmp_path / "temporary").iterdir()
    assert "99\\udce9\\ud800" in report.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "state"))
    assert "could not be saved" in ended_by(ValueError(), capsys)[1]


def test_traceback_is_printed_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, error = run(capsys, monkeypatch, "--traceback", "ask", "/nowhere", "a?")
    assert code == 2
    assert error.startswith("Traceback (most recent call last)")
    assert error.splitlines()[-1].startswith("error: no such scene: /nowhere")


def test_nothing_printed_steers_the_terminal_or_is_markup(capsys: pytest.CaptureFixture[str]) -> None:
    def command(**_: Any) -> None:
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE])
        logging.getLogger("dollhouse.test").warning(HOSTILE)
        out = console()
        out.print(HOSTILE)
        out.print(HOSTILE, style="bold")
        table = Table(title=HOSTILE)
        table.add_column(HOSTILE)
        table.add_row(HOSTILE)
        out.print(table)
        raise SceneError(HOSTILE)

    logging.getLogger("dollhouse.test").addHandler(handler := logging._StderrHandler())  # type: ignore[attr-defined]
    assert boundary.run(command) == 2
    logging.getLogger("dollhouse.test").removeHandler(handler)
    shown = capsys.readouterr()
    assert shown.out.count(SHOWN) == 7
    assert shown.err.count(SHOWN) == 2
    assert shown.err.splitlines()[-1] == "error: " + SHOWN.replace("J", "J ")  # the carriage return
    assert all(character.isprintable() or character == "\n" for character in shown.out + shown.err)


def test_progress_bar_shows_notes_and_prints_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressBar("annotate", total=2) as bar:
        bar.update(1, note=f"\x1b[35m{HOSTILE}")
        print("\x1b]8;;http://example.org\x07link\x1b[35m", file=sys.stderr)
    shown = capsys.readouterr().err
    assert "[35m" + SHOWN in shown
    assert "]8;;http://example.orglink[35m" in shown
    assert "\x1b[35m" not in shown
    assert "\x1b]" not in shown


SCRIPT = """
import sys
import rich
from dollhouse.cli import boundary
from dollhouse.system.console import console

def command(**_):
    assert sys.stdin.read() == ""
    for number in range(100_000):
        {}

raise SystemExit(boundary.run(command))
"""


@pytest.mark.parametrize(
    "statement", ["print(number)", "console().print(number)", "rich.print(number)", "sys.stderr.write('x' * 9)"]
)
@pytest.mark.parametrize(
    ("shell", "code", "line"),
    [
        ("2>&1 | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        (">/dev/full 2>/dev/full", 2, ""),
        (">&- 2>/dev/full", 2, ""),
        (">&-", 2, "error: standard output is closed; send it to a file, or to /dev/null\n"),
        (">/dev/null 2>&- <&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written(statement: str, shell: str, code: int, line: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(statement))
    command = ["bash", "-c", f'"{sys.executable}" script.py {shell}']
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ended = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), text=True, check=False, **options)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr == line
    assert not (tmp_path / "state").exists()


def environment(state: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(REPO), "XDG_STATE_HOME": str(state / "state")}
