"""ScanNet's instance masks: read from their archive on demand; broken and hostile ones are left out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.scenes.readers.scannet import open_scannet
from tests.scenes.fixture_scans import encode, write_masks, write_scan, write_stream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_instance_masks_are_read_from_the_archive(tmp_path: Path, stream: bool, method: int) -> None:
    folder = tmp_path / "scan"
    if stream:
        write_stream(folder / "scan.sens")
    else:
        write_scan(folder)
    write_masks(folder / "scan_2d-instance.zip", 4, compression=method)
    scene = open_scannet(folder)
    assert not scene.notices
    for index, view in enumerate(scene.views):
        assert view.instances is not None
        assert view.instances.shape == (48, 64)
        assert view.instances.dtype == np.int32
        np.testing.assert_array_equal(view.instances[[23, 24], 0], [index + 1, 0])
    write_masks(folder / "scan_2d-instance-filt.zip", 4, size=(32, 12))  # the filtered ones are preferred; resized
    resized = open_scannet(folder).views[2].instances
    assert resized is not None
    np.testing.assert_array_equal(resized, np.repeat([3, 0], 24)[:, None] + np.zeros(64, int))
    assert not list(folder.glob("instance*"))


def break_directory(path: Path) -> None:
    path.write_bytes(b"PK no archive")


def break_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("instance-filt/0.png", b"no PNG")
        archive.writestr("instance-filt/1.png", encode(np.zeros((48, 64, 3), np.uint8), "PNG"))


def write_bombs(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(40_000_000))
        picture = io.BytesIO()
        Image.new("L", (20_000, 20_000)).save(picture, "PNG")
        archive.writestr("1.png", picture.getvalue())
        archive.writestr("../2.png/", b"")


def lie_about_offsets(path: Path) -> None:
    write_masks(path, 2, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\3\4", b"PK\3\5"))


@pytest.mark.parametrize("spoil", [break_directory, break_members, write_bombs, lie_about_offsets])
def test_broken_masks_do_not_close_a_scan(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_scan(tmp_path / "scan", frames=3)
    spoil(folder / "scan_2d-instance-filt.zip")
    scene = open_scannet(folder)
    assert len(scene.views) == 3
    assert [view.instances for view in scene.views] == [None] * 3
    assert "scan_2d-instance-filt.zip" in scene.notices[0]
    assert len(scene.notices) == 1
    usable = [view for view in scene.views if view.open_instances]
    assert len(caplog.records) == len(usable)


def test_frames_without_a_mask_are_counted(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", frames=4)
    write_masks(folder / "scan_2d-instance-filt.zip", 2)
    scene = open_scannet(folder)
    assert [view.instances is not None for view in scene.views] == [True, True, False, False]
    assert scene.notices[0].endswith("scan_2d-instance-filt.zip: has no usable instance ids of 2 frames (2)")
