"""Parts that readers of posed captures share: text, matrices, lenses, times, and the building of the scene."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import cos, hypot, isfinite, sin
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, camera_rays, is_rigid, resize_intrinsics
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.readers.reader import FaultLog, Reader, describe_unused, read_text
from dollhouse.scenes.scene import Box, Scene, View, spaced_indices
from dollhouse.system import read_files

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  #: camera axes; its own inverse
LENS = ([0, 1, 0, 1], [0, 1, 2, 2])  #: index of fx, fy, cx, cy in a camera matrix
Y_UP, Z_UP = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
MAX_TIME_GAP = 0.02  #: seconds between a frame and its pose or depth map
#: Raised on untrusted files that are read without checks.
FILE_ERRORS = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, struct.error)

read_json = partial(read_files.read_json, error=SceneError)


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics of images of ``size``, and the lens distortion that images have to be freed from."""

    lens: Sequence[float] | Array  #: fx, fy, cx, cy in pixels, our convention
    size: tuple[int, int]  #: width, height
    distortion: tuple[float, ...] = ()  #: OpenCV's k1, k2, p1, p2

    def scaled_to(self, size: tuple[int, int], path: Path) -> Array:
        """Scale the intrinsics to an image or depth map of ``size``; SceneError where they cannot belong to it."""
        (width, height), (own_width, own_height) = size, self.size
        fx, fy, cx, cy = self.lens
        intrinsics = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        scaled = resize_intrinsics(intrinsics, width / own_width, height / own_height)
        centred = np.abs(scaled[:2, 2] / size - 0.5) < 0.3
        stretch = width * own_height / (height * own_width)  # 1, but for rounding
        if not (abs(stretch - 1.0) < 0.03 and (scaled[[0, 1], [0, 1]] > 0).all() and centred.all()):
            raise SceneError(
                f"{path}: its {width}x{height} pixels do not fit a camera of {own_width}x{own_height} with focal "
                f"lengths and principal point {fx:g}, {fy:g}, {cx:g}, {cy:g}; check the size of images and intrinsics"
            )
        return scaled


def named_lens(values: Mapping[str, Any], shift: float = 0.0) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy; ``shift`` is 0.5 where these count from the centre of the first pixel."""
    return float(values["fx"]), float(values["fy"]), float(values["cx"]) + shift, float(values["cy"]) + shift


def file_view(
    image: Path,
    camera: Camera,
    depth: Path | None = None,
    *,
    units: float = 1000.0,
    confidence: Path | None = None,
    depth_camera: Camera | None = None,
    open_image: Callable[[], NDArray[np.uint8]] | None = None,
) -> View:
    """Build a view without pose from files, whose headers are checked here; ``units`` of depth are one metre.

    Depth has the intrinsics of ``depth_camera``, or those of ``camera`` in its own size. ``open_image`` replaces the
    decoder of image files where ``image`` is a video.
    """
    intrinsics = camera.scaled_to(camera.size if open_image else image_size(image), image)
    open_image = open_image or partial(read_image, image)
    if any(camera.distortion):
        open_image = partial(_undistorted, open_image, intrinsics, camera.distortion, 1)
    if depth is None or not depth.parent.is_dir():
        return View(image.stem, open_image, intrinsics)
    depth_intrinsics = (depth_camera or camera).scaled_to(depth_size(depth), depth)
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
    """Resample what ``read`` returns to a pinhole camera; ``order`` 0: nearest pixel, 1: interpolated 8-bit colours."""
    pixels = read()
    k1, k2, p1, p2 = (*distortion, 0.0, 0.0, 0.0)[:4]
    rays = camera_rays(intrinsics, pixels.shape[1], pixels.shape[0])
    x, y = rays[..., 0], rays[..., 1]
    square = x * x + y * y
    radial = 1.0 + square * (k1 + k2 * square)
    column = intrinsics[0, 0] * (x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)) + intrinsics[0, 2] - 0.5
    row = intrinsics[1, 1] * (y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y) + intrinsics[1, 2] - 0.5
    height, width = pixels.shape[:2]
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    sampled = np.zeros_like(pixels)
    row, column = row[inside], column[inside]
    if order == 0:
        sampled[inside] = pixels[np.floor(row + 0.5).astype(int), np.floor(column + 0.5).astype(int)]
        return sampled
    top, left = (np.minimum(np.floor(at), side - 2).astype(int) for at, side in ((row, height), (column, width)))
    shape = (-1, *(1,) * (pixels.ndim - 2))
    down, right = (row - top).reshape(shape), (column - left).reshape(shape)
    upper, lower = (pixels[line, left] * (1 - right) + pixels[line, left + 1] * right for line in (top, top + 1))
    sampled[inside] = np.floor(upper * (1 - down) + lower * down + 0.5)
    return sampled


def read_rows(path: Path) -> list[list[str]]:
    """Read the words of each line, separated by blanks or commas, without empty lines and ``#`` comments."""
    lines = read_text(path).splitlines()
    return [line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def read_numbers(path: Path) -> list[float]:
    """Read all numbers of a text file; raises SceneError and ValueError."""
    return [float(word) for row in read_rows(path) for word in row]


def as_matrix(values: Any) -> Array:
    """Build a 4x4 matrix from the 9, 12 or 16 numbers of a 3x3, 3x4 or 4x4 one; raises ValueError for others."""
    flat = np.array(values, dtype=np.float64).ravel()
    block = flat.reshape({9: (3, 3), 12: (3, 4)}.get(flat.size, (4, 4)))
    matrix = np.eye(4)
    matrix[: block.shape[0], : block.shape[1]] = block
    return matrix


def rigid(rotation: Sequence[float], translation: Sequence[float]) -> Array:
    """Build a transform from a translation and a quaternion x, y, z, w or a rotation vector (axis times angle)."""
    if len(rotation) == 3:
        angle = hypot(*rotation)
        half = sin(angle / 2) / angle if angle > 1e-12 else 0.5
        rotation = [*(half * value for value in rotation), cos(angle / 2)]
    if (norm := hypot(*rotation)) < 1e-6:
        raise ValueError("its quaternion is zero")
    x, y, z, w = (value / norm for value in rotation)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    transform = np.eye(4)
    transform[:3, :3] += 2.0 * (w * cross + cross @ cross)
    transform[:3, 3] = translation
    return transform


def nearest(times: Array, time: float) -> int | None:
    """Find the index of the nearest of sorted ``times``; None where it is farther than ``MAX_TIME_GAP``."""
    after = int(np.searchsorted(times, time))
    near = [i for i in (after - 1, after) if 0 <= i < len(times) and abs(times[i] - time) <= MAX_TIME_GAP]
    return min(near, key=lambda i: abs(times[i] - time), default=None)


@dataclass(eq=False)
class Capture:
    """Frames and boxes that a reader has collected; :meth:`scene` opens the chosen frames.

    A frame with a fault is left out and listed in ``metadata["skipped"]``, one whose pose is unknown or not finite
    (lost tracking) is counted in ``metadata["frames_skipped"]``, whatever else lies in the folder in
    ``metadata["unused"]``.
    """

    path: Path
    up: Array | None  #: (3,) upward direction of the source's world; None: estimated from the cameras
    files: str = "*"  #: patterns of the entries that the layout has
    metric: bool = True
    boxes: list[Box] | None = None
    lost: int = 0
    frames: list[tuple[str, Array, Callable[[], View]]] = field(default_factory=list)
    log: FaultLog = field(default_factory=lambda: FaultLog(True, "frames"))

    @contextmanager
    def collect(self, where: str | Path) -> Iterator[None]:
        """Record whatever is wrong with one item and go on."""
        with self.log.collect():
            try:
                yield
            except FILE_ERRORS as error:
                fault = f"lacks {error}" if isinstance(error, KeyError) else error
                raise SceneError(f"{where}: cannot be used ({fault})") from error

    def read_trajectory(self, file: Path, columns: int) -> tuple[Array, list[list[float]]]:
        """Read rows of ``columns`` numbers, of which the first is a time; returns the times and the rows, sorted."""
        rows: list[list[float]] = []
        for number, words in enumerate(read_rows(file), 1):
            with self.collect(f"{file}: line {number}"):
                row = [float(word) for word in words]
                if len(row) != columns or not isfinite(row[0]):
                    raise ValueError(f"should hold {columns} numbers, the first of them a time")
                rows.append(row)
        rows.sort()
        return np.array([row[0] for row in rows]), rows

    def add(self, name: str, world_from_camera: Array | None, open_view: Callable[[], View]) -> None:
        """Add a frame by its pose in the source's world with OpenCV axes; ``open_view`` opens it without pose."""
        if world_from_camera is None or not np.isfinite(world_from_camera).all():
            self.lost += 1
        elif not is_rigid(world_from_camera):
            raise SceneError(f"{self.path}: {name}: is not a rigid pose (a rotation without scale, and a translation)")
        else:
            self.frames.append((name, world_from_camera, open_view))

    def add_files(self, image: Path, pose: Array | None, camera: Camera, *args: Any, **options: Any) -> None:
        """Add a frame by its files, see :func:`file_view`."""
        self.add(image.stem, pose, partial(file_view, image, camera, *args, **options))

    def scene(self, skip_bad: bool, frames: int | None) -> Scene:
        """Open at most ``frames`` frames, evenly spaced, in a world with z up; SceneError without any."""
        up = self.up if self.up is not None else estimate_up([pose for _, pose, _ in self.frames])
        world_from_source = level_from_up(up)
        views: list[View] = []
        for index in spaced_indices(len(self.frames), frames):
            name, pose, open_view = self.frames[index]
            with self.collect(name):
                view = replace(open_view(), name=name, world_from_camera=world_from_source @ pose)
                if skip_bad:  # only decoding finds every broken frame
                    _ = view.image, view.depth
                views.append(view)
        if not views:
            fault = f"; the first fault: {self.log.faults[0]}" if self.log.faults else ""
            raise SceneError(f"{self.path}: none of its frames has a usable pose and image{fault}")
        scale = "metric" if self.metric else "relative"
        metadata = {"frames_skipped": self.lost, "skipped": tuple(self.log.faults), "scale": scale}
        metadata |= {"source": str(self.path), "world_from_source": world_from_source.tolist()}
        metadata["up_estimated"] = self.up is None
        if self.path.is_dir():
            used = {entry for pattern in self.files.split() for entry in self.path.glob(pattern)}
            metadata["unused"] = describe_unused(self.path, used)
        boxes = None if self.boxes is None else tuple(self.boxes)
        return Scene(self.path.resolve().name, tuple(views), boxes, metric=self.metric, metadata=metadata)


def capture_reader(
    description: str,
    matches: Callable[[Path], bool],
    collect: Callable[[Capture], None],
    files: str,
    up: Array | None = Z_UP,
) -> Reader:
    """Build the reader of a format from a function that adds all frames of ``capture.path`` to a capture.

    ``files`` are patterns of the entries, separated by blanks, that a folder of this format has.
    """

    def open_capture(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
        capture = Capture(path, up, files)
        with capture.collect(path):
            collect(capture)
        return capture.scene(skip_bad, frames)

    return Reader(description, matches, open_capture)


def estimate_up(poses: Sequence[Array]) -> Array:
    """Estimate the upward direction (3,) from cameras that are held level, snapped to an axis within 20 degrees."""
    axes = np.stack([pose[:3, :3] for pose in poses]) if poses else np.zeros((1, 3, 3))
    image_up = -axes[..., 1].mean(0)
    if np.linalg.norm(image_up) < 0.3:  # cameras rolled every way
        return Z_UP
    up = image_up / np.linalg.norm(image_up)
    spread, directions = np.linalg.eigh(np.einsum("ni,nj->ij", axes[..., 0], axes[..., 0]) / len(axes))
    if spread[1] > 0.01 + 10 * spread[0]:  # headings differ, so what is upright to all "right" axes is up
        up = directions[:, 0] * np.sign(directions[:, 0] @ image_up)
    largest = int(np.abs(up).argmax())
    axis = np.eye(3)[largest] * np.sign(up[largest])
    return axis if up @ axis > np.cos(np.radians(20)) else up


def level_from_up(up: Array) -> Array:
    """Build the rotation (4, 4) that maps ``up`` to z and leaves x where it is, if it can."""
    across = np.eye(3)[0 if abs(up[0]) < 0.9 else 1]
    x = across - up * (across @ up)
    x /= np.linalg.norm(x)
    level = np.eye(4)
    level[:3, :3] = [x, np.cross(up, x), up]
    return level
