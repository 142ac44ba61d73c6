"""ScanNet's .sens streams and instance masks: lazy reading, damaged and hostile files."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.scenes.readers import sens
from dollhouse.scenes.readers.scannet import SCANNET, open_scannet
from tests.scenes.fixture_scans import (
    camera_matrix,
    pose_at,
    write_annotation,
    write_depth,
    write_matrix,
    write_photo,
    write_scan,
)

COLOUR, DEPTH = (64, 48), (32, 24)


def encode(pixels: np.ndarray, codec: str) -> bytes:
    if codec == "raw":
        return pixels.tobytes()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, codec)
    return content.getvalue()


def header(**changes: object) -> bytes:
    values: dict[str, object] = {
        "version": 4,
        "name": b"StructureSensor",
        "colour_codec": 2,
        "depth_codec": 1,
        "colour_size": COLOUR,
        "depth_size": DEPTH,
        "units": 1000.0,
        "count": 4,
        "colour_matrix": camera_matrix(60.0, *COLOUR),
    }
    values |= changes
    matrices = [values["colour_matrix"], np.eye(4), camera_matrix(28.0, *DEPTH), np.eye(4)]
    name = values["name"]
    assert isinstance(name, bytes)
    start = struct.pack("<IQ", values["version"], changes.get("name_length", len(name))) + name
    start += np.array(matrices, dtype="<f4").tobytes()
    start += struct.pack("<2i", values["colour_codec"], values["depth_codec"])
    start += struct.pack("<4i", *values["colour_size"], *values["depth_size"])  # type: ignore[misc]
    return start + struct.pack("<fQ", values["units"], values["count"])


def frame(index: int, colour_codec: str = "JPEG", depth_codec: int = 1, pose: np.ndarray | None = None) -> bytes:
    """Frame i is red, has 1000 + i units of depth, and lies at x = i, as the fixture of the exported layout."""
    colour = encode(np.full((COLOUR[1], COLOUR[0], 3), (200, 40, 40), np.uint8), colour_codec)
    depth = np.full((DEPTH[1], DEPTH[0]), 1000 + index, "<u2").tobytes()
    depth = zlib.compress(depth) if depth_codec == 1 else depth
    record = np.asarray(pose_at(index) if pose is None else pose, "<f4").tobytes()
    return record + struct.pack("<4Q", 33 * index, 33 * index, len(colour), len(depth)) + colour + depth


def write_stream(path: Path, frames: int = 4, **changes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(count=frames, **changes) + b"".join(map(frame, range(frames))) + struct.pack("<Q", 0))
    return path


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
    write_annotation(path.parent)
    alignment = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1.0]])
    (path.parent / "scan.txt").write_text(f"axisAlignment = {' '.join(map(str, alignment.ravel()))}\n")
    for scene in (open_scannet(path), open_scannet(path.parent), open_scannet(path.parent.rename(tmp_path / "flat"))):
        np.testing.assert_allclose(scene.views[1].world_from_camera, alignment @ pose_at(1))
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
    start = header(colour_codec=number, depth_codec=depth, units=4000.0, count=1)
    path.write_bytes(start + frame(0, colour, depth))
    (view,) = open_scannet(path, skip_bad=True).views
    assert np.abs(view.image.astype(int) - (200, 40, 40)).max() < 4
    np.testing.assert_allclose(view.depth, np.full((24, 32), 0.25))


def test_frames_that_lost_tracking_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "scan.sens"
    poses = [None, np.full((4, 4), -np.inf), np.full((4, 4), np.nan), None]
    path.write_bytes(header() + b"".join(frame(i, pose=pose) for i, pose in enumerate(poses)))
    scene = open_scannet(path)
    assert [view.name for view in scene.views] == ["0", "3"]
    assert scene.metadata["frames_skipped"] == 2
    path.write_bytes(header(count=1) + frame(0, pose=2.0 * np.eye(4)))
    with pytest.raises(SceneError, match=r"scan\.sens/frame 0: is not a rigid pose"):
        open_scannet(path)


@pytest.mark.parametrize("left", [1, 97, 400])
def test_frames_before_a_cut_are_used(tmp_path: Path, left: int) -> None:
    path = write_stream(tmp_path / "scan.sens")
    path.write_bytes(path.read_bytes()[: len(header()) + 2 * len(frame(0)) + left])
    scene = open_scannet(path)
    assert [view.depth is not None and float(view.depth[0, 0]) for view in scene.views] == pytest.approx([1.0, 1.001])
    (notice,) = scene.notices
    assert "scan.sens: is cut short or broken after 2 of 4 frames" in notice


@pytest.mark.parametrize("field", [80, 88])
@pytest.mark.parametrize("length", [2**63, 2**64 - 5, 10_000_000])
def test_frames_before_an_impossible_length_are_used(tmp_path: Path, field: int, length: int) -> None:
    path = write_stream(tmp_path / "scan.sens")
    content = bytearray(path.read_bytes() + bytes(12_000_000))
    at = len(header()) + 2 * len(frame(0)) + field
    content[at : at + 8] = struct.pack("<Q", length)
    path.write_bytes(content)
    scene = open_scannet(path)
    assert len(scene.views) == 2
    assert "broken after 2 of 4" in scene.notices[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short within its header"),
        (header()[:100], "cut short within its header"),
        (header(), "before the end of its first frame"),
        (header() + frame(0)[:-1], "before the end of its first frame"),
        (b"\xff\xd8\xff\xe0" + bytes(500), r"is not a \.sens stream of version 4"),
        (header(version=3) + frame(0), r"is not a \.sens stream of version 4"),
        (header(name_length=2**63) + frame(0), r"is not a \.sens stream of version 4"),
        (header(name_length=4000) + frame(0), "cut short|colour"),
        (header(count=0) + frame(0), "gives 0 frames"),
        (header(count=2**63) + frame(0), "gives 9223372036854775808 frames"),
        (header(colour_size=(-1, 48)) + frame(0), "gives colour of 4294967295x48 pixels"),
        (header(depth_size=(0, 0)) + frame(0), "gives depth of 0x0 pixels"),
        (header(depth_size=(100_000, 100_000)) + frame(0), "gives depth of 100000x100000 pixels"),
        (header(units=0.0) + frame(0), "depth_shift of 0"),
        (header(units=float("nan")) + frame(0), "depth_shift of nan"),
        (header(colour_codec=7) + frame(0), r"colour is compressed by codec 7 \(unknown\)"),
        (header(depth_codec=2) + frame(0), r"depth is compressed by codec 2 \(occi_ushort\).*SensReader"),
        (header(colour_matrix=np.zeros((4, 4))) + frame(0), "is not a camera matrix"),
        (header(colour_matrix=camera_matrix(60.0, 1296, 968)) + frame(0), r"principal point.*64x48 pixels \(its head"),
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
    return frame(0)[:80] + struct.pack("<2Q", len(colour), len(depth)) + colour + depth


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
    path.write_bytes(header(count=2) + broken + frame(1))
    view = open_scannet(path).views[0]
    with pytest.raises(SceneError, match=message):
        _ = view.image, view.depth
    scene = open_scannet(path, skip_bad=True)
    assert [view.name for view in scene.views] == ["1"]
    assert len(scene.notices) == 1


def test_depth_that_is_no_image_is_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", depth=False)
    (folder / "depth").mkdir()
    assert not open_scannet(folder).has_depth
    np.save(folder / "depth" / "0.npy", np.ones((24, 32)))
    with pytest.raises(SceneError, match=r"depth: contains no depth maps.*1 \.npy file \(0\.npy\).*16-bit PNG"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert len(scene.views) == 4
    assert "depth maps" in scene.notices[0]


def test_frames_of_a_long_scan_are_checked_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.scenes.readers.scannet._CHECKED_FRAMES", 3)
    folder = write_scan(tmp_path / "scan")
    write_photo(folder / "color" / "1.jpg", size=(80, 48))
    write_depth(folder / "depth" / "2.png", np.full((48, 64), 900))
    views = open_scannet(folder).views
    assert len(views) == 4
    with pytest.raises(SceneError, match=r"1\.jpg: is 80x48 pixels, but 0\.jpg gives 64x48"):
        _ = views[1].image
    with pytest.raises(SceneError, match=r"2\.png: is 64x48 pixels, but 0\.png gives 32x24"):
        _ = views[2].depth


def test_a_broken_first_image_does_not_close_a_scan(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    (folder / "color" / "0.jpg").write_bytes(b"overwritten")
    (folder / "depth" / "1.png").write_bytes(b"overwritten")
    with pytest.raises(SceneError, match=r"0\.jpg: is not an image"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert [view.name for view in scene.views] == ["2", "3"]


def write_masks(path: Path, frames: int, size: tuple[int, int] = COLOUR, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
        for index in range(frames):
            mask = np.zeros((size[1], size[0]), np.uint8)
            mask[: size[1] // 2] = index % 255 + 1
            archive.writestr(f"instance-filt/{index}.png", encode(mask, "PNG"))
    return path


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


def test_broken_poses_beside_streams_are_independent(tmp_path: Path) -> None:
    """A lost exported pose does not matter to the stream, which has its own."""
    path = write_stream(tmp_path / "scan" / "scan.sens")
    write_matrix(path.parent / "pose" / "0.txt", np.full((4, 4), np.inf))
    assert len(open_scannet(path.parent).views) == 4
