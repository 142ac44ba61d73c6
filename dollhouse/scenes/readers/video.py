"""Reader of videos: evenly spaced frames, decoded on access. No depth, poses or scale. Needs PyAV."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.images import MAX_PIXELS
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.scene import Scene, View, spaced_indices

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
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
    """Decode the frame shown at ``time`` as (H, W, 3) RGB, rotated as the video's metadata says."""
    with open_container(path) as container:
        import av

        stream = container.streams.video[0]
        try:
            container.seek(time, stream=stream)  # to the key frame before it
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= time:
                    quarter_turns = round(frame.rotation / 90)
                    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))
        except (av.FFmpegError, ValueError) as error:
            raise SceneError(f"{path}: cannot be decoded ({error})") from error
    raise SceneError(f"{path}: ends before frame time {time}")


VIDEO = Reader("a video", lambda path: path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES, open_video)
