"""Reader of plain photos: one file, a folder of them, or a folder with ``images/``. No depth, poses or scale."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.scenes.images import check_image, read_image
from dollhouse.scenes.readers.reader import PHOTO_SUFFIXES, FaultLog, Reader, list_photos
from dollhouse.scenes.scene import Scene, View, spaced_indices

_UNSUPPORTED_SUFFIXES = {".heic", ".heif", ".avif", ".gif", ".dng", ".cr2", ".nef", ".arw"}


def open_photos(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a photo, a folder of photos, or a folder with photos in ``images/`` (COLMAP's layout).

    Takes at most ``frames`` evenly spaced photos and checks that each decodes. ``skip_bad`` leaves out those that do
    not and lists their faults in ``metadata["skipped"]``; otherwise the first raises SceneError.
    """
    if path.is_file():
        check_image(path)
    photos = [path] if path.is_file() else _list_photos(path)
    if not photos:
        raise SceneError(f"{path}: contains no photos ({', '.join(sorted(PHOTO_SUFFIXES))})")
    log = FaultLog(skip_bad, "photos")
    views: list[View] = []
    for index in spaced_indices(len(photos), frames):
        photo = photos[index]
        with log.collect():
            check_image(photo)
            views.append(View(photo.name, partial(read_image, photo)))
    if not views:
        raise SceneError(f"{path}: none of its {len(log.faults)} photos can be used; the first fault: {log.faults[0]}")
    metadata = {"source": str(path), "skipped": tuple(log.faults)}
    return Scene(path.resolve().name, tuple(views), metric=False, metadata=metadata)


def _matches(path: Path) -> bool:
    return bool(_list_photos(path)) if path.is_dir() else path.suffix.lower() in PHOTO_SUFFIXES


def _list_photos(folder: Path) -> list[Path]:
    return list_photos(folder) or list_photos(folder / "images")


def _diagnose(path: Path) -> str | None:
    if path.is_file():
        unsupported = {path.suffix.lower()} & _UNSUPPORTED_SUFFIXES
        return f"{path}: {path.suffix} photos are not read; save them as JPEG or PNG" if unsupported else None
    unsupported = {file.suffix.lower() for file in path.iterdir()} & _UNSUPPORTED_SUFFIXES
    names = ", ".join(sorted(unsupported))
    return f"{path}: its {names} photos are not read; save them as JPEG or PNG" if unsupported else None


PHOTOS = Reader("a photo or a folder of photos", _matches, open_photos, _diagnose)
