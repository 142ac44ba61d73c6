"""Run ``python -m experiments.paper``."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command, see dollhouse/cli/__init__.py; before torch

from experiments.paper.run import main

if __name__ == "__main__":
    raise SystemExit(main())
