"""What machine this is, in the words that results are published with. Knows nothing else of the package."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")  #: Linux; elsewhere the platform's own word has to do


def machine() -> dict[str, Any]:
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
