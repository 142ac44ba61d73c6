"""Parts that readers of posed captures share: text, matrices, lenses, times, and the building of the scene."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import cos, hypot, isfinite, sin
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, camera_rays, is_rigid, resize_intrinsics
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.readers.reader import FaultLog, read_text
from dollhouse.scenes.scene import Box, Scene, View, spaced_indices

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  #: camera axes; its own inverse
Y_UP, Z_UP = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
MAX_TIME_GAP = 0.02  #: seconds between a frame and its pose or depth map
_SHAPE_TOLERANCE = 0.03  #: relative difference of aspect ratios that is taken for rounding
_PARSE_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, struct.error)


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics of an image of ``size``, and the lens distortion that images have to be freed from."""

    intrinsics: Array  #: (3, 3), our pixel convention
    size: tuple[int, int] | None = None  #: width, height; None: whatever the image has
    distortion: tuple[float, ...] = ()  #: OpenCV's k1, k2, p1, p2

    def intrinsics_of(self, size: tuple[int, int], path: Path) -> Array:
        """Scale the intrinsics to an image or depth map of ``size``; SceneError where they cannot belong to it."""
        width, height = self.size or size
        scale_x, scale_y = size[0] / width, size[1] / height
        if abs(scale_x / scale_y - 1.0) > _SHAPE_TOLERANCE:
            raise SceneError(f"{path}: is {size[0]}x{size[1]} pixels, but its camera's images are {width}x{height}")
        scaled = resize_intrinsics(self.intrinsics, scale_x, scale_y)
        if not np.isfinite(scaled).all() or min(scaled[0, 0], scaled[1, 1]) <= 0:
            raise SceneError(f"{path}: its focal lengths must be positive numbers")
        x, y = scaled[0, 2] / size[0], scaled[1, 2] / size[1]
        if not (0.2 < x < 0.8 and 0.2 < y < 0.8):
            raise SceneError(
                f"{path}: its principal point ({scaled[0, 2]:g}, {scaled[1, 2]:g}) is not near the middle of "
                f"{size[0]}x{size[1]} pixels; images and intrinsics must have the same scale"
            )
        return scaled


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Array:
    """Build intrinsics (3, 3)."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=np.float64)


def centred_pinhole(fx: float, fy: float, cx: float, cy: float) -> Array:
    """Build intrinsics (3, 3) from a principal point that counts from the centre of the top left pixel."""
    return pinhole(fx, fy, cx + 0.5, cy + 0.5)


def file_view(
    image: Path, camera: Camera, depth: Path | None = None, *, units: float = 1000.0, confidence: Path | None = None
) -> View:
    """Build a view without pose of image files, whose headers are checked here; ``units`` of depth are one metre."""
    size = image_size(image)
    intrinsics = camera.intrinsics_of(size, image)
    open_image: Callable[[], NDArray[np.uint8]] = partial(read_image, image)
    if any(camera.distortion):
        open_image = partial(_undistorted, open_image, intrinsics, camera.distortion, 1)
    if depth is None:
        return View(image.stem, open_image, intrinsics)
    depth_intrinsics = camera.intrinsics_of(depth_size(depth), depth)
    open_depth: Callable[[], NDArray[np.float32]] = partial(read_valid_depth, depth, units, confidence)
    if any(camera.distortion):
        open_depth = partial(_undistorted, open_depth, depth_intrinsics, camera.distortion, 0)
    return View(image.stem, open_image, intrinsics, open_depth=open_depth, depth_intrinsics=depth_intrinsics)


def read_valid_depth(path: Path, units: float, confidence: Path | None) -> NDArray[np.float32]:
    """Read a depth map, 0 where it is saturated (65535) or the sensor's confidence is 0."""
    depth = read_depth(path, units)
    depth[depth >= np.float32(65535 / units)] = 0.0
    if confidence is not None and confidence.is_file():
        levels = read_image(confidence)[..., 0]
        if levels.shape == depth.shape:
            depth[levels == 0] = 0.0
    return depth


def _undistorted(
    read: Callable[[], NDArray[Any]], intrinsics: Array, distortion: Sequence[float], order: int
) -> NDArray[Any]:
    """Resample what ``read`` returns to a pinhole camera; ``order`` 0 takes the nearest pixel, 1 interpolates."""
    from scipy.ndimage import map_coordinates

    pixels = read()
    k1, k2, p1, p2 = (*distortion, 0.0, 0.0, 0.0)[:4]
    rays = camera_rays(intrinsics, pixels.shape[1], pixels.shape[0])
    x, y = rays[..., 0], rays[..., 1]
    square = x * x + y * y
    radial = 1.0 + square * (k1 + k2 * square)
    column = intrinsics[0, 0] * (x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)) + intrinsics[0, 2] - 0.5
    row = intrinsics[1, 1] * (y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y) + intrinsics[1, 2] - 0.5
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    sampled = [map_coordinates(channels[..., i], (row, column), order=order) for i in range(channels.shape[2])]
    return np.stack(sampled, axis=-1).reshape(pixels.shape)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises SceneError."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{path}: is not JSON ({error})") from error


def read_rows(path: Path) -> list[list[str]]:
    """Read the words of each line, separated by blanks or commas, without empty lines and ``#`` comments."""
    lines = read_text(path).splitlines()
    return [line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def numbers(words: Sequence[Any]) -> list[float]:
    return [float(word) for word in words]


def matrix_file(path: Path) -> Array:
    """Read a text file of one 3x3, 3x4 or 4x4 matrix, row by row; raises SceneError."""
    try:
        return as_matrix(numbers([word for row in read_rows(path) for word in row]))
    except ValueError as error:
        raise SceneError(f"{path}: should hold a matrix ({error})") from error


def as_matrix(values: Any) -> Array:
    """Build a 4x4 matrix from the 9, 12 or 16 numbers of a 3x3, 3x4 or 4x4 one; raises ValueError for others."""
    flat = np.array(values, dtype=np.float64).ravel()
    matrix = np.eye(4)
    if flat.size not in (9, 12, 16):
        raise ValueError(f"holds {flat.size} numbers where a matrix has 9, 12 or 16")
    matrix[: 4 if flat.size == 16 else 3, : 3 if flat.size == 9 else 4] = flat.reshape(-1, 3 if flat.size == 9 else 4)
    return matrix


def rigid(rotation: Sequence[float], translation: Sequence[float]) -> Array:
    """Build a transform from a translation and a quaternion x, y, z, w or a rotation vector (axis times angle)."""
    if len(rotation) == 3:
        angle = hypot(*rotation)
        scale = sin(angle / 2) / angle if angle > 1e-12 else 0.5
        rotation = [scale * rotation[0], scale * rotation[1], scale * rotation[2], cos(angle / 2)]
    x, y, z, w = rotation
    norm = x * x + y * y + z * z + w * w
    if norm < 1e-12:
        raise ValueError("its quaternion is zero")
    s = 2.0 / norm
    transform = np.eye(4)
    transform[:3, :3] = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    transform[:3, 3] = translation
    return transform


def nearest(times: Array, time: float) -> int | None:
    """Find the index of the nearest of sorted ``times``; None where it is farther than ``MAX_TIME_GAP``."""
    after = int(np.searchsorted(times, time))
    near = [i for i in (after - 1, after) if 0 <= i < len(times) and abs(times[i] - time) <= MAX_TIME_GAP]
    return min(near, key=lambda i: abs(times[i] - time), default=None)


class Capture:
    """Frames that a reader has found so far; :meth:`scene` opens the chosen ones.

    A frame with a fault is left out and listed in ``metadata["skipped"]``, one whose pose is not finite (lost tracking)
    is counted in ``metadata["frames_skipped"]``. ``up`` (3,) is the upward direction of the source's world; None
    estimates it from the cameras. ``skip_bad`` decodes every chosen frame to find broken pixels too.
    """

    def __init__(
        self, path: Path, *, skip_bad: bool, frames: int | None, up: Array | None = Z_UP, metric: bool = True
    ) -> None:
        self.path, self.skip_bad, self.count, self.up, self.metric = path, skip_bad, frames, up, metric
        self.log = FaultLog(True, "frames")
        self.lost = 0
        self.frames: list[tuple[str, Array, Callable[[], View]]] = []

    @contextmanager
    def collect(self, where: str | Path) -> Iterator[None]:
        """Record whatever is wrong with one item and go on."""
        with self.log.collect():
            try:
                yield
            except _PARSE_ERRORS as error:
                fault = f"lacks {error}" if isinstance(error, KeyError) else error
                raise SceneError(f"{where}: cannot be used ({fault})") from error

    def read_trajectory(self, file: Path, columns: int) -> tuple[Array, list[list[float]]]:
        """Read rows of ``columns`` numbers, of which the first is a time; returns the times and the rows, sorted."""
        rows: list[list[float]] = []
        for number, row in enumerate(read_rows(file), 1):
            with self.collect(f"{file}: line {number}"):
                values = numbers(row)
                if len(values) != columns or not isfinite(values[0]):
                    raise ValueError(f"should hold {columns} numbers, the first of them a time")
                rows.append(values)
        rows.sort()
        return np.array([row[0] for row in rows]), rows

    def add(self, name: str, world_from_camera: Array, open_view: Callable[[], View]) -> None:
        """Add a frame by its pose in the source's world with OpenCV axes; ``open_view`` opens it without pose."""
        if not np.isfinite(world_from_camera).all():
            self.lost += 1
        elif not is_rigid(world_from_camera):
            raise SceneError(f"{self.path}: {name}: is not a rigid pose (a rotation without scale, and a translation)")
        else:
            self.frames.append((name, world_from_camera, open_view))

    def scene(self, boxes: tuple[Box, ...] | None = None, **metadata: Any) -> Scene:
        """Open at most the wanted number of frames, evenly spaced, in a world with z up; SceneError without any."""
        if not self.frames:
            raise SceneError(f"{self.path}: none of its frames has a usable pose{self._first_fault()}")
        chosen = [self.frames[index] for index in spaced_indices(len(self.frames), self.count)]
        up = self.up if self.up is not None else _estimate_up(np.stack([pose for _, pose, _ in self.frames]))
        world_from_source = _level(up)
        views: list[View] = []
        for name, pose, open_view in chosen:
            with self.collect(name):
                view = replace(open_view(), name=name, world_from_camera=world_from_source @ pose)
                if self.skip_bad:  # only decoding finds every broken frame
                    _ = view.image, view.depth
                views.append(view)
        if not views:
            raise SceneError(f"{self.path}: none of its frames can be used{self._first_fault()}")
        metadata |= {"source": str(self.path), "frames_skipped": self.lost, "skipped": tuple(self.log.faults)}
        metadata |= {"scale": "metric" if self.metric else "relative", "world_from_source": world_from_source.tolist()}
        return Scene(self.path.resolve().name, tuple(views), boxes, metric=self.metric, metadata=metadata)

    def _first_fault(self) -> str:
        return f"; the first fault: {self.log.faults[0]}" if self.log.faults else ""


def _estimate_up(poses: Array) -> Array:
    """Estimate the upward direction (3,) from cameras that are held level, snapped to an axis within 20 degrees."""
    right, image_up = poses[:, :3, 0], -poses[:, :3, 1].mean(0)
    if np.linalg.norm(image_up) < 0.3:  # cameras rolled every way
        return Z_UP
    up = image_up / np.linalg.norm(image_up)
    spread, directions = np.linalg.eigh(right.T @ right / len(right))
    if spread[1] > 0.01 + 10 * spread[0]:  # headings differ, so what is upright to all "right" axes is up
        up = directions[:, 0] * np.sign(directions[:, 0] @ image_up)
    axis = np.zeros(3)
    axis[np.abs(up).argmax()] = np.sign(up[np.abs(up).argmax()])
    return axis if up @ axis > np.cos(np.radians(20)) else up


def _level(up: Array) -> Array:
    """Build the rotation (4, 4) that maps ``up`` to z and leaves x where it is, if it can."""
    across = np.eye(3)[0 if abs(up[0]) < 0.9 else 1]
    x = across - up * (across @ up)
    x /= np.linalg.norm(x)
    level = np.eye(4)
    level[:3, :3] = np.stack([x, np.cross(up, x), up])
    return level
