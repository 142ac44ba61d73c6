"""The command: one file a verb, each parses, calls one public function and prints.

Heavy libraries are imported inside the verbs, so that help and errors are instant. An error that the user can mend
is one line on standard error and exit code 2.
"""

from __future__ import annotations

import errno
import io
import os
import sys

from rich.markup import escape

# isort: off
from dollhouse.cli import (  # noqa: F401 - each registers its verbs, in the order of the help
    ask,
    annotate,
    distill,
    estimate,
    evaluate,
    benchmark,
    verify,
    compare,
    probe_thinking,
    scenes,
    records,
    labels,
    version,
)

# isort: on
from dollhouse.cli.app import app, console
from dollhouse.errors import DollhouseError


def main() -> None:
    """Run the command and turn user errors into one line and exit code 2."""
    # Threads that wait sleep. By default they spin, which slows two busy processes on two cores tenfold; it is read
    # when torch is loaded, and by child processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character prints "?" instead of failing
            stream.reconfigure(errors="replace")
    try:
        app()
    except DollhouseError as error:
        console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: the disk is full: {error}; free some space and run the same command again", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
