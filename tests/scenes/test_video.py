"""Videos: sampled frames and errors for unusable files."""

from __future__ import annotations

import builtins
import struct
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.open import open_scene
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


@pytest.mark.parametrize(
    ("name", "codec"), [("a.3gp", "mpeg4"), ("a.mts", "mpeg2video"), ("a.mpg", "mpeg2video"), ("a.mpeg", "mpeg1video")]
)
def test_videos_of_phones_and_camcorders(tmp_path: Path, name: str, codec: str) -> None:
    """MPEG streams are entered behind the wanted frame by a plain seek."""
    path = write_video(tmp_path / name.replace("mts", "ts"), frames=40, codec=codec, rate=25).rename(tmp_path / name)
    levels = [float(view.image.mean()) for view in open_scene(path, frames=4).views]
    np.testing.assert_allclose(levels, [0, 78, 156, 234], atol=10)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_display_matrices_turn_and_mirror(tmp_path: Path, turned: bool, signs: tuple[int, int]) -> None:
    """The display matrix maps (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = (0, signs[0], signs[1], 0) if turned else (signs[0], 0, 0, signs[1])
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32] = 250, 180, 100
    path = write_video(tmp_path / "m.mp4", pixels=pixels)
    content, unit = path.read_bytes(), 1 << 16
    plain = struct.pack(">9i", unit, 0, 0, 0, unit, 0, 0, 0, 1 << 30)
    start = content.index(plain, content.index(b"tkhd"))
    changed = struct.pack(">9i", a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:start] + changed + content[start + 36 :])
    image = open_video(path, frames=1).views[0].image
    rows, columns = (24, 32) if a else (32, 24)
    assert image.shape == (2 * rows, 2 * columns, 3)
    for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):  # the middle of each quarter, from the centre
        shown = image[rows + (b * x + d * y) * rows // 2, columns + (a * x + c * y) * columns // 2].mean()
        assert shown == pytest.approx(pixels[24 + 12 * y, 32 + 16 * x].mean(), abs=12)


def test_upright_videos_keep_their_shape(tmp_path: Path) -> None:
    pixels = np.full((112, 64, 3), 90, np.uint8)
    scene = open_video(write_video(tmp_path / "tall.mp4", pixels=pixels), frames=2)
    assert scene.views[0].image.shape == (112, 64, 3)
    assert not scene.notices


def write_video(
    path: Path, frames: int = 2, codec: str = "mpeg4", rate: int = 10, pixels: np.ndarray | None = None
) -> Path:
    """Write frames of ``pixels``, or of grey levels that rise by 6."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = (48, 64) if pixels is None else pixels.shape[:2]
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            frame = np.full((48, 64, 3), 6 * i, np.uint8) if pixels is None else pixels
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
