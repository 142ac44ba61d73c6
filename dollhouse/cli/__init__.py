"""The command: one file a verb, each parses, calls one public function and prints.

Heavy libraries are imported inside the verbs, so that help and errors are instant.
"""

from __future__ import annotations

import os

# isort: off
from dollhouse.cli import (  # noqa: F401 - each registers its verbs, in the order of the help
    ask,
    annotate,
    distill,
    export,
    estimate,
    evaluate,
    benchmark,
    bench,
    verify,
    compare,
    probe_thinking,
    scenes,
    records,
    labels,
    serve,
    version,
)

# isort: on
from dollhouse.cli import boundary
from dollhouse.cli.app import app


def main() -> None:
    """Run the command; see :func:`dollhouse.cli.boundary.run` for the exit codes."""
    # Threads that wait sleep. By default they spin, which slows two busy processes on two cores tenfold; it is read
    # when torch is loaded, and by child processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    raise SystemExit(boundary.run(app))
