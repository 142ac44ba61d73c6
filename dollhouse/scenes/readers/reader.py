"""What a reader of a scene format provides (:class:`Reader`), and helpers that readers share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from dollhouse.errors import SceneError
from dollhouse.scenes.scene import Scene
from dollhouse.system import read_files

_JPEG_AND_HEIC = (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".heic", ".heif", ".hif")
PHOTO_SUFFIXES = frozenset({*_JPEG_AND_HEIC, ".avif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_MPEG = (".mp4", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts")
VIDEO_SUFFIXES = frozenset({*_MPEG, ".mov", ".mkv", ".webm", ".avi", ".3gp", ".3g2", ".wmv"})
_KINDS = {suffix: "video" for suffix in VIDEO_SUFFIXES} | {suffix: "other image" for suffix in PHOTO_SUFFIXES}
_KINDS |= dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "raw photo")
_KINDS[".icloud"] = "photo that iCloud has not downloaded"
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}


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
    #: Lists the paths of all scenes where one file or folder holds several, such as ``house.json#LivingRoom-360``.
    list_scenes: Callable[[Path], Sequence[Path]] = lambda path: [path]


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
                hint = "" if "--skip-bad" in str(error) else f"; --skip-bad uses the other {self.noun}"
                raise SceneError(f"{error}{hint}") from error
            self.faults.append(str(error))


def describe_unused(folder: Path, used: Container[Path], kinds: Mapping[Path, str] | None = None) -> str:
    """Count what lies in a folder and is not ``used``: "3 videos (IMG_1.MOV), 1 folder (raw)"; "" for nothing.

    System files such as ``.DS_Store`` are not counted. ``kinds`` overrides the kind that a suffix gives.
    """
    unused: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name)):
        suffix = entry.suffix.lower()
        litter = entry.name.lower() in _LITTER or (entry.name.startswith(".") and suffix != ".icloud")
        if not litter and entry not in used:
            kind = "folder" if entry.is_dir() else _KINDS.get(suffix, f"{suffix} file".strip())
            unused[(kinds or {}).get(entry) or (kind if entry.exists() else "broken link")].append(entry.name)
    return ", ".join(f"{len(names)} {kind}{'s' * (len(names) > 1)} ({names[0]})" for kind, names in unused.items())


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


read_text = partial(read_files.read_text, error=SceneError)
