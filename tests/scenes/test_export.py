"""Exported scenes, read back: PLY, GLB, JSON boxes, COLMAP."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from dollhouse.errors import SceneError, StorageError
from dollhouse.geometry import back_project, invert_rigid, project, transform_points
from dollhouse.scenes.export import boxes_json, colmap, gltf, ply
from dollhouse.scenes.export.points import ColouredPoints, scene_points
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scene import Scene

Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def room() -> Scene:
    return open_scene("rooms:test/3")


@pytest.fixture(scope="module")
def points(room: Scene) -> ColouredPoints:
    return scene_points(room, 5_000)


def test_points_lie_on_the_depth_maps(room: Scene, points: ColouredPoints) -> None:
    assert 2_500 < len(points.positions) <= 5_000
    assert points.views == len(room.views)
    hits = np.zeros(len(points.positions), dtype=bool)
    for view in room.views:
        camera = transform_points(invert_rigid(view.world_from_camera), points.positions.astype(np.float64))
        pixels, z = project(camera, view.intrinsics)
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < view.depth.shape[::-1]).all(-1)
        column, row = pixels[inside].astype(int).T
        same = np.abs(view.depth[row, column] - z[inside]) < 1e-3
        hits[np.flatnonzero(inside)[same]] |= (view.image[row, column] == points.colours[inside]).all(-1)[same]
    assert hits.all()


def test_points_are_spread_evenly(room: Scene) -> None:
    """Near surfaces, which have more pixels, do not get more points."""
    room = room.sample_views(1)
    eye = room.views[0].world_from_camera[:3, 3]
    every, few = (np.linalg.norm(scene_points(room, count).positions - eye, axis=-1) for count in (10**6, 800))
    assert (few < np.median(every)).mean() < 0.4


def test_depth_of_another_size_takes_its_colours(room: Scene) -> None:
    """Depth at half the size, with its own intrinsics, gives points with the colours of the photo."""
    view = room.views[0]
    half = view.intrinsics.copy()
    half[:2] /= 2
    depth = view.depth[::2, ::2]  # of pixels whose centres are at 0.25, not 0.5, of those that are left
    half[:2, 2] += 0.25
    small = replace(view, open_depth=lambda: depth, depth_intrinsics=half)
    made = scene_points(replace(room, views=(small,)), 10**6)
    expected = transform_points(
        view.world_from_camera, back_project(view.depth, view.intrinsics)[::2, ::2].reshape(-1, 3)
    )
    np.testing.assert_allclose(made.positions, expected, atol=1e-4)
    assert (made.colours == view.image[::2, ::2].reshape(-1, 3)).all()


def test_a_broken_view_is_left_out(room: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> np.ndarray:
        raise SceneError("2.png: is cut short or broken")

    some = replace(room, views=(replace(room.views[0], open_depth=broken), *room.views[1:]))
    assert scene_points(some, 1_000).views == len(room.views) - 1
    assert "2.png" in caplog.text
    with pytest.raises(SceneError, match="has known depth"):
        scene_points(replace(room, views=some.views[:1]), 1_000)
    with pytest.raises(SceneError, match="has no depth"):
        scene_points(replace(room, views=tuple(replace(view, open_depth=None) for view in room.views)), 1_000)


def test_ply(room: Scene, points: ColouredPoints, tmp_path: Path) -> None:
    ply.write_ply(room, points, tmp_path / "room.ply")
    header, _, body = (tmp_path / "room.ply").read_bytes().partition(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\ncomment scale: metric (depth in metres); up: z\n")
    assert len(body) == 15 * len(points.positions)
    cloud = trimesh.load(tmp_path / "room.ply")
    np.testing.assert_array_equal(cloud.vertices.astype(np.float32), points.positions)
    np.testing.assert_array_equal(cloud.colors[:, :3], points.colours)


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON and the binary chunk, by the specification."""
    content = BytesIO(path.read_bytes())
    magic, version, length = struct.unpack("<4sII", content.read(12))
    assert (magic, version, length) == (b"glTF", 2, path.stat().st_size)
    chunks = {}
    while head := content.read(8):
        size, kind = struct.unpack("<I4s", head)
        assert size % 4 == 0
        chunks[kind] = content.read(size)
    return json.loads(chunks[b"JSON"]), chunks.get(b"BIN\0", b"")


def accessor(tree: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    entry = tree["accessors"][number]
    view = tree["bufferViews"][entry["bufferView"]]
    assert view["byteOffset"] % 4 == 0
    assert view["byteOffset"] + view["byteLength"] <= len(binary) == tree["buffers"][0]["byteLength"]
    kind = {5126: np.float32, 5123: np.uint16}[entry["componentType"]]
    values = np.frombuffer(binary, kind, view["byteLength"] // np.dtype(kind).itemsize, view["byteOffset"])
    return values.reshape(entry["count"], -1)


def test_glb(room: Scene, points: ColouredPoints, tmp_path: Path) -> None:
    gltf.write_glb(room, points, tmp_path / "room.glb")
    tree, binary = read_glb(tmp_path / "room.glb")
    root, cloud, *boxes = tree["nodes"]
    assert root["children"] == list(range(1, len(tree["nodes"])))
    assert root["extras"] == {
        "units": "m",
        "scale": {"kind": "metric", "source": "depth in metres"},
        "frame": "the scene's world: right-handed, z up",
    }
    (primitive,) = tree["meshes"][cloud["mesh"]]["primitives"]
    assert primitive["mode"] == 0
    positions = accessor(tree, binary, primitive["attributes"]["POSITION"])
    np.testing.assert_array_equal(positions, points.positions)
    bounds = tree["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose([bounds["min"], bounds["max"]], [positions.min(0), positions.max(0)])
    linear = accessor(tree, binary, primitive["attributes"]["COLOR_0"])
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb * 255, points.colours, atol=0.1)
    assert [node["name"] for node in boxes] == [f"{box.label} {box.id}" for box in room.boxes]
    for node, box in zip(boxes, room.boxes, strict=True):
        assert (node["extras"]["label"], node["extras"]["score"]) == (box.label, None)
        (primitive,) = tree["meshes"][node["mesh"]]["primitives"]
        assert (primitive["mode"], tree["materials"][primitive["material"]]["name"]) == (1, box.label)
        assert len(accessor(tree, binary, primitive["indices"])) == 24
    labels = {box.label for box in room.boxes}
    assert len(tree["materials"]) == 1 + len(labels)


def test_boxes_of_a_glb_stand_where_they_are(room: Scene, points: ColouredPoints, tmp_path: Path) -> None:
    """An independent reader finds the corners in glTF's y-up world."""
    gltf.write_glb(room, points, tmp_path / "room.glb")
    loaded = trimesh.load(tmp_path / "room.glb", force="scene")
    cloud = next(g for g in loaded.geometry.values() if isinstance(g, trimesh.PointCloud))
    transform, _ = loaded.graph.get("points")
    np.testing.assert_allclose(
        transform_points(transform, cloud.vertices), points.positions @ Y_UP_FROM_Z_UP.T, atol=1e-5
    )
    for box in room.boxes:
        transform, name = loaded.graph.get(f"{box.label} {box.id}")
        corners = np.asarray(loaded.geometry[name].bounds)
        corners = np.array(
            [[corners[i, 0], corners[j, 1], corners[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        )
        own = transform_points(transform, corners)
        expected = box.corners @ Y_UP_FROM_Z_UP.T
        distance = np.linalg.norm(own[:, None] - expected[None], axis=-1).min(1)
        assert distance.max() < 1e-5


def test_glb_of_boxes_or_of_nothing(room: Scene, tmp_path: Path) -> None:
    gltf.write_glb(room, None, tmp_path / "boxes.glb")
    assert len(read_glb(tmp_path / "boxes.glb")[0]["nodes"]) == 1 + len(room.boxes)
    gltf.write_glb(replace(room, boxes=None), None, tmp_path / "nothing.glb")
    tree, binary = read_glb(tmp_path / "nothing.glb")
    assert (len(tree["nodes"]), "children" in tree["nodes"][0], binary) == (1, False, b"")
    assert not any(tree.get(name) == [] for name in tree)  # glTF forbids empty lists


def test_json_boxes(room: Scene, tmp_path: Path) -> None:
    boxes_json.write_boxes(room, tmp_path / "boxes.json")
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert content["format"] == "dollhouse boxes 1"
    assert (content["units"], content["scale"]["kind"], content["up"]) == ("m", "metric", "z")
    for entry, box in zip(content["boxes"], room.boxes, strict=True):
        assert (entry["label"], entry["id"], entry["score"]) == (box.label, box.id, None)
        assert entry["center"] == pytest.approx(box.center, abs=1e-4)
        assert entry["size"] == pytest.approx(box.size, abs=1e-4)
        assert entry["yaw"] == pytest.approx(box.yaw, abs=1e-4)
    relative = replace(room, metric=False)
    boxes_json.write_boxes(relative, tmp_path / "boxes.json")
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert (content["units"], content["scale"]["kind"]) == ("unknown", "relative")
    with pytest.raises(SceneError, match="--predicted"):
        boxes_json.write_boxes(replace(room, boxes=None), tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize("name", ["rooms:test/3", "holo_office_a", "real/tum_fr1_xyz"])
def test_colmap_is_read_back(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scene = open_scene(name if ":" in name else request.getfixturevalue("shared_data") / name, frames=5)
    turned = np.eye(4)  # the reader must not level it again
    turned[:3, :3] = [[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]]
    colmap.write_colmap(scene, scene_points(scene, 500), tmp_path / "model")
    again = open_scene(tmp_path / "model")
    assert again.metadata["kind"] == "a COLMAP model"
    assert again.metric
    assert not any("left out" in notice for notice in again.notices)
    exact = 1e-6 if name != "holo_office_a" else 1e-4  # whose rotations are rounded
    for view, original in zip(again.views, scene.views, strict=True):
        assert Path(original.name).stem in view.name
        np.testing.assert_allclose(view.world_from_camera, original.world_from_camera, atol=exact)
        np.testing.assert_allclose(view.intrinsics, original.intrinsics, rtol=1e-9)
        assert np.abs(view.image.astype(int) - original.image).mean() < 3
    rows = np.loadtxt(tmp_path / "model/sparse/0/points3D.txt")
    assert rows.shape[1] == 8
    assert len(rows) > 200


def test_colmap_of_tilted_cameras(room: Scene, tmp_path: Path) -> None:
    """Cameras that look down leave the reader no estimate of what is up; the model's comment gives it."""
    tilt = np.array([[1.0, 0, 0, 0], [0, 0.6, 0.8, 0], [0, -0.8, 0.6, 0], [0, 0, 0, 1]])
    views = tuple(replace(view, world_from_camera=view.world_from_camera @ tilt) for view in room.views)
    colmap.write_colmap(replace(room, views=views, metric=False), None, tmp_path / "model")
    again = open_scene(tmp_path / "model")
    assert not again.metric
    for view, original in zip(again.views, views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, original.world_from_camera, atol=1e-6)


def test_colmap_refuses(room: Scene, tmp_path: Path) -> None:
    bare = replace(room, views=tuple(replace(view, world_from_camera=None) for view in room.views))
    with pytest.raises(SceneError, match="without poses"):
        colmap.write_colmap(bare, None, tmp_path / "model")
    (tmp_path / "full").mkdir()
    with pytest.raises(SceneError, match="exists already"):
        colmap.write_colmap(room, None, tmp_path / "full")

    def broken() -> np.ndarray:
        raise SceneError("2.png: is cut short or broken")

    with pytest.raises(SceneError, match=r"2\.png"):
        colmap.write_colmap(replace(room, views=(replace(room.views[0], open_image=broken),)), None, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_files_are_whole_or_absent(room: Scene, points: ColouredPoints, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (ply.write_ply, gltf.write_glb):
        with pytest.raises(StorageError):
            write(room, points, tmp_path / "file" / "below a file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
