"""One door for every kind of scene: finds the reader that fits a name, a folder or a file.

Knows how the kinds look from outside; what is in them is the readers' business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from dollhouse.errors import SceneError
from dollhouse.scenes.readers.photos import (
    PHOTO_SUFFIXES,
    VIDEO_SUFFIXES,
    list_photos,
    natural_key,
    open_photo,
    open_photos,
    open_video,
)
from dollhouse.scenes.readers.scannet import is_scannet, open_scannet
from dollhouse.scenes.scene import Scene

SCENE_KINDS = (
    "a folder of photos, a photo, a video, ScanNet's exported layout (color/, pose/, intrinsic/), "
    "a saved room (scene.json), a made room such as rooms:test/3, or sweethome:test/3, the same room with real models "
    "as furniture"
)
_ROOMS = re.compile(r"(?:rooms|sweethome):(?P<split>\w+)/(?P<first>[0-9]{1,15})(?:-(?P<last>[0-9]{1,15}))?")
_UNREADABLE_PHOTOS = {".heic", ".heif", ".avif", ".gif", ".dng", ".cr2", ".nef", ".arw"}

Reader = Callable[..., Scene]  #: (path, *, skip_bad, frames)


class SceneList(Sequence[Scene]):
    """Scenes that are opened anew each time one is looked at."""

    def __init__(self, keys: Sequence[Any], open_key: Callable[[Any], Scene]) -> None:
        self.keys = keys  #: room numbers or paths, in order
        self._open_key = open_key

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> SceneList: ...
    def __getitem__(self, index: int | slice) -> Scene | SceneList:
        if isinstance(index, slice):
            return SceneList(self.keys[index], self._open_key)
        return self._open_key(self.keys[index])


def open_scene(source: str | Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """The scene that ``source`` names: see ``SCENE_KINDS`` for what can be read.

    ``frames`` takes that many views, spread evenly (made rooms are rendered with that many). ``skip_bad`` leaves
    out photos or frames that cannot be used and tells them in ``metadata["skipped"]``. Raises SceneError.
    """
    _check_frames(frames)
    if rooms := _parse_rooms(source):
        kind, split, numbers = rooms
        if len(numbers) != 1:
            raise SceneError(f"{source}: names {len(numbers)} rooms where one scene is wanted; give one number")
        return _open_room(kind, split, frames, numbers[0])
    path = _existing(source)
    reader = _reader_for(path)
    if reader is None:
        raise SceneError(_why_not(path))
    return reader(path, skip_bad=skip_bad, frames=frames)


def open_scenes(source: str | Path, *, skip_bad: bool = False, frames: int | None = None) -> SceneList:
    """Several scenes, opened when looked at: ``rooms:test/0-199`` (both ends included), a folder whose subfolders
    are scenes (others in it are passed over), or one scene. Raises SceneError where nothing fits.
    """
    _check_frames(frames)
    if rooms := _parse_rooms(source):
        kind, split, numbers = rooms
        return SceneList(numbers, partial(_open_room, kind, split, frames))
    path = _existing(source)
    scenes = [path] if _reader_for(path) else _scenes_in(path)
    if not scenes:
        raise SceneError(_why_not(path))
    return SceneList(scenes, partial(open_scene, skip_bad=skip_bad, frames=frames))


def _check_frames(frames: int | None) -> None:
    if frames is not None and frames < 1:
        raise SceneError(f"{frames} frames were asked for; ask for at least 1")


def _parse_rooms(source: str | Path) -> tuple[str, str, range] | None:
    """(kind, split, room numbers) of a name that starts with ``rooms:`` or ``sweethome:``; None for any other."""
    kind, colon, _ = str(source).partition(":")
    if not colon or kind not in ("rooms", "sweethome"):
        return None
    match = _ROOMS.fullmatch(str(source))
    if match is None:
        raise SceneError(f"{source}: no such rooms; write {kind}:<split>/<number> or {kind}:<split>/<first>-<last>")
    first = int(match["first"])
    last = int(match["last"] or first)
    if last < first:
        raise SceneError(f"{source}: ends before it starts")
    return kind, match["split"], range(first, last + 1)


def _open_room(kind: str, split: str, frames: int | None, number: int) -> Scene:
    if kind == "sweethome":
        from dollhouse.scenes.synthetic.sweethome_rooms import sweethome_room as open_room
    else:
        from dollhouse.scenes.synthetic.room_scene import room_scene as open_room

    return open_room(split, number) if frames is None else open_room(split, number, views=frames)


def _existing(source: str | Path) -> Path:
    try:
        path = Path(source).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):  # too long for a file name, a zero byte, no such user
        exists = False
    if not exists:
        raise SceneError(f"no such scene: {source} (can be {SCENE_KINDS})")
    return path


def _reader_for(path: Path) -> Reader | None:
    """The reader that fits a file or folder by its looks, or None."""
    if path.is_dir():
        try:
            return _folder_reader(path)
        except OSError as error:
            raise SceneError(f"{path}: cannot be looked into ({error.strerror})") from error
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _read_video
    return _read_photo if suffix in PHOTO_SUFFIXES else None


def _folder_reader(folder: Path) -> Reader | None:
    if (folder / "scene.json").is_file():
        return _read_saved
    if is_scannet(folder):
        return open_scannet
    if list_photos(folder):
        return open_photos
    # COLMAP and what follows it keep the photos of a scene in a subfolder of this name.
    return _read_images_folder if (folder / "images").is_dir() and list_photos(folder / "images") else None


def _read_images_folder(folder: Path, *, skip_bad: bool, frames: int | None) -> Scene:
    return open_photos(folder / "images", name=folder.resolve().name, skip_bad=skip_bad, frames=frames)


def _read_saved(folder: Path, *, skip_bad: bool, frames: int | None) -> Scene:
    from dollhouse.scenes.readers.saved import open_saved

    scene = open_saved(folder)
    return scene if frames is None else scene.sample_views(frames)


def _read_photo(path: Path, *, skip_bad: bool, frames: int | None) -> Scene:
    return open_photo(path)


def _read_video(path: Path, *, skip_bad: bool, frames: int | None) -> Scene:
    return open_video(path, frames=frames)


def _scenes_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return [p for p in sorted(folders, key=lambda p: natural_key(p.name)) if _reader_for(p)]


def _why_not(path: Path) -> str:
    """One line on why no reader fits."""
    if path.is_file():
        if path.suffix.lower() == ".sens":
            return (
                f"{path}: .sens streams are not read; export the frames with ScanNet's SensReader and give that folder"
            )
        if path.suffix.lower() in _UNREADABLE_PHOTOS:
            return f"{path}: {path.suffix} photos are not read; save them as JPEG or PNG"
        return f"{path}: is not a scene (can be {SCENE_KINDS})"
    files = [p for p in path.iterdir() if not p.name.startswith(".")]
    if not files:
        return f"{path}: the folder is empty; put photos into it (can be {SCENE_KINDS})"
    if any(p.suffix.lower() == ".sens" for p in files):
        return f"{path}: holds a .sens stream but no exported frames; export them with ScanNet's SensReader"
    if foreign := sorted({p.suffix.lower() for p in files} & _UNREADABLE_PHOTOS):
        return f"{path}: its {', '.join(foreign)} photos are not read; save them as JPEG or PNG"
    if (path / "color").is_dir():
        return f"{path}: has color/ but neither pose/ nor intrinsic/; give {path / 'color'} to read it as plain photos"
    if inside := _scenes_in(path):
        return f"{path}: is not a scene but holds {len(inside)} ({inside[0].name}, ...); give one of them"
    return f"{path}: holds no scene (can be {SCENE_KINDS})"
