"""The machine and the software that results were computed with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")  #: Linux only; elsewhere ``platform.processor`` is used
MAX_SEED = 2**32 - 1  #: of NumPy, and so of transformers; torch takes more
PACKAGES = ("torch", "transformers", "numpy", "pillow", "onnxruntime")
_EXTRA = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?.*\bextra *== *['\"]([\w-]+)['\"]")


def describe_environment() -> dict[str, Any]:
    """Return what a bug report needs, JSON-able; torch is not imported, and no environment variable is read.

    Keys: ``dollhouse``, ``commit``, ``python``, ``system``, ``processor``, ``cores``, ``memory_gib``, ``packages``
    (version by name), ``extras`` (whether all packages of the extra are installed) and ``cuda`` (device names; None
    where torch has not been imported yet).
    """
    from dollhouse import __version__

    return {
        "dollhouse": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        **describe_machine(),
        "memory_gib": _memory_gib(),
        "packages": package_versions(PACKAGES),
        "extras": _installed_extras(),
        "cuda": _cuda_devices(),
    }


def describe_machine() -> dict[str, Any]:
    """Return ``system``, ``processor`` and ``cores``, JSON-able."""
    return {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """Return the processor's model name and architecture, such as "AMD EPYC, x86_64"."""
    architecture = platform.machine()
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(encoding="utf-8", errors="replace"), re.M)
    except OSError:
        model = None
    name = model.group(1).strip() if model else platform.processor()
    return f"{name}, {architecture}" if name and name != architecture else architecture


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package; those not installed are absent."""
    from importlib import metadata  # takes as long to import as the rest of the command

    versions = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def source_commit() -> str | None:
    """Return the commit of the source tree that the package runs from; None where it is installed without one."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None

    def run_git(*words: str) -> str:
        run = subprocess.run([git, "-C", str(here.parent), *words], capture_output=True, text=True, check=False)
        return run.stdout.strip()

    # an installed package may lie inside the repository of another project, which does not track this file
    return (run_git("rev-parse", "HEAD") or None) if run_git("ls-files", here.name) else None


def _installed_extras() -> dict[str, bool]:
    from importlib import metadata

    try:
        requirements = metadata.requires("dollhouse") or []
    except metadata.PackageNotFoundError:
        return {}
    packages: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}  #: extras that an extra consists of
    for match in filter(None, map(_EXTRA.match, requirements)):
        package, nested, extra = match.groups()
        packages.setdefault(extra, set()).add(package)
        parts.setdefault(extra, set()).update(nested.split(",") if nested and package == "dollhouse" else ())
    complete = {extra: len(package_versions(names)) == len(names) for extra, names in packages.items()}

    def whole(extra: str) -> bool:
        return complete.get(extra, False) and all(map(whole, parts[extra]))

    return {extra: whole(extra) for extra in packages}


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # no sysconf on Windows
        return None


def _cuda_devices() -> list[str] | None:
    torch = sys.modules.get("torch")
    return None if torch is None else [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
