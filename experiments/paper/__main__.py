"""Run ``python -m experiments.paper``."""

from experiments.paper.run import main

if __name__ == "__main__":
    raise SystemExit(main())
