"""The command: one verb each for what a user does, every one a call of one public function; a verb or two a module.

Heavy libraries load inside the verbs, so that help and errors are instant. Errors that a user can mend are one line
on standard error and exit code 2.
"""

from __future__ import annotations

import errno
import sys

from rich.console import Console
from rich.markup import escape

from dollhouse.cli import (  # noqa: F401 - each adds its verbs
    annotate,
    ask,
    distill,
    evaluate,
    probe_thinking,
    scenes,
)
from dollhouse.cli.root import app
from dollhouse.errors import DollhouseError


@app.command()
def version() -> None:
    """Print the version."""
    from dollhouse import __version__

    print(__version__)


def main() -> None:
    """Run the command; errors of the user's are one line and exit code 2."""
    try:
        app()
    except DollhouseError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: the disk is full: {error}; free some space and run the same command again", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
