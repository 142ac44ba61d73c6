"""Sweet Home 3D libraries: catalogues, and models scaled to their sizes."""

from __future__ import annotations

import re
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.synthetic.sweethome import installed_libraries, list_pieces, load_piece

SEAT = re.compile(r"(?i)(?:.* )?(?:chair|sofa|couch)(?: \d+)?")
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
    chair, lamp, lying = list_pieces(installed_libraries(tmp_path))
    assert (chair.id, chair.name) == ("sample#1", "Office Chair")
    assert (chair.creator, chair.licence) == ("Nobody", "Public domain")
    assert chair.size == pytest.approx((0.6, 0.5, 1.0))
    assert lamp.name == "Wall lamp"
    assert lying.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert lying.creator == "unknown"


def test_models_have_the_catalogues_size_and_orientation(tmp_path: Path) -> None:
    chair, _, lying = list_pieces([write_library(tmp_path / "sample.sh3f")])
    mesh = load_piece(chair)
    used = mesh.vertices[np.unique(mesh.faces)]
    np.testing.assert_allclose(used.min(0), [-0.3, -0.25, 0.0], atol=1e-12)
    np.testing.assert_allclose(used.max(0), [0.3, 0.25, 1.0], atol=1e-12)
    top = used[used[:, 2] > 0.99]
    np.testing.assert_allclose(top[:, 0], -0.3)  # the back rest has negative x
    np.testing.assert_allclose(mesh.vertices[1], [-0.3, 0.25, 0.2], atol=1e-12)  # +x of the library is to the left
    np.testing.assert_allclose(
        [mesh.materials[number].rgb for number in mesh.material], [[0.7] * 3] * 2 + [[0.1, 0.2, 0.9]] * 3
    )
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


@installed
def test_installed_seats_have_their_back_rest_behind() -> None:
    pieces = [p for p in list_pieces(installed_libraries()) if SEAT.fullmatch(p.name)][::6]
    behind = []
    for piece in pieces:
        mesh = load_piece(piece)
        used = mesh.vertices[np.unique(mesh.faces)]
        np.testing.assert_allclose(np.ptp(used, axis=0), piece.size)
        behind.append(used[used[:, 2] > 0.8 * piece.size[2], 0].mean() < 0.02)
    assert np.mean(behind) > 0.9


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
