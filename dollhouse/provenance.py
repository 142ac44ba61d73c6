"""Which source tree the package runs from. Knows nothing else of the package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the source tree the package runs from, or None where it is installed without one."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None

    def told(*words: str) -> str:
        run = subprocess.run([git, "-C", str(here.parent), *words], capture_output=True, text=True, check=False)
        return run.stdout.strip()

    tracked = told("ls-files", here.name)  # else some other project's repository lies around an installed package
    return (told("rev-parse", "HEAD") or None) if tracked else None
