"""``dollhouse version`` and ``dollhouse env``."""

from __future__ import annotations

from dollhouse.cli.app import app


@app.command()
def version() -> None:
    """Print the version."""
    from dollhouse import __version__

    print(__version__)


@app.command()
def env() -> None:
    """Print what a bug report needs: versions, machine, installed extras."""
    from dollhouse.system.environment import describe_environment

    for name, value in describe_environment().items():
        print(f"{name}: {value}")
