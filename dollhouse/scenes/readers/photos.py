"""Scenes of plain photos: a folder of them, a single one, or frames of a video.

Such scenes have no depth, no poses and no scale. Knows nothing of annotated or posed formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.images import MAX_PIXELS, check_image, read_image
from dollhouse.scenes.scene import Scene, View

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
VIDEO_FRAMES = 16  #: frames taken from a video unless told otherwise


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which 2.jpg stands before 10.jpg."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_photos(folder: Path) -> list[Path]:
    """The photos directly in a folder, in natural order; hidden files are left out."""
    photos = [p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in photos if p.is_file()), key=lambda path: natural_key(path.name))


def spread(count: int, wanted: int | None) -> list[int]:
    """At most ``wanted`` indices spread evenly over ``range(count)``, the first one kept; all where None."""
    if wanted is None or count <= wanted:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, wanted).round()]


def open_photos(folder: Path, *, name: str | None = None, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """The photos of a folder as a scene; every chosen one is proved to decode.

    ``frames`` thins them evenly. With ``skip_bad``, photos that cannot be used are left out and their
    faults are told in ``metadata["skipped"]``, a tuple of lines; without it the first one raises SceneError.
    """
    photos = list_photos(folder)
    if not photos:
        raise SceneError(f"{folder}: holds no photos ({', '.join(sorted(PHOTO_SUFFIXES))})")
    good: list[Path] = []
    skipped: list[str] = []
    for index in spread(len(photos), frames):
        try:
            check_image(photos[index])
        except SceneError as error:
            if not skip_bad:
                raise SceneError(f"{error}; --skip-bad uses the other photos") from error
            skipped.append(str(error))
        else:
            good.append(photos[index])
    if not good:
        raise SceneError(f"{folder}: none of its {len(skipped)} photos can be used; the first fault: {skipped[0]}")
    views = [View(path.name, partial(read_image, path)) for path in good]
    return _scene(folder, views, name=name, skipped=tuple(skipped))


def open_photo(path: Path) -> Scene:
    """A scene of one photo."""
    check_image(path)
    return _scene(path, [View(path.name, partial(read_image, path))], skipped=())


def open_video(path: Path, *, frames: int | None = None) -> Scene:
    """``frames`` frames (default 16) spread evenly over a video, decoded when looked at.

    Needs PyAV (``pip install 'dollhouse[video]'``); SceneError says so, and names a file that is no video.
    """
    times = _frame_times(path)
    chosen = [times[index] for index in spread(len(times), frames or VIDEO_FRAMES)]
    views = [View(f"frame {number}", partial(_read_frame, path, time)) for number, time in enumerate(chosen)]
    views[0].open_image()  # a codec that is not there should be told now
    return _scene(path, views, video_frames=len(times))


def _scene(source: Path, views: Sequence[View], name: str | None = None, **metadata: Any) -> Scene:
    name = name or source.resolve().name
    return Scene(name, tuple(views), metric=False, metadata={"source": str(source), **metadata})


def _open_container(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise SceneError(
            f"{path}: reading videos needs PyAV; install it with: pip install 'dollhouse[video]'"
        ) from error
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise SceneError(f"{path}: is not a video that can be read ({error})") from error
    if not container.streams.video:
        container.close()
        raise SceneError(f"{path}: has no pictures in it")
    size = container.streams.video[0].codec_context
    if size.width * size.height > MAX_PIXELS:
        container.close()
        raise SceneError(f"{path}: frames of {size.width}x{size.height} pixels are too large")
    return container


def _frame_times(path: Path) -> list[int]:
    """Presentation times of all frames in stream units: read off the packets, so nothing is decoded."""
    with _open_container(path) as container:
        import av

        stream = container.streams.video[0]
        try:
            times = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
        except av.FFmpegError as error:
            raise SceneError(f"{path}: is cut short or broken ({error})") from error
    if not times:
        raise SceneError(f"{path}: has no frames with a time; convert it with ffmpeg first")
    return times


def _read_frame(path: Path, time: int) -> NDArray[np.uint8]:
    """The frame shown at ``time``, (H, W, 3) RGB, turned upright as the video's rotation says."""
    with _open_container(path) as container:
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
    raise SceneError(f"{path}: ends before the frame that was looked for")
