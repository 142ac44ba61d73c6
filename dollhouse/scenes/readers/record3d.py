"""Reader of Record3D's ``.r3d`` archives; ARKit axes, y up. Depth needs the package lzfse, photos do not."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.archives import open_archive, read_member
from dollhouse.scenes.images import read_image
from dollhouse.scenes.readers import captures
from dollhouse.scenes.scene import View
from dollhouse.system.read_files import parse_json

_MAX_MEMBER = 1 << 26  #: bytes of a JPEG, a depth map or the metadata


def _collect(capture: captures.Capture) -> None:
    path = capture.path
    content = parse_json(_read_member(path, "metadata", _MAX_MEMBER), path / "metadata", SceneError)
    size = (int(content["w"]), int(content["h"]))
    depth_size: tuple[int, int] | None = (int(content.get("dw", 256)), int(content.get("dh", 192)))
    lens = np.array(content["K"], dtype=np.float64).reshape(3, 3).T[captures.LENS]  # stored by columns
    lenses = content.get("perFrameIntrinsicCoeffs") or [lens] * len(content["poses"])
    if find_spec("lzfse") is None:
        depth_size = None
        capture.log.faults.append(f"{path}: its depth (pip install 'dollhouse[record3d]' reads it)")
    for number, numbers in enumerate(content["poses"]):
        with capture.collect(f"{path}: frame {number}"):
            x, y, z, w, *translation = map(float, numbers)
            camera = captures.Camera([float(value) for value in lenses[number]], size)
            pose = captures.rigid((x, y, z, w), translation) @ captures.OPENCV_FROM_OPENGL
            capture.add(str(number), pose, partial(_open_view, path, number, camera, depth_size))


def _open_view(path: Path, number: int, camera: captures.Camera, depth_size: tuple[int, int] | None) -> View:
    return View(
        str(number),
        partial(_read_photo, path, f"rgbd/{number}.jpg"),
        camera.scaled_to(camera.size, path),
        open_depth=partial(_read_depth, path, f"rgbd/{number}.depth", depth_size) if depth_size else None,
        depth_intrinsics=camera.scaled_to(depth_size, path) if depth_size else None,
    )


def _read_photo(path: Path, name: str) -> NDArray[np.uint8]:
    return read_image(path / name, content=BytesIO(_read_member(path, name, _MAX_MEMBER)))


def _read_depth(path: Path, name: str, size: tuple[int, int]) -> NDArray[np.float32]:
    import lzfse

    packed = _read_member(path, name, min(4 * size[0] * size[1] + 4096, _MAX_MEMBER))
    try:
        depth = np.frombuffer(lzfse.decompress(packed), dtype="<f4").reshape(size[::-1])
    except (lzfse.error, ValueError) as error:
        raise SceneError(f"{path / name}: is not a depth map of {size[0]}x{size[1]} pixels ({error})") from error
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0.0).astype(np.float32)


def _read_member(path: Path, name: str, limit: int) -> bytes:
    with open_archive(path) as archive:
        return read_member(archive, name, limit)


RECORD3D = captures.capture_reader(
    "a Record3D .r3d file", lambda path: path.is_file() and path.suffix.lower() == ".r3d", _collect, "", captures.Y_UP
)
