"""What machine this is, in the words that results are published with. Knows nothing else of the package."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")  #: Linux; elsewhere the platform's own word has to do


def describe_machine() -> dict[str, Any]:
    """``system``, ``processor`` (its maker's name where the system tells it) and ``cores``; JSON-able."""
    return {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """Such as "AMD EPYC, x86_64"."""
    architecture = platform.machine()
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(encoding="utf-8", errors="replace"), re.M)
    except OSError:
        named = None
    name = named.group(1).strip() if named else platform.processor()
    return f"{name}, {architecture}" if name and name != architecture else architecture


def source_commit() -> str | None:
    """The commit of the source tree the package runs from, or None where it is installed without one."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None

    def told(*words: str) -> str:
        run = subprocess.run([git, "-C", str(here.parent), *words], capture_output=True, text=True, check=False)
        return run.stdout.strip()

    tracked = told("ls-files", here.name)  # else some other project's repository lies around an installed package
    return (told("rev-parse", "HEAD") or None) if tracked else None
