"""Frames of ScanNet scans: of the exported layout or of a stream, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.readers.captures import as_matrix
from dollhouse.scenes.readers.reader import FaultLog, describe_unused, list_photos, read_text
from dollhouse.scenes.readers.sens import Stream

Size = tuple[int, int]  #: width, height
Pixels = tuple[Callable[[], NDArray[np.uint8]], Callable[[], NDArray[np.float32]] | None]  #: colour and depth
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Camera:
    """Properties shared by all colour images, or all depth maps, of a scan."""

    intrinsics: Array
    size: Size
    size_source: str  #: the file that gives the size, for messages


class ExportedFrames:
    """Frames of the exported layout; opening them decodes no pixels. Methods raise SceneError."""

    def __init__(self, folder: Path, images: list[Path], parameters: dict[str, str], log: FaultLog) -> None:
        self.folder, self.images, self.parameters = folder, images, parameters
        self.names = [image.stem for image in images]
        self.warnings: list[str] = []
        self.has_depth = bool(list_photos(folder / "depth"))
        if not self.has_depth and (folder / "depth").is_dir() and (other := describe_unused(folder / "depth", ())):
            with log.collect():
                advice = "convert them to 16-bit PNG in millimetres; --skip-bad uses the frames without depth"
                raise SceneError(f"{folder / 'depth'}: contains no depth maps that can be read, only {other}; {advice}")

    def read_poses(self, log: FaultLog) -> tuple[Sequence[int], Array]:
        """Return the frames that have a pose and their poses (N, 4, 4), not finite where tracking was lost."""
        indices: list[int] = []
        poses: list[Array] = []
        for index in range(len(self.names)):
            with log.collect():
                poses.append(_read_matrix(self.pose_path(index)))
                indices.append(index)
        return indices, np.array(poses).reshape(-1, 4, 4)

    def pose_path(self, index: int) -> Path:
        """Return the name of a frame's pose for messages."""
        return self.folder / "pose" / f"{self.names[index]}.txt"

    def cameras(self, chosen: Sequence[int]) -> tuple[Camera, Camera | None]:
        """Return what the ``chosen`` frames share: the camera of colour, and of depth where there is depth."""
        colour = self._camera("color", [self.images[index] for index in chosen], image_size)
        if not self.has_depth:
            return colour, None
        return colour, self._camera("depth", [self._depth_path(index) for index in chosen], depth_size, shared=colour)

    def open_frame(self, index: int, colour: Camera, depth: Camera | None, check: bool) -> Pixels:
        """Return the readers of a frame's colour and depth; ``check`` its size now, not only when it is read."""
        image, depth_path = self.images[index], self._depth_path(index)
        if check:
            _check_size(image, image_size(image), colour)
        if depth is None:
            return partial(_read_sized, read_image, image, colour), None
        if check:
            _check_size(depth_path, depth_size(depth_path), depth)
        return partial(_read_sized, read_image, image, colour), partial(_read_sized, read_depth, depth_path, depth)

    def _depth_path(self, index: int) -> Path:
        return self.folder / "depth" / f"{self.names[index]}.png"

    def _camera(
        self, kind: str, files: list[Path], read_size: Callable[[Path], Size], shared: Camera | None = None
    ) -> Camera:
        """Read size and intrinsics of "color" or "depth" images; those of ``shared`` serve where none exist."""
        declared = self.parameters.get(f"{kind}Width"), self.parameters.get(f"{kind}Height")
        if None in declared:
            size, source = _first_size(files, read_size)
        else:
            width, height = map(str, declared)
            if not (width.isdecimal() and height.isdecimal()):
                fault = f"{kind}Width and {kind}Height must be whole numbers, not {width!r} and {height!r}"
                raise SceneError(f"{self.parameters['']}: {fault}")
            size, source = (int(width), int(height)), Path(self.parameters[""]).name
        path = self.folder / "intrinsic" / f"intrinsic_{kind}.txt"
        if shared is not None and not path.exists() and size == shared.size:
            return Camera(shared.intrinsics, size, source)
        return _to_camera(_read_matrix(path, (9, 12, 16)), size, path, source)


class StreamFrames:
    """Frames of a ``.sens`` stream, with the methods of :class:`ExportedFrames`."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        count = len(stream.blocks)
        self.names = [str(index) for index in range(count)]
        cut = f"{stream.path}: is cut short or broken after {count} of {stream.declared} frames, which are used"
        self.warnings = [cut] if count < stream.declared else []

    def read_poses(self, log: FaultLog) -> tuple[Sequence[int], Array]:
        return range(len(self.names)), self.stream.poses

    def pose_path(self, index: int) -> Path:
        return self.stream.frame_path(index)

    def cameras(self, chosen: Sequence[int]) -> tuple[Camera, Camera | None]:
        path, sensors = self.stream.path, (self.stream.colour, self.stream.depth)
        colour, depth = (_to_camera(sensor.matrix, sensor.size, path, "its header") for sensor in sensors)
        return colour, depth

    def open_frame(self, index: int, colour: Camera, depth: Camera | None, check: bool) -> Pixels:
        return partial(self.stream.read_colour, index), partial(self.stream.read_depth, index)


def _check_size(path: Path, size: Size, camera: Camera) -> None:
    if size != camera.size:
        width, height = camera.size
        raise SceneError(f"{path}: is {size[0]}x{size[1]} pixels, but {camera.size_source} gives {width}x{height}")


def _read_sized(read: Callable[[Path], NDArray[Kind]], path: Path, camera: Camera) -> NDArray[Kind]:
    pixels = read(path)
    _check_size(path, (pixels.shape[1], pixels.shape[0]), camera)
    return pixels


def _first_size(files: list[Path], read_size: Callable[[Path], Size]) -> tuple[Size, str]:
    """Return the size of the first file that can be read, and its name; raises the fault of the first."""
    for file in files:
        with suppress(SceneError):
            return read_size(file), file.name
    return read_size(files[0]), files[0].name


def _to_camera(matrix: Array, size: Size, path: Path, size_source: str) -> Camera:
    """Convert intrinsics (4, 4) to our pixel convention and check them against the size of the images."""
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(f"{path}: is not a camera matrix (focal lengths must be positive numbers)")
    # ScanNet counts from the centre of the top left pixel (mx_depth = 319.5 of 640); we count from its corner.
    intrinsics = matrix[:3, :3] + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    x, y = intrinsics[0, 2] / size[0], intrinsics[1, 2] / size[1]
    if not (0.25 < x < 0.75 and 0.25 < y < 0.75):
        raise SceneError(
            f"{path}: its principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) is not near the middle of "
            f"{size[0]}x{size[1]} pixels ({size_source}); images and intrinsics must have the same scale"
        )
    return Camera(intrinsics, size, size_source)


def _read_matrix(path: Path, lengths: tuple[int, ...] = (12, 16)) -> Array:
    if not path.is_file():
        raise SceneError(f"{path}: is missing")
    return parse_matrix(read_text(path), f"{path}: should hold a 4x4 matrix", lengths)


def parse_matrix(text: str, fault: str, lengths: tuple[int, ...] = (12, 16)) -> Array:
    """Parse a 4x4 matrix, or 3x4 or 3x3 numbers of one where ``lengths`` allow them; raises SceneError."""
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise SceneError(f"{fault} ({error})") from error
    if len(numbers) not in lengths:
        raise SceneError(f"{fault}, but holds {len(numbers)} numbers")
    return as_matrix(numbers)
