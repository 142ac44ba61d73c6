"""Reader of Stray Scanner's recordings: a video, depth maps and odometry; OpenCV camera axes, y up. Needs PyAV."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.video import frame_times, open_container, read_frame

_FILES = "rgb.mp4 depth confidence camera_matrix.csv odometry.csv imu.csv"


def _collect(capture: captures.Capture) -> None:
    video, odometry = capture.path / "rgb.mp4", capture.path / "odometry.csv"
    times = frame_times(video)
    with open_container(video) as container:
        codec = container.streams.video[0].codec_context
        size = (codec.width, codec.height)
    lens = captures.as_matrix(captures.read_numbers(capture.path / "camera_matrix.csv"))[captures.LENS]
    header, *rows = captures.read_rows(odometry)
    for row in rows:
        with capture.collect(f"{odometry}: {' '.join(row[:2])}"):
            values = dict(zip(header, map(float, row), strict=True))
            if not 0 <= (frame := int(values["frame"])) < len(times):
                raise SceneError(f"{video}: has {len(times)} frames, but odometry.csv has a pose of frame {frame}")
            # Later versions of the app store the intrinsics of each frame.
            camera = captures.Camera(captures.named_lens(values) if "fx" in values else lens, size)
            pose = captures.rigid([values[key] for key in ("qx", "qy", "qz", "qw")], [values[key] for key in "xyz"])
            open_view = partial(
                captures.file_view,
                video,
                camera,
                capture.path / "depth" / f"{frame:06d}.png",
                confidence=capture.path / "confidence" / f"{frame:06d}.png",
                open_image=partial(read_frame, video, times[frame]),
            )
            capture.add(f"{frame:06d}", pose, open_view)


def _matches(path: Path) -> bool:
    return all((path / name).is_file() for name in ("rgb.mp4", "odometry.csv", "camera_matrix.csv"))


STRAY = captures.capture_reader("a Stray Scanner recording", _matches, _collect, _FILES, captures.Y_UP)
