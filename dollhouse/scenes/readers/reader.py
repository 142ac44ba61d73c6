"""What a reader of a scene format provides (:class:`Reader`), and helpers that readers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dollhouse.errors import SceneError
from dollhouse.scenes.scene import Scene

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class OpenScene(Protocol):
    """Signature of a reader's opener."""

    def __call__(self, path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
        """Open a scene of at most ``frames`` evenly spaced views; ``skip_bad`` leaves out views with faults."""


@dataclass(frozen=True)
class Reader:
    """One format of scenes on disk. A new format is one module and one entry in ``scenes/open.py``."""

    description: str  #: the format as error messages list it: "a folder of photos"
    matches: Callable[[Path], bool]  #: whether an existing file or folder has this format, judged without opening files
    open: OpenScene
    #: Explains why a path that resembles the format cannot be read, or returns None.
    diagnose: Callable[[Path], str | None] = lambda path: None


class FaultLog:
    """Faults of the views that are left out of a scene, or the first of them as an error."""

    def __init__(self, skip_bad: bool, noun: str) -> None:
        self.skip_bad = skip_bad
        self.noun = noun  #: what is left out, plural: "photos"
        self.faults: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Record a SceneError of the block and go on; without ``skip_bad`` raise it with a hint."""
        try:
            yield
        except SceneError as error:
            if not self.skip_bad:
                raise SceneError(f"{error}; --skip-bad uses the other {self.noun}") from error
            self.faults.append(str(error))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Build a sort key that orders 2.jpg before 10.jpg."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_photos(folder: Path) -> list[Path]:
    """List the photos directly in a folder in natural order, without hidden files; [] where it does not exist."""
    if not folder.is_dir():
        return []
    photos = [p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in photos if p.is_file()), key=lambda path: natural_key(path.name))


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without byte-order mark; raises SceneError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path}: cannot be read as text ({error})") from error
