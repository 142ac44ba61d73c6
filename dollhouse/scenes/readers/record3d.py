"""Reader of Record3D's ``.r3d`` files (zip archives) and their unpacked folders; ARKit axes, y up."""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.images import read_image
from dollhouse.scenes.readers.captures import OPENCV_FROM_OPENGL, Y_UP, Camera, Capture, numbers, pinhole, rigid
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.scene import Scene, View

_MAX_MEMBER = 1 << 26  #: bytes of a JPEG or of the metadata


def open_record3d(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the recording; depth needs the package lzfse (``pip install 'dollhouse[record3d]'``), photos do not."""
    try:
        content = json.loads(_read_member(path, "metadata", _MAX_MEMBER).decode("utf-8-sig"))
        size, poses = (int(content["w"]), int(content["h"])), list(content["poses"])
        depth_shape = (int(content.get("dh", 192)), int(content.get("dw", 256)))
        lens = np.array(content["K"], dtype=np.float64).reshape(3, 3).T[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        lenses = content.get("perFrameIntrinsicCoeffs") or [lens] * len(poses)
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise SceneError(f"{path}: is not a Record3D recording ({error})") from error
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=Y_UP)
    has_depth = True
    try:
        import lzfse  # noqa: F401
    except ImportError:
        has_depth = False
        capture.log.faults.append(f"{path}: its depth (pip install 'dollhouse[record3d]' reads it)")
    for number, pose in enumerate(poses):
        with capture.collect(f"{path}: frame {number}"):
            x, y, z, w, *translation = numbers(pose)
            camera = Camera(pinhole(*numbers(lenses[number])), size)
            shape = depth_shape if has_depth else None
            open_view = partial(_open_view, path, number, camera, shape)
            capture.add(str(number), rigid((x, y, z, w), translation) @ OPENCV_FROM_OPENGL, open_view)
    return capture.scene()


def _open_view(path: Path, number: int, camera: Camera, depth_shape: tuple[int, int] | None) -> View:
    assert camera.size is not None
    intrinsics = camera.intrinsics_of(camera.size, path)
    view = View(str(number), partial(_read_photo, path, number), intrinsics)
    if depth_shape is None:
        return view
    scaled = camera.intrinsics_of(depth_shape[::-1], path)
    read_depth = partial(_read_depth, path, number, depth_shape)
    return View(view.name, view.open_image, intrinsics, open_depth=read_depth, depth_intrinsics=scaled)


def _read_photo(path: Path, number: int) -> NDArray[np.uint8]:
    name = f"rgbd/{number}.jpg"
    return read_image(path / name, BytesIO(_read_member(path, name, _MAX_MEMBER)))


def _read_depth(path: Path, number: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    import lzfse

    name = f"rgbd/{number}.depth"
    packed = _read_member(path, name, 4 * shape[0] * shape[1] + 4096)
    try:
        depth = np.frombuffer(lzfse.decompress(packed), dtype="<f4").reshape(shape)
    except (lzfse.error, ValueError) as error:
        raise SceneError(f"{path / name}: is not a depth map of {shape[1]}x{shape[0]} pixels ({error})") from error
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0.0).astype(np.float32)


def _read_member(path: Path, name: str, limit: int) -> bytes:
    """Read a file of the archive or folder whose unpacked size is at most ``limit`` bytes; raises SceneError."""
    try:
        if path.is_dir():
            if (size := (path / name).stat().st_size) <= limit:
                return (path / name).read_bytes()
        else:
            with ZipFile(path) as archive:
                if (size := archive.getinfo(name).file_size) <= limit:
                    return archive.read(name)
        raise SceneError(f"{path / name}: {size} bytes are too many (at most {limit})")
    except KeyError as error:
        raise SceneError(f"{path / name}: no such file") from error
    except (OSError, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SceneError(f"{path / name}: cannot be read ({error})") from error


def _matches(path: Path) -> bool:
    if path.is_dir():
        return (path / "metadata").is_file() and (path / "rgbd").is_dir()
    return path.suffix.lower() == ".r3d"


RECORD3D = Reader("a Record3D .r3d file", _matches, open_record3d)
