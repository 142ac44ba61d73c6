"""Reader of list files that name one scan a line, such as ScanNet's ``scannetv2_train.txt``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dollhouse.scenes.readers.reader import read_text
from dollhouse.scenes.readers.sens import SUFFIX as STREAM_SUFFIX

LIST_SUFFIX = ".txt"
_MAX_BYTES = 4 << 20
_MAX_NAME = 200  #: characters; file systems take 255 bytes
_SUBFOLDERS = ("", "scans", "scans_test")


def read_scan_list(path: Path, is_scene: Callable[[Path], bool]) -> tuple[list[Path], list[str]]:
    """Find the scans that a list file names, each once; returns their paths and the names of those missing.

    A scan is looked for beside the file, and in ``scans`` and ``scans_test`` beside it or beside its folder. Both are
    empty for other text files. Raises SceneError where the file cannot be read as text.
    """
    if not path.is_file() or path.suffix.lower() != LIST_SUFFIX or path.stat().st_size > _MAX_BYTES:
        return [], []
    names = list(dict.fromkeys(line.strip() for line in read_text(path).splitlines() if line.strip()))
    if any(name.startswith(".") or len(name) > _MAX_NAME or set(name) & set("/\\:\0 \t") for name in names):  # prose
        return [], []
    folder = path.resolve().parent
    bases = [base for parent in (folder, folder.parent) for base in (parent / sub for sub in _SUBFOLDERS)]
    found: list[Path] = []
    missing: list[str] = []
    for name in names:
        candidates = [base / file for base in bases for file in (name, f"{name}{STREAM_SUFFIX}")]
        scan = next((scan for scan in candidates if scan.exists() and is_scene(scan)), None)
        if scan is None:
            missing.append(name)
        else:
            found.append(scan)
    return found, missing
