"""Sweet Home 3D libraries: catalogues, models scaled to their sizes, and rooms furnished with them."""

from __future__ import annotations

import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from dollhouse.errors import SceneError
from dollhouse.geometry import back_project, inside_box, transform_points
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.synthetic import sweethome_rooms as rooms
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.scenes.synthetic.room_scene import room_layout, room_scene
from dollhouse.scenes.synthetic.sweethome import installed_libraries, list_pieces, load_piece, nearest_category

installed = pytest.mark.skipif(not installed_libraries(), reason="Debian's sweethome3d-furniture is not installed")

CATALOGUE = """# a comment
license=Public domain
id#1=sample#1
name#1=Office Chair
model#1=/sample/chair.obj
width#1=50
depth#1=60
height#1=100
doorOrWindow#1=false
creator#1=Nobody
name#2=Door
model#2=/sample/chair.obj
width#2=90
depth#2=10
height#2=200
doorOrWindow#2=true
name#3=Wall lamp
elevation#3=150
model#3=/sample/chair.obj
width#3=10
depth#3=10
height#3=10
id#4=sample#4
name#4=Lying chair
model#4=/sample/chair.obj
width#4=50
depth#4=100
height#4=60
modelRotation#4=1 0 0 0 0 1 0 -1 0
"""

# y up, in an arbitrary unit: a seat (two triangles, blue) and a back at low z (a square, of no material).
CHAIR = """mtllib chair.mtl
v -5 4 -6
v 5 4 -6
v 5 4 6
v -5 4 6
v -5 20 -6
v 5 20 -6
v 5 0 6
v 99 99 99
f 1/1 2/1 3/1 4/1
usemtl cloth
f 1 2 6 5
f -2 3 4
"""


def write_library(path: Path, catalogue: str = CATALOGUE, chair: str = CHAIR) -> Path:
    with zipfile.ZipFile(path, "w") as library:
        library.writestr("PluginFurnitureCatalog.properties", catalogue.encode("latin-1"))
        library.writestr("sample/chair.obj", chair)
        library.writestr("sample/chair.mtl", "newmtl cloth\nKd 0.1 0.2 0.9\n")
    return path


def test_the_catalogue_is_read(tmp_path: Path) -> None:
    write_library(tmp_path / "sample.sh3f")
    chair, lying = list_pieces(installed_libraries(tmp_path))
    assert (chair.id, chair.name, chair.category) == ("sample#1", "Office Chair", "chair")
    assert (chair.creator, chair.licence) == ("Nobody", "Public domain")
    assert chair.size == pytest.approx((0.6, 0.5, 1.0))
    assert lying.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert lying.creator == "unknown"


def test_models_have_the_catalogues_size_and_orientation(tmp_path: Path) -> None:
    chair, lying = list_pieces([write_library(tmp_path / "sample.sh3f")])
    mesh = load_piece(chair)
    used = mesh.vertices[np.unique(mesh.faces)]
    np.testing.assert_allclose(used.min(0), [-0.3, -0.25, 0.0], atol=1e-12)
    np.testing.assert_allclose(used.max(0), [0.3, 0.25, 1.0], atol=1e-12)
    top = used[used[:, 2] > 0.99]
    np.testing.assert_allclose(top[:, 0], -0.3)  # the back rest has negative x
    np.testing.assert_allclose(mesh.vertices[1], [-0.3, 0.25, 0.2], atol=1e-12)  # +x of the library is to the left
    np.testing.assert_allclose(mesh.colours, [[0.7] * 3] * 2 + [[0.1, 0.2, 0.9]] * 3)
    # Turned by its rotation, what was low z is up, and what was up is in front.
    fallen = load_piece(lying)
    np.testing.assert_allclose(fallen.vertices[4], [-0.5, -0.25, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("catalogue", "chair", "message"),
    [
        (CATALOGUE.replace("width#1=50", "width#1=wide"), CHAIR, "entry 1 has no usable size"),
        (CATALOGUE.replace("width#1=50", "width#1=0"), CHAIR, "entry 1 has no usable size"),
        (CATALOGUE.replace("chair.obj", "gone.obj"), CHAIR, "gone.obj: cannot be read"),
        (CATALOGUE, "v 0 0 zero", "is not an OBJ model"),
        (CATALOGUE, "v 0 0 0\nf 1 2 3", "vertices that are not there"),
        (CATALOGUE, "", "has no faces"),
    ],
)
def test_broken_libraries_are_refused_by_name(tmp_path: Path, catalogue: str, chair: str, message: str) -> None:
    path = write_library(tmp_path / "sample.sh3f", catalogue, chair)
    with pytest.raises(SceneError, match=message) as caught:
        load_piece(list_pieces([path])[0])
    assert "sample.sh3f" in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.sh3f"
    path.write_text("words")
    with pytest.raises(SceneError, match=r"words\.sh3f: is not a zip archive"):
        list_pieces([path])


@pytest.mark.parametrize(
    ("name", "category"),
    [("Coffee table", "table"), ("Couch", "sofa"), ("Bookcase 2", "bookshelf"), ("Table football", None), ("", None)],
)
def test_names_are_matched_to_categories(name: str, category: str | None) -> None:
    assert nearest_category(name) == category


@installed
def test_installed_seats_have_their_back_rest_behind() -> None:
    pieces = [p for p in list_pieces(installed_libraries()) if p.category in ("chair", "sofa")][::6]
    behind = []
    for piece in pieces:
        mesh = load_piece(piece)
        used = mesh.vertices[np.unique(mesh.faces)]
        np.testing.assert_allclose(np.ptp(used, axis=0), piece.size)
        behind.append(used[used[:, 2] > 0.8 * piece.size[2], 0].mean() < 0.02)
    assert np.mean(behind) > 0.9


def test_missing_libraries_name_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "installed_libraries", list)
    rooms._pieces_by_category.cache_clear()
    try:
        with pytest.raises(SceneError, match="apt-get install sweethome3d-furniture"):
            open_scene("sweethome:test/0")
    finally:
        rooms._pieces_by_category.cache_clear()


def test_plain_rooms_are_unchanged() -> None:
    """Boxes to a micrometre; depth as medians of blocks, so that last bits of other processors do not matter."""
    boxes, depth = sha256(), sha256()
    for number in range(3):
        scene = room_scene("test", number)
        for box in scene.boxes or ():
            numbers = np.round([*box.center, *box.size, box.yaw], 6).tolist()
            boxes.update(repr((box.id, box.label, box.colour, numbers)).encode())
        for view in scene.views:
            blocks = view.depth.reshape(9, 14, 9, 14).transpose(0, 2, 1, 3).reshape(9, 9, -1)
            depth.update(np.round(np.median(blocks, axis=-1) * 200).astype(np.int64).tobytes())
    assert boxes.hexdigest() == "a4d5b132f19b7e6de5a6bc8912065717f456e1f57f5bdef290168e4954f3fd12"
    assert depth.hexdigest() == "a16696773e2b4767a70a247309328f8808962af4bc491280a33c1293490128c9"


def test_paint_keeps_the_colour_and_the_contrast() -> None:
    light = np.array([-0.6, 0.0, 0.6], dtype=np.float32)
    for name, rgb in COLOURS.items():
        dark, main, bright = rooms._painted(light, rgb)
        np.testing.assert_allclose(main, rgb, atol=1e-6)
        assert bright.sum() > main.sum()
        assert dark.sum() < main.sum() or name == "black"  # which shows lighter shades only
        for shade in (dark, bright):  # as red, green and blue were ordered, so they still are
            assert np.array_equal(np.argsort(shade, kind="stable"), np.argsort(main, kind="stable"))


@installed
def test_boxes_and_cameras_are_those_of_the_plain_room() -> None:
    plain, fitted = room_scene("test", 3), open_scene("sweethome:test/3")
    assert (fitted.name, len(fitted.views)) == ("sweethome:test/3", 4)
    assert repr(fitted.boxes) == repr(plain.boxes)
    assert all(
        np.array_equal(a.world_from_camera, b.world_from_camera) for a, b in zip(plain.views, fitted.views, strict=True)
    )
    assert not np.array_equal(fitted.views[0].image, plain.views[0].image)
    again = open_scenes("sweethome:test/3-4")[0]
    assert np.array_equal(again.views[1].image, fitted.views[1].image)
    assert again.metadata == fitted.metadata
    assert len(open_scene("sweethome:test/3", frames=2).views) == 2


@installed
def test_metadata_lists_creators_and_licences() -> None:
    metadata = open_scene("sweethome:test/3").metadata
    assert metadata["licence"].startswith("Apache-2.0 (the room); Creative Commons")
    for piece in metadata["furniture"]:
        assert piece["creator"]
        assert piece["licence"] in metadata["licence"]
    assert not room_scene("test", 3).metadata.get("furniture")


@installed
def test_fitted_furniture_fills_its_box_and_faces_its_front() -> None:
    behind = []
    for number in range(8):
        layout = room_layout("test", number)
        pieces = rooms.choose_pieces(layout)
        meshes = rooms.fitted_meshes(layout, pieces)
        for index in pieces:
            item = layout.items[index]
            points = meshes.triangles[meshes.instances == index + 1].reshape(-1, 3) - item.centre
            cos, sin = np.cos(item.yaw), np.sin(item.yaw)
            own = points @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
            np.testing.assert_allclose(own.max(0), 0.5 * np.array(item.size), atol=1e-5)
            np.testing.assert_allclose(own.min(0), -0.5 * np.array(item.size), atol=1e-5)
            if item.label in ("chair", "sofa"):
                behind.append(own[own[:, 2] > 0.3 * item.size[2], 0].mean() < 0)
    assert len(behind) > 4
    assert all(behind)


@installed
def test_items_on_fitted_furniture_are_supported() -> None:
    """Below each item on a piece, the piece reaches the full height of its box."""
    standing = 0
    for number in range(40):
        layout = room_layout("train", number)
        pieces = rooms.choose_pieces(layout)
        if not pieces.keys() & {item.support for item in layout.items}:
            continue
        meshes = rooms.fitted_meshes(layout, pieces)
        for item in layout.items:
            if item.support in pieces:
                scene = EmbreeScene()
                TriangleMesh(scene, meshes.triangles[meshes.instances == item.support + 1])
                start = np.array([item.centre], dtype=np.float32)
                hit = scene.run(start, np.array([[0, 0, -1]], dtype=np.float32), output=1)
                assert hit["tfar"][0] == pytest.approx(0.5 * item.size[2], abs=0.02)
                standing += 1
    assert standing > 5


def test_open_sides_of_faces_are_found() -> None:
    tetrahedron = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.4, 0], [0, 0, 0.4]], dtype=np.float32)
    triangles = tetrahedron[[[0, 2, 1], [0, 3, 1], [0, 2, 3], [1, 2, 3]]]  # the second and third are wound inwards
    scene = EmbreeScene()
    TriangleMesh(scene, triangles)
    ahead, behind = rooms._escapes(triangles, scene)
    assert ahead.tolist() == [8, 0, 0, 8]
    assert behind.tolist() == [0, 8, 8, 0]


@installed
def test_pixels_of_fitted_furniture_lie_in_their_boxes() -> None:
    scene = open_scene("sweethome:test/3")
    for view in scene.views:
        points = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
        for id in np.unique(view.instances[view.instances > 0]):
            box = scene.box(int(id))
            assert inside_box(points[view.instances == id], box.center, box.size, box.yaw, margin=0.003).all()
