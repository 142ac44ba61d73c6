"""Where every error of the command ends: one line, and an exit code that says whose error it is."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich.console
import typer
from rich.text import Text

from dollhouse.cli.app import command_line
from dollhouse.errors import DollhouseError, missing_package
from dollhouse.system.atomic_io import write_text
from dollhouse.system.console import READER_GONE, console, guarded_streams
from dollhouse.system.environment import describe_environment
from dollhouse.system.secrets import mask
from dollhouse.system.text import storable

USER_ERROR, UNEXPECTED_ERROR, INTERRUPTED = 2, 3, 130
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_LINE = 2000


def run(command: Callable[..., Any]) -> int:
    """Run the command and return its exit code; whatever it raises becomes one line on standard error.

    2: an error that the user can mend; 3: any other, whose report is saved; 130: interrupted; 141: no program reads
    the output any more. ``--traceback`` prints where an error was raised.
    """
    has_output = sys.stdout is not None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # closed ones, in the order of their numbers
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - held until the process ends
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "replace")):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character prints "?" instead of failing
            stream.reconfigure(errors=errors)
    with guarded_streams():
        if not has_output:
            return _fail("standard output is closed; send it to a file, or to /dev/null")
        try:
            code = _exit_code(command)
            sys.stdout.flush()
            return code
        except BaseException as error:
            if "--traceback" in sys.argv:
                sys.stderr.write(mask("".join(traceback.format_exception(error))))
            return _end(error)


def _exit_code(command: Callable[..., Any]) -> int:
    streams = sys.stdout, sys.stderr
    try:
        return command(standalone_mode=False) or 0
    except typer.Abort as error:  # what Typer makes of an EOFError
        raise error.__cause__ or error from None
    except SystemExit as error:  # and of a broken pipe; it replaces the streams
        sys.stdout, sys.stderr = streams
        if isinstance(pipe := error.__context__, BrokenPipeError) and error.code != READER_GONE:
            writer = traceback.extract_tb(pipe.__traceback__)[-1].filename
            raise SystemExit(READER_GONE) if writer == rich.console.__file__ else pipe from None
        raise


def _end(error: BaseException) -> int:
    """Say what ended the command, and return the exit code."""
    if isinstance(error, SystemExit):
        _drop_output()
        return error.code if isinstance(error.code, int) else _fail(str(error.code)) if error.code else 0
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, ModuleNotFoundError):
        error = missing_package(error)
    if isinstance(error, DollhouseError):
        return _fail(str(error))
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context else ""
        message = error.format_message()  # empty where the help was printed instead
        return _fail(message + hint) if message else USER_ERROR
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":  # of a name or an argument
        return _fail(f"{storable(error.object)[:200]!r} is not text in UTF-8")
    if isinstance(error, OSError) and error.errno in _FULL:
        _drop_output()
        return _fail(f"the disk is full: {error}; free some space and run the same command again")
    kind, words = type(error).__name__, f": {error}" if str(error) else ""
    _fail(f"unexpected {kind}{words}; {_save_report(error)}")
    return UNEXPECTED_ERROR


def _fail(message: str) -> int:
    """Print an error in one line."""
    line = re.sub(r"\s*[\n\r\x85\u2028\u2029]\s*", " ", mask(message).strip())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    with contextlib.suppress(OSError, SystemExit):  # nobody reads it
        console(stderr=True).print(Text.assemble(("error:", "red"), f" {line}"))
    return USER_ERROR


def _drop_output() -> None:
    """Throw away output that cannot be written, of which Python would complain at the end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, SystemExit):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _save_report(error: BaseException) -> str:
    """Save what the maintainers need to know about an error, without secrets; return where, in words."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}.txt"
    try:
        facts = {"command": command_line(), **describe_environment()}
    except Exception as fault:
        facts = {"command": command_line(), "environment": repr(fault)}
    lines = [*(f"{name}: {value}\n" for name, value in facts.items()), "\n", *traceback.format_exception(error)]
    report = storable(mask("".join(lines)))
    for folder in (Path(os.path.expanduser(state)) / "dollhouse" / "reports", Path(tempfile.gettempdir())):
        with contextlib.suppress(DollhouseError, OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(folder / name, report)
            return f"please send its report to the maintainers: {folder / name}"
    return "its report could not be saved; `dollhouse --traceback ...` prints it"
