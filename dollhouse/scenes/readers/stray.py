"""Reader of Stray Scanner's recordings: a video, depth maps and odometry; OpenCV camera axes, y up. Needs PyAV."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.scenes.images import depth_size
from dollhouse.scenes.readers.captures import (
    Y_UP,
    Camera,
    Capture,
    matrix_file,
    numbers,
    pinhole,
    read_rows,
    read_valid_depth,
    rigid,
)
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.readers.video import frame_times, open_container, read_frame
from dollhouse.scenes.scene import Scene, View


def open_stray(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the recording; frames are decoded from the video on access, depth of confidence 0 is unknown."""
    video = path / "rgb.mp4"
    times = frame_times(video)
    with open_container(video) as container:
        codec = container.streams.video[0].codec_context
        size = (codec.width, codec.height)
    camera = Camera(matrix_file(path / "camera_matrix.csv")[:3, :3], size)
    header, *rows = read_rows(path / "odometry.csv") or [[]]
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=Y_UP)
    for row in rows:
        with capture.collect(f"{path / 'odometry.csv'}: {' '.join(row[:2])}"):
            values = dict(zip(header, numbers(row), strict=True))
            frame = int(values["frame"])
            if not 0 <= frame < len(times):
                raise SceneError(f"{video}: has {len(times)} frames, but odometry.csv has a pose of frame {frame}")
            if "fx" in values:  # later versions of the app
                camera = Camera(pinhole(*(values[key] for key in ("fx", "fy", "cx", "cy"))), size)
            pose = rigid([values[key] for key in ("qx", "qy", "qz", "qw")], [values[key] for key in "xyz"])
            capture.add(f"{frame:06d}", pose, partial(_open_view, path, frame, times[frame], camera))
    return capture.scene()


def _open_view(path: Path, frame: int, time: int, camera: Camera) -> View:
    video, depth = path / "rgb.mp4", path / "depth" / f"{frame:06d}.png"
    return View(
        depth.stem,
        partial(read_frame, video, time),
        camera.intrinsics_of(camera.size or (0, 0), video),
        open_depth=partial(read_valid_depth, depth, 1000.0, path / "confidence" / depth.name),
        depth_intrinsics=camera.intrinsics_of(depth_size(depth), depth),
    )


def _matches(path: Path) -> bool:
    return all((path / name).is_file() for name in ("rgb.mp4", "odometry.csv", "camera_matrix.csv"))


STRAY = Reader("a Stray Scanner recording", _matches, open_stray)
