"""Links, and names in files, of folders that come from others: those that lead out of the folder are not followed."""

from __future__ import annotations

import os
from pathlib import Path

from dollhouse.errors import DollhouseError

VARIABLE = "DOLLHOUSE_FOLLOW_LINKS"


def refuse_links(folder: Path, error: type[DollhouseError], depth: int) -> None:
    """Raise ``error`` for a link in a folder, ``depth`` levels deep, whose target lies outside it.

    Does nothing where the environment variable DOLLHOUSE_FOLLOW_LINKS is 1.
    """
    if os.environ.get(VARIABLE) == "1":
        return
    root = os.path.realpath(folder)
    folders = [(str(folder), depth)]
    while folders:
        place, levels = folders.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue  # whoever reads it says why it cannot
        for entry in entries:
            if entry.is_symlink():
                try:
                    target = os.path.realpath(entry.path)
                except OSError:
                    continue  # removed, or of another user's process in /proc: nobody can follow it either
                if os.path.commonpath([root, target]) != root:
                    raise error(f"{entry.path}: links to {target}, out of its folder; set {VARIABLE}=1 to follow links")
            elif levels > 1 and entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, levels - 1))


def refuse_outside(path: Path, folder: Path, error: type[DollhouseError]) -> Path:
    """Return a path whose name was read from a file in a folder; raise ``error`` where it leads out of the folder.

    Links count by their targets. Accepts every path where the environment variable DOLLHOUSE_FOLLOW_LINKS is 1.
    """
    if os.environ.get(VARIABLE) != "1":
        root, target = os.path.realpath(folder), os.path.realpath(path)
        if os.path.commonpath([root, target]) != root:
            raise error(f"{path}: leads out of {folder}; set {VARIABLE}=1 to follow it")
    return path
