"""Reader of ScanNet scans: exported frames (``color/``, ``pose/``, ``intrinsic/``, ``depth/``) or a ``.sens`` stream.

The exported layout is that of ScanNet's SensReader; other data sets are often converted to it. ``<scene>.txt`` (sizes,
axis alignment), the annotation files (:mod:`dollhouse.scenes.readers.scannet_boxes`) and the instance masks
(:mod:`dollhouse.scenes.readers.scannet_instances`) are read where they exist. A text file may list names of scans.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, are_rigid, is_rigid
from dollhouse.scenes.readers.reader import FaultLog, Reader, describe_unused, list_photos, read_text
from dollhouse.scenes.readers.scannet_boxes import AGGREGATION, MESH, SEGMENTS, read_boxes
from dollhouse.scenes.readers.scannet_frames import ExportedFrames, StreamFrames, parse_matrix
from dollhouse.scenes.readers.scannet_instances import ENDINGS, InstanceArchive
from dollhouse.scenes.readers.sens import SUFFIX, read_stream
from dollhouse.scenes.scene import Scene, View, spaced_indices

_FILES = (".txt", MESH, SEGMENTS, AGGREGATION, *ENDINGS)
_FOLDERS = ("color", "depth", "pose", "intrinsic")
_MASKS = ("instance", "instance-filt", "label", "label-filt")  #: folders of unpacked masks, not read
_CHECKED_FRAMES = 300  #: frames of a longer choice are checked when they are read


def open_scannet(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a scan's folder or stream as a posed, metric scene, in numeric order; pixels are read on access.

    Exported frames are preferred to a stream in the same folder. Poses and boxes are in the aligned frame (z up) where
    ``<scene>.txt`` has an ``axisAlignment``. Frames whose pose is not finite (lost tracking) are left out and counted
    in ``metadata["frames_skipped"]``. Takes at most ``frames`` of the others, evenly spaced. Of up to 300 chosen frames
    the image headers are checked here, with ``skip_bad`` every pixel, which leaves out frames with a broken image,
    depth map or pose, and annotated objects with faults, and lists the faults in ``metadata["skipped"]``. Of a stream
    that is cut short, the frames before the cut are used; that and frames without instance ids are listed in
    ``metadata["warnings"]``. Raises SceneError, naming the file: missing or malformed intrinsics, a pose that is not
    rigid, an image or depth map of another size than the scan's, depth in another format, broken annotation.
    """
    folder, name = (path.parent, path.stem) if path.is_file() else (path, path.resolve().name)
    images = list_photos(path / "color") if _is_exported(path) else []
    stream = path if path.is_file() else None if images else _find_stream(path)
    scan = stream.stem if stream else name  #: what the names of the other files start with
    parameters = _read_parameters(folder, scan, strict=path.is_file())
    alignment = _axis_alignment(parameters)
    log = FaultLog(skip_bad, "frames")
    if stream:
        source: ExportedFrames | StreamFrames = StreamFrames(read_stream(stream))
    elif images:
        source = ExportedFrames(path, images, parameters, log)
    else:
        raise SceneError(f"{path / 'color'}: contains no images")

    indices, poses = source.read_poses(log)
    lost, rigid = ~np.isfinite(poses).all((1, 2)), are_rigid(poses)
    for row in map(int, np.flatnonzero(~lost & ~rigid)):
        with log.collect():
            fault = "is not a rigid pose (a rotation without scale or mirror, and a translation)"
            raise SceneError(f"{source.pose_path(indices[row])}: {fault}")
    usable = np.flatnonzero(rigid)
    if not usable.size:
        raise SceneError(f"{path}: none of its {len(source.names)} frames has a usable pose")

    rows = [int(usable[index]) for index in spaced_indices(usable.size, frames)]
    check = len(rows) <= _CHECKED_FRAMES
    colour, depth = source.cameras([indices[row] for row in rows])
    warnings = list(source.warnings)
    archive = _open_instances(folder, scan, warnings)
    views: list[View] = []
    for row in rows:
        with log.collect():
            index = indices[row]
            open_image, open_depth = source.open_frame(index, colour, depth, check)
            view = View(
                name=source.names[index],
                open_image=open_image,
                intrinsics=colour.intrinsics,
                world_from_camera=alignment @ poses[row],
                open_depth=open_depth,
                depth_intrinsics=depth.intrinsics if depth else None,
                open_instances=archive.opener(source.names[index], colour.size) if archive else None,
            )
            if skip_bad and check:  # only decoding finds every broken frame
                _ = view.image, view.depth
            views.append(view)
    if not views:
        raise SceneError(f"{path}: none of its frames can be used; the first fault: {log.faults[0]}")
    if archive and archive.notice:
        warnings.append(archive.notice)
    boxes = None
    objects = FaultLog(skip_bad, "objects")
    with objects.collect():
        boxes = read_boxes(folder, alignment, objects, scan, strict=path.is_file())
    metadata: dict[str, Any] = {
        "source": str(path),
        "frames_skipped": int(lost.sum()),
        "skipped": (*log.faults, *objects.faults),
        "axis_aligned": "axisAlignment" in parameters,
        "world_from_source": alignment.tolist(),
        "warnings": tuple(warnings),
    }
    if path.is_dir():
        used = [file for file in path.iterdir() if file.name in _FOLDERS or file.name.endswith(_FILES)]
        metadata["unused"] = describe_unused(path, [*used, *filter(None, [stream])])
    return Scene(name, tuple(views), boxes=boxes, metadata=metadata)


def _open_instances(folder: Path, scan: str, warnings: list[str]) -> InstanceArchive | None:
    """Open the archive of instance masks where it exists; its faults are added to ``warnings``."""
    for path in (folder / f"{scan}{ending}" for ending in ENDINGS):
        if path.is_file():
            try:
                return InstanceArchive(path)
            except SceneError as error:
                warnings.append(f"{error}; its instance ids are not used")
    return None


def _read_parameters(folder: Path, name: str, strict: bool) -> dict[str, str]:
    """Read the ``key = value`` lines of ``<scene>.txt``, {} where it does not exist; the key "" holds its path.

    In a renamed folder, unless ``strict``, the file is recognised by a ``colorWidth`` or ``axisAlignment`` line.
    """
    own = folder / f"{name}.txt"
    candidates = [own] if own.is_file() else [] if strict else sorted(folder.glob("*.txt"))
    for path in candidates:
        lines = [line.partition("=") for line in read_text(path).split("\n") if "=" in line]
        parameters = {key.strip(): value.strip() for key, _, value in lines}
        if len(candidates) == 1 or "colorWidth" in parameters or "axisAlignment" in parameters:
            return {**parameters, "": str(path)}
    return {}


def _axis_alignment(parameters: dict[str, str]) -> Array:
    if "axisAlignment" not in parameters:
        return np.eye(4)
    alignment = parse_matrix(parameters["axisAlignment"], f"{parameters['']}: axisAlignment should be a 4x4 matrix")
    if not is_rigid(alignment):
        raise SceneError(f"{parameters['']}: axisAlignment is not a rotation with a translation")
    return alignment


def _is_exported(path: Path) -> bool:
    return (path / "color").is_dir() and ((path / "pose").is_dir() or (path / "intrinsic").is_dir())


def _find_stream(folder: Path) -> Path | None:
    """Find ``<folder>.sens``, or the only stream of a renamed scan folder."""
    if not folder.is_dir():
        return None
    entries = list(folder.iterdir())
    streams = [entry for entry in entries if _is_stream(entry)]
    if own := [stream for stream in streams if stream.stem == folder.resolve().name]:
        return own[0]
    if len(streams) != 1:
        return None
    folders = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return streams[0] if set(folders) <= {*_FOLDERS, *_MASKS} else None  # others may hold scans of their own


def _is_stream(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and not path.name.startswith(".") and path.is_file()


def _matches(path: Path) -> bool:
    return _is_exported(path) or _is_stream(path) or _find_stream(path) is not None


def _diagnose(path: Path) -> str | None:
    if (path / "color").is_dir():
        return f"{path}: has color/ but neither pose/ nor intrinsic/; give {path / 'color'} to read it as plain photos"
    return None


SCANNET = Reader("a ScanNet scan (color/, pose/, intrinsic/, or a .sens stream)", _matches, open_scannet, _diagnose)


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
        candidates = [base / file for base in bases for file in (name, f"{name}{SUFFIX}")]
        scan = next((scan for scan in candidates if scan.exists() and is_scene(scan)), None)
        if scan is None:
            missing.append(name)
        else:
            found.append(scan)
    return found, missing
