"""Openers of scenes by name, folder or file, and the registry of readers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

from dollhouse.errors import SceneError, SeveralScenesError
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.pose_checks import check_poses
from dollhouse.scenes.readers.arkitscenes import ARKITSCENES
from dollhouse.scenes.readers.colmap import COLMAP
from dollhouse.scenes.readers.front3d import FRONT3D
from dollhouse.scenes.readers.midi3d import MIDI3D
from dollhouse.scenes.readers.nerfstudio import NERFSTUDIO
from dollhouse.scenes.readers.open3d import OPEN3D
from dollhouse.scenes.readers.photos import PHOTOS
from dollhouse.scenes.readers.polycam import POLYCAM
from dollhouse.scenes.readers.reader import VIDEO_SUFFIXES, Reader, describe_unused, list_photos, natural_key
from dollhouse.scenes.readers.record3d import RECORD3D
from dollhouse.scenes.readers.replica import REPLICA
from dollhouse.scenes.readers.saved import SAVED
from dollhouse.scenes.readers.scannet import SCANNET, read_scan_list
from dollhouse.scenes.readers.sens import SUFFIX as STREAM_SUFFIX
from dollhouse.scenes.readers.seven_scenes import SEVEN_SCENES
from dollhouse.scenes.readers.stray import STRAY
from dollhouse.scenes.readers.tum import TUM
from dollhouse.scenes.readers.video import VIDEO
from dollhouse.scenes.scene import Scene
from dollhouse.system.links import refuse_links
from dollhouse.system.read_files import decoding

AS_READ = Corrections()
SCENE_DEPTH = 4  #: levels of folders that readers look into
#: Readers in order of preference: the first that matches a path opens it, so photos come last.
READERS: tuple[Reader, ...] = (SAVED, SCANNET)
READERS += (POLYCAM, STRAY, RECORD3D, ARKITSCENES, TUM, SEVEN_SCENES, REPLICA, OPEN3D, NERFSTUDIO, COLMAP)
READERS += (MIDI3D, FRONT3D, VIDEO, PHOTOS)

_logger = logging.getLogger(__name__)
EXAMPLE = Path(__file__).parents[1] / "serve/page/example"  #: photos of a real room, opened as ``example``
SCENE_KINDS = ", ".join(reader.description for reader in READERS) + (
    ", a synthetic room such as rooms:test/3, or homes:test/3, a home furnished with 3D models, or example, "
    "the four photos that come with Dollhouse"
)
_ROOMS = re.compile(r"(?:rooms|homes):(?P<split>\w+)/(?P<first>[0-9]{1,15})(?:-(?P<last>[0-9]{1,15}))?")


class SceneList(Sequence[Scene]):
    """Sequence of scenes, each opened anew on access."""

    def __init__(self, keys: Sequence[Any], open_key: Callable[[Any], Scene]) -> None:
        self.keys = keys  #: room numbers or paths
        self.open_key = open_key

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> SceneList: ...
    def __getitem__(self, index: int | slice) -> Scene | SceneList:
        if isinstance(index, slice):
            return SceneList(self.keys[index], self.open_key)
        return self.open_key(self.keys[index])


def open_scene(
    source: str | Path,
    *,
    skip_bad: bool = False,
    frames: int | None = None,
    corrections: Corrections = AS_READ,
) -> Scene:
    """Open the scene at a path, or a synthetic room by name.

    ``SCENE_KINDS`` lists what can be opened. ``frames`` is the number of evenly spaced views; synthetic rooms are
    rendered with that many. ``skip_bad`` leaves out photos, frames or objects with faults and lists the faults in
    ``metadata["skipped"]``; where a whole layout is broken, its photos are opened alone. ``corrections`` mend axes,
    poses and units that differ from the format's. ``metadata["kind"]`` is the format; ``metadata["pose_check"]`` of
    a posed scene holds what :func:`check_poses` returns. Raises SceneError where nothing fits ``source``, or it is
    broken.
    """
    _check_frames(frames)
    if rooms := _parse_rooms(source):
        kind, split, numbers = rooms
        if len(numbers) != 1:
            raise SceneError(f"{source}: names {len(numbers)} rooms where one scene is wanted; give one number")
        return _open_room(kind, split, frames, corrections, numbers[0])
    scene = _open_path(_existing_path(source), skip_bad, frames, corrections, as_photos=skip_bad)
    return replace(scene, metadata={**scene.metadata, "pose_check": check_poses(scene)}) if scene.posed else scene


def open_scenes(
    source: str | Path,
    *,
    skip_bad: bool = False,
    frames: int | None = None,
    corrections: Corrections = AS_READ,
) -> SceneList:
    """Open several scenes lazily: ``rooms:test/0-199``, a folder of scenes, a list file, or one scene.

    Both ends of a range are included. The scenes of a folder are its subfolders, videos and streams; what else lies in
    it is logged in one line. A ``.txt`` file lists scans, see :func:`read_scan_list`; those missing are logged in one
    line. A 3D-FRONT house is opened as its rooms. Arguments and errors as :func:`open_scene`; poses are not checked.
    """
    _check_frames(frames)
    if rooms := _parse_rooms(source):
        kind, split, numbers = rooms
        return SceneList(numbers, partial(_open_room, kind, split, frames, corrections))
    path = _existing_path(source)
    entries = [path] if _is_scene(path) else _scenes_in(path)
    if not entries:
        raise SceneError(_diagnose(path))
    if path.is_dir() and entries != [path] and (unused := describe_unused(path, entries)):
        _logger.warning("%s: %d scenes; not used: %s", path, len(entries), unused)
    scenes = [scene for entry in entries for scene in next(_matching_readers(entry)).list_scenes(entry)]
    return SceneList(scenes, partial(_open_path, skip_bad=skip_bad, frames=frames, corrections=corrections))


def open_paths(paths: Sequence[Path], *, corrections: Corrections = AS_READ) -> SceneList:
    """Open the scenes at these paths lazily, each as :func:`open_scenes` opens one."""
    return SceneList(paths, partial(_open_path, skip_bad=False, frames=None, corrections=corrections))


def is_there(path: Path) -> bool:
    """Return whether a scene's file or folder exists, also of one room of a house: ``house.json#LivingRoom-360``."""
    file, mark, _ = str(path).rpartition("#")
    return path.exists() or (bool(mark) and Path(file).is_file())


def _check_frames(frames: int | None) -> None:
    if frames is not None and frames < 1:
        raise SceneError(f"{frames} frames were asked for; ask for at least 1")


def _parse_rooms(source: str | Path) -> tuple[str, str, range] | None:
    """Parse (kind, split, room numbers) from a name that starts with ``rooms:`` or ``homes:``."""
    kind, colon, _ = str(source).partition(":")
    if not colon or kind not in ("rooms", "homes"):
        return None
    match = _ROOMS.fullmatch(str(source))
    if match is None:
        raise SceneError(f"{source}: no such rooms; write {kind}:<split>/<number> or {kind}:<split>/<first>-<last>")
    first = int(match["first"])
    last = int(match["last"] or first)
    if last < first:
        raise SceneError(f"{source}: ends before it starts")
    return kind, match["split"], range(first, last + 1)


def _open_room(kind: str, split: str, frames: int | None, corrections: Corrections, number: int) -> Scene:
    # Imported here: the ray caster is not needed to open photos.
    if kind == "homes":
        from dollhouse.scenes.synthetic.homes.home_scene import home_scene as open_room
    else:
        from dollhouse.scenes.synthetic.room_scene import room_scene as open_room

    room = open_room(split, number) if frames is None else open_room(split, number, views=frames)
    return _correct(room, "a synthetic room", corrections)


def _existing_path(source: str | Path) -> Path:
    if source == "":  # a path would make it the current folder
        raise SceneError(f"no scene was given: its name is empty (can be {SCENE_KINDS})")
    try:
        path = Path(source).expanduser()
        exists = is_there(path)
    except (OSError, ValueError, RuntimeError):  # too long for a file name, a zero byte, no such user
        exists = False
    if not exists and str(source) == EXAMPLE.name:
        return EXAMPLE
    if not exists:
        raise SceneError(f"no such scene: {source} (can be {SCENE_KINDS})")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SceneError(f"{source}: is a pipe or a device; give a file or a folder")
    return path


def _open_path(
    path: Path, skip_bad: bool, frames: int | None, corrections: Corrections, as_photos: bool = False
) -> Scene:
    """Open a path with its first reader; ``as_photos`` tries the last where that raises."""
    reader = next(_matching_readers(path), None)
    if path.is_dir():  # where photos lie directly in a folder, their reader does not look into its subfolders
        refuse_links(path, SceneError, 1 if reader is PHOTOS and list_photos(path) else SCENE_DEPTH)
    if reader is None:
        raise SceneError(_diagnose(path))
    try:
        return _correct(_read(reader, path, skip_bad, frames), reader.description, corrections)
    except SeveralScenesError:
        raise  # nothing is broken; photos of several rooms together would be no scene
    except SceneError as error:
        readers = list(_matching_readers(path)) if as_photos else []
        if len(readers) < 2:
            raise
        scene = _read(readers[-1], path, skip_bad, frames)
        scene = replace(scene, metadata={**scene.metadata, "skipped": (str(error), *scene.metadata.get("skipped", ()))})
        return _correct(scene, readers[-1].description, corrections)


def _read(reader: Reader, path: Path, skip_bad: bool, frames: int | None) -> Scene:
    """Open a scene; whatever a reader meets in a damaged file and does not expect is a SceneError."""
    with decoding(path, f"{reader.description} that can be read", SceneError):
        return reader.open(path, skip_bad=skip_bad, frames=frames)


def _correct(scene: Scene, kind: str, corrections: Corrections) -> Scene:
    """Apply corrections, and note them and the kind of scene in the metadata."""
    scene = corrections.apply(scene)
    metadata = {key: value for key, value in scene.metadata.items() if key != "pose_check"}  # of a saved scene
    metadata |= {"kind": kind, "corrections": corrections.given}
    return replace(scene, metadata=metadata)


def _matching_readers(path: Path) -> Iterator[Reader]:
    """Yield the readers of a path's format; the first opens it."""
    try:
        yield from (reader for reader in READERS if reader.matches(path))
    except OSError as error:
        raise SceneError(f"{path}: cannot be listed ({error.strerror})") from error


def _is_scene(path: Path) -> bool:
    return next(_matching_readers(path), None) is not None


def _scenes_in(path: Path) -> list[Path]:
    """List the scenes in a folder, or those that a list file names; SceneError where it names scans but none is there.

    Missing ones are logged.
    """
    if not path.is_dir():
        scans, missing = read_scan_list(path, _is_scene)
        if missing and not scans:
            hint = "put them beside it, or into scans/ or scans_test/ there"
            raise SceneError(f"{path}: none of the {len(missing)} scans that it lists is there ({missing[0]}); {hint}")
        if missing:
            _logger.warning("%s: %d scenes; %d scans are missing (%s)", path, len(scans), len(missing), missing[0])
        return scans
    refuse_links(path, SceneError, 1)
    inside = [p for p in path.iterdir() if p.is_dir() or p.suffix.lower() in (*VIDEO_SUFFIXES, STREAM_SUFFIX)]
    inside = sorted((p for p in inside if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    return [p for p in inside if _is_scene(p)]


def _diagnose(path: Path) -> str:
    """Explain in one line why no reader fits an existing path, or the file before its last ``#``."""
    path = path if path.exists() else Path(str(path).rpartition("#")[0])
    if path.is_dir() and all(p.name.startswith(".") and p.suffix != ".icloud" for p in path.iterdir()):
        return f"{path}: the folder is empty; put photos into it (can be {SCENE_KINDS})"
    for reader in READERS:
        if explanation := reader.diagnose(path):
            return explanation
    if inside := _scenes_in(path):
        return f"{path}: is not a scene but holds {len(inside)} ({inside[0].name}, ...); give one of them"
    if not path.is_dir():
        return f"{path}: is not a scene (can be {SCENE_KINDS})"
    return f"{path}: holds no scene, only {describe_unused(path, ())} (can be {SCENE_KINDS})"
