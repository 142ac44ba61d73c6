"""Videos: sampled frames and errors for unusable files."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.readers.video import open_video


def test_video_frames_are_spread_evenly_and_exact(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mp4", frames=40)
    scene = open_video(path, frames=4)
    assert scene.metadata["video_frames"] == 40
    assert [view.name for view in scene.views] == ["frame 0", "frame 1", "frame 2", "frame 3"]
    # Frame i is grey of level 6 i; the frames wanted are 0, 13, 26 and 39.
    levels = [float(view.image.mean()) for view in reversed(scene.views)]
    np.testing.assert_allclose(levels, [234, 156, 78, 0], atol=3)
    assert len(open_video(path).views) == 16


def test_other_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"no video at all")
    with pytest.raises(SceneError, match="not a video"):
        open_video(path)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def without_av(name: str, *args: object, **kwargs: object) -> object:
        if name == "av":
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(SceneError, match=r"pip install 'dollhouse\[video\]'"):
        open_video(tmp_path / "walk.mp4")


def write_video(path: Path, frames: int) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 6 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
