"""Reader of videos: evenly spaced frames, decoded on access. No depth, poses or scale. Needs PyAV."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.images import MAX_PIXELS
from dollhouse.scenes.readers.reader import VIDEO_SUFFIXES, Reader
from dollhouse.scenes.scene import Scene, View, spaced_indices

VIDEO_FRAMES = 16  #: default number of frames


def open_video(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open ``frames`` (default 16) evenly spaced frames of a video; ``skip_bad`` has no effect.

    Raises SceneError without PyAV (``pip install 'dollhouse[video]'``) and on files that are not readable videos.
    """
    times = frame_times(path)
    chosen = [times[index] for index in spaced_indices(len(times), frames or VIDEO_FRAMES)]
    views = [View(f"frame {number}", partial(read_frame, path, time)) for number, time in enumerate(chosen)]
    views[0].open_image()  # a missing codec is reported now
    metadata = {"source": str(path), "video_frames": len(times)}
    return Scene(path.resolve().name, tuple(views), metric=False, metadata=metadata)


def open_container(path: Path) -> Any:
    """Open a video with PyAV, to be closed by the caller; raises SceneError."""
    try:
        import av
    except ImportError as error:
        raise SceneError(f"{path}: videos need PyAV; install it with: pip install 'dollhouse[video]'") from error
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise SceneError(f"{path}: is not a video that can be read ({error})") from error
    if not container.streams.video:
        container.close()
        raise SceneError(f"{path}: has no video stream")
    size = container.streams.video[0].codec_context
    if size.width * size.height > MAX_PIXELS:
        container.close()
        raise SceneError(f"{path}: frames of {size.width}x{size.height} pixels are too large")
    return container


def frame_times(path: Path) -> list[int]:
    """Read the presentation times of all frames, in stream units, from the packets, without decoding."""
    with open_container(path) as container:
        import av

        stream = container.streams.video[0]
        try:
            times = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
        except av.FFmpegError as error:
            raise SceneError(f"{path}: is cut short or broken ({error})") from error
    if not times:
        raise SceneError(f"{path}: has no frames with a time; convert it with ffmpeg first")
    return times


def read_frame(path: Path, time: int) -> NDArray[np.uint8]:
    """Decode the frame shown at ``time`` as (H, W, 3) RGB, turned or mirrored by the video's metadata."""
    for seconds in (0.0, 2.0, 20.0, np.inf):  # MPEG streams may be entered behind the time; then start earlier
        with open_container(path) as container:
            import av

            stream = container.streams.video[0]
            try:
                target = time - seconds / float(stream.time_base)
                if target > (stream.start_time or 0):
                    container.seek(int(target), stream=stream)  # to the key frame before it
                entered_before = seconds == np.inf
                for frame in (frame for frame in container.decode(stream) if frame.pts is not None):
                    if frame.pts == time or (frame.pts > time and entered_before):
                        return _upright(frame.to_ndarray(format="rgb24"), frame.side_data.get("DISPLAYMATRIX"))
                    if frame.pts > time:
                        break
                    entered_before = True
            except (av.FFmpegError, ValueError) as error:
                raise SceneError(f"{path}: cannot be decoded ({error})") from error
    raise SceneError(f"{path}: ends before frame time {time}")


def _upright(pixels: NDArray[np.uint8], side_data: Any) -> NDArray[np.uint8]:
    """Apply a display matrix: (x, y) goes to (a x + c y, b x + d y), rounded to quarter turns and mirrors."""
    if side_data is None:
        return pixels
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3).tolist()
    x, y = (a, d) if abs(a) > abs(b) else (c, b)
    upright = pixels if abs(a) > abs(b) else pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(upright[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


VIDEO = Reader("a video", lambda path: path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES, open_video)
