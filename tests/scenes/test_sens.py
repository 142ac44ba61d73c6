"""ScanNet's .sens streams: lazy reading, damaged and hostile files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.readers import sens
from dollhouse.scenes.readers.scannet import SCANNET, open_scannet
from tests.scenes.fixture_scans import (
    QUARTER_TURN,
    camera_matrix,
    encode,
    pose_at,
    stream_frame,
    stream_header,
    write_alignment,
    write_annotation,
    write_masks,
    write_matrix,
    write_scan,
    write_stream,
)


def test_a_stream_equals_the_exported_frames(tmp_path: Path) -> None:
    exported = open_scannet(write_scan(tmp_path / "exported" / "scan", frames=12))
    path = write_stream(tmp_path / "scan" / "scan.sens", frames=12)
    for source in (path.parent, path):
        assert SCANNET.matches(source)
        scene = open_scannet(source)
        assert scene.name == "scan"
        assert scene.boxes is None
        for view, other in zip(scene.views, exported.views, strict=True):
            assert view.name == other.name
            np.testing.assert_array_equal(view.intrinsics, other.intrinsics)
            np.testing.assert_array_equal(view.depth_intrinsics, other.depth_intrinsics)
            np.testing.assert_array_equal(view.world_from_camera, other.world_from_camera)
            np.testing.assert_array_equal(view.image, other.image)
            np.testing.assert_array_equal(view.depth, other.depth)
    assert [view.name for view in open_scannet(path, frames=3).views] == ["0", "6", "11"]


def test_opening_decodes_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_stream(tmp_path / "scan" / "scan.sens")
    write_masks(path.parent / "scan_2d-instance-filt.zip", 4)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(sens.Stream, "_read", refuse)
    monkeypatch.setattr("dollhouse.scenes.readers.scannet_instances._read_member", refuse)
    scene = open_scannet(path.parent)
    with pytest.raises(AssertionError):
        _ = scene.views[0].depth


def test_files_beside_a_stream_are_used(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "scan" / "scan.sens")
    write_alignment(write_annotation(path.parent))
    for scene in (open_scannet(path), open_scannet(path.parent), open_scannet(path.parent.rename(tmp_path / "flat"))):
        np.testing.assert_allclose(scene.views[1].world_from_camera, QUARTER_TURN @ pose_at(1))
        np.testing.assert_allclose(scene.box(1).center, [5.0, 0.0, 0.85], atol=1e-6)
    assert scene.metadata["unused"] == ""


def test_streams_in_one_folder_do_not_share_files(tmp_path: Path) -> None:
    write_annotation(write_stream(tmp_path / "a" / "a.sens").parent)
    other = write_stream(tmp_path / "a" / "b.sens")
    assert open_scannet(tmp_path / "a" / "a.sens").boxes
    assert open_scannet(other).boxes is None
    assert open_scannet(tmp_path / "a").boxes
    assert not SCANNET.matches((tmp_path / "a").rename(tmp_path / "several"))


def test_exported_frames_are_preferred(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", frames=2)
    write_stream(folder / "scan.sens", frames=3)
    scene = open_scannet(folder)
    assert len(scene.views) == 2
    assert scene.metadata["unused"] == "1 .sens file (scan.sens)"
    for image in folder.glob("color/*"):
        image.unlink()
    assert len(open_scannet(folder).views) == 3


@pytest.mark.parametrize(("colour", "depth"), [("JPEG", 0), ("PNG", 1), ("raw", 1)])
def test_other_codecs_are_decoded(tmp_path: Path, colour: str, depth: int) -> None:
    path = tmp_path / "scan.sens"
    number = {"raw": 0, "PNG": 1, "JPEG": 2}[colour]
    start = stream_header(colour_codec=number, depth_codec=depth, units=4000.0, count=1)
    path.write_bytes(start + stream_frame(0, colour, depth))
    (view,) = open_scannet(path, skip_bad=True).views
    assert np.abs(view.image.astype(int) - (200, 40, 40)).max() < 4
    np.testing.assert_allclose(view.depth, np.full((24, 32), 0.25))


def test_frames_that_lost_tracking_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "scan.sens"
    poses = [None, np.full((4, 4), -np.inf), np.full((4, 4), np.nan), None]
    path.write_bytes(stream_header() + b"".join(stream_frame(i, pose=pose) for i, pose in enumerate(poses)))
    scene = open_scannet(path)
    assert [view.name for view in scene.views] == ["0", "3"]
    assert scene.metadata["frames_skipped"] == 2
    path.write_bytes(stream_header(count=1) + stream_frame(0, pose=2.0 * np.eye(4)))
    with pytest.raises(SceneError, match=r"scan\.sens/frame 0: is not a rigid pose"):
        open_scannet(path)


@pytest.mark.parametrize("left", [1, 97, 400])
def test_frames_before_a_cut_are_used(tmp_path: Path, left: int) -> None:
    path = write_stream(tmp_path / "scan.sens")
    path.write_bytes(path.read_bytes()[: len(stream_header()) + 2 * len(stream_frame(0)) + left])
    scene = open_scannet(path)
    assert [view.depth is not None and float(view.depth[0, 0]) for view in scene.views] == pytest.approx([1.0, 1.001])
    (notice,) = scene.notices
    assert "scan.sens: is cut short or broken after 2 of 4 frames" in notice


@pytest.mark.parametrize("field", [80, 88])
@pytest.mark.parametrize("length", [2**63, 2**64 - 5, 10_000_000])
def test_frames_before_an_impossible_length_are_used(tmp_path: Path, field: int, length: int) -> None:
    path = write_stream(tmp_path / "scan.sens")
    content = bytearray(path.read_bytes() + bytes(12_000_000))
    at = len(stream_header()) + 2 * len(stream_frame(0)) + field
    content[at : at + 8] = struct.pack("<Q", length)
    path.write_bytes(content)
    scene = open_scannet(path)
    assert len(scene.views) == 2
    assert "broken after 2 of 4" in scene.notices[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short within its header"),
        (stream_header()[:100], "cut short within its header"),
        (stream_header(), "before the end of its first frame"),
        (stream_header() + stream_frame(0)[:-1], "before the end of its first frame"),
        (b"\xff\xd8\xff\xe0" + bytes(500), r"is not a \.sens stream of version 4"),
        (stream_header(version=3) + stream_frame(0), r"is not a \.sens stream of version 4"),
        (stream_header(name_length=2**63) + stream_frame(0), r"is not a \.sens stream of version 4"),
        (stream_header(name_length=4000) + stream_frame(0), "cut short|colour"),
        (stream_header(count=0) + stream_frame(0), "gives 0 frames"),
        (stream_header(count=2**63) + stream_frame(0), "gives 9223372036854775808 frames"),
        (stream_header(colour_size=(-1, 48)) + stream_frame(0), "gives colour of 4294967295x48 pixels"),
        (stream_header(depth_size=(0, 0)) + stream_frame(0), "gives depth of 0x0 pixels"),
        (stream_header(depth_size=(100_000, 100_000)) + stream_frame(0), "gives depth of 100000x100000 pixels"),
        (stream_header(units=0.0) + stream_frame(0), "depth_shift of 0"),
        (stream_header(units=float("nan")) + stream_frame(0), "depth_shift of nan"),
        (stream_header(colour_codec=7) + stream_frame(0), r"colour is compressed by codec 7 \(unknown\)"),
        (stream_header(depth_codec=2) + stream_frame(0), r"depth is compressed by codec 2 \(occi_ushort\).*SensReader"),
        (stream_header(colour_matrix=np.zeros((4, 4))) + stream_frame(0), "is not a camera matrix"),
        (
            stream_header(colour_matrix=camera_matrix(60.0, 1296, 968)) + stream_frame(0),
            r"principal point.*64x48 pixels \(its head",
        ),
    ],
)
def test_hostile_headers_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "scan.sens"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=message) as caught:
        open_scannet(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def replace_payload(colour: bytes, depth: bytes) -> bytes:
    return stream_frame(0)[:80] + struct.pack("<2Q", len(colour), len(depth)) + colour + depth


@pytest.mark.parametrize(
    ("colour", "depth", "message"),
    [
        (b"no JPEG", None, "frame 0: is not an image"),
        (encode(np.zeros((50, 64, 3), np.uint8), "JPEG"), None, "frame 0: is 64x50, but the header gives 64x48"),
        (encode(np.full((48, 64, 3), 9, np.uint8), "JPEG")[:400], None, "frame 0: .*cut short|frame 0: cannot be"),
        (None, b"no zlib", "frame 0: its depth is broken"),
        (None, zlib.compress(bytes(20)), "holds 20 bytes, which are not 32x24 pixels"),
        (None, zlib.compress(bytes(1 << 24)), "holds 1537 bytes, which are not 32x24 pixels"),  # bounded
    ],
)
def test_broken_frames_are_named_or_left_out(
    tmp_path: Path, colour: bytes | None, depth: bytes | None, message: str
) -> None:
    good_colour = encode(np.full((48, 64, 3), 9, np.uint8), "JPEG")
    good_depth = zlib.compress(np.full((24, 32), 1000, "<u2").tobytes())
    broken = replace_payload(good_colour if colour is None else colour, good_depth if depth is None else depth)
    path = tmp_path / "scan.sens"
    path.write_bytes(stream_header(count=2) + broken + stream_frame(1))
    view = open_scannet(path).views[0]
    with pytest.raises(SceneError, match=message):
        _ = view.image, view.depth
    scene = open_scannet(path, skip_bad=True)
    assert [view.name for view in scene.views] == ["1"]
    assert len(scene.notices) == 1


def test_broken_poses_beside_streams_are_independent(tmp_path: Path) -> None:
    """A lost exported pose does not matter to the stream, which has its own."""
    path = write_stream(tmp_path / "scan" / "scan.sens")
    write_matrix(path.parent / "pose" / "0.txt", np.full((4, 4), np.inf))
    assert len(open_scannet(path.parent).views) == 4
