"""Sweet Home 3D libraries: the catalogue, and models stretched to its sizes with their fronts forward."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.sweethome import installed_libraries, list_pieces, load_piece, nearest_category

CATALOGUE = """# a comment
license=Public domain
id#1=made#1
name#1=Office Chair
model#1=/made/chair.obj
width#1=50
depth#1=60
height#1=100
doorOrWindow#1=false
creator#1=Nobody
name#2=Door
model#2=/made/chair.obj
width#2=90
depth#2=10
height#2=200
doorOrWindow#2=true
name#3=Wall lamp
elevation#3=150
model#3=/made/chair.obj
width#3=10
depth#3=10
height#3=10
id#4=made#4
name#4=Lying chair
model#4=/made/chair.obj
width#4=50
depth#4=100
height#4=60
modelRotation#4=1 0 0 0 0 1 0 -1 0
"""

# y up, in inches or whatever: a seat (two triangles, blue) and a back at low z (a square, of no material).
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


def make_library(path: Path, catalogue: str = CATALOGUE, chair: str = CHAIR) -> Path:
    with zipfile.ZipFile(path, "w") as library:
        library.writestr("PluginFurnitureCatalog.properties", catalogue.encode("latin-1"))
        library.writestr("made/chair.obj", chair)
        library.writestr("made/chair.mtl", "newmtl cloth\nKd 0.1 0.2 0.9\n")
    return path


def test_the_catalogue_is_read(tmp_path: Path) -> None:
    make_library(tmp_path / "made.sh3f")
    chair, lying = list_pieces(installed_libraries(tmp_path))
    assert (chair.id, chair.name, chair.category) == ("made#1", "Office Chair", "chair")
    assert (chair.creator, chair.licence) == ("Nobody", "Public domain")
    assert chair.size == pytest.approx((0.6, 0.5, 1.0))
    assert lying.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert lying.creator == "unknown"


def test_a_model_gets_the_catalogues_size_and_looks_forward(tmp_path: Path) -> None:
    chair, lying = list_pieces([make_library(tmp_path / "made.sh3f")])
    mesh = load_piece(chair)
    used = mesh.vertices[np.unique(mesh.faces)]
    np.testing.assert_allclose(used.min(0), [-0.3, -0.25, 0.0], atol=1e-12)
    np.testing.assert_allclose(used.max(0), [0.3, 0.25, 1.0], atol=1e-12)
    top = used[used[:, 2] > 0.99]
    np.testing.assert_allclose(top[:, 0], -0.3)  # the back is behind
    np.testing.assert_allclose(mesh.vertices[1], [-0.3, 0.25, 0.2], atol=1e-12)  # +x of the library is to the left
    np.testing.assert_allclose(mesh.colours, [[0.7] * 3] * 2 + [[0.1, 0.2, 0.9]] * 3)
    # Turned by its rotation, what was low z is up, and what was up is in front.
    fallen = load_piece(lying)
    np.testing.assert_allclose(fallen.vertices[4], [-0.5, -0.25, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("catalogue", "chair", "complaint"),
    [
        (CATALOGUE.replace("width#1=50", "width#1=wide"), CHAIR, "entry 1 has no usable size"),
        (CATALOGUE.replace("width#1=50", "width#1=0"), CHAIR, "entry 1 has no usable size"),
        (CATALOGUE.replace("chair.obj", "gone.obj"), CHAIR, "gone.obj: cannot be read"),
        (CATALOGUE, "v 0 0 zero", "is not an OBJ model"),
        (CATALOGUE, "v 0 0 0\nf 1 2 3", "vertices that are not there"),
        (CATALOGUE, "", "has no faces"),
    ],
)
def test_broken_libraries_are_refused_by_name(tmp_path: Path, catalogue: str, chair: str, complaint: str) -> None:
    path = make_library(tmp_path / "made.sh3f", catalogue, chair)
    with pytest.raises(SceneError, match=complaint) as caught:
        load_piece(list_pieces([path])[0])
    assert "made.sh3f" in str(caught.value)


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.sh3f"
    path.write_text("words")
    with pytest.raises(SceneError, match="is not a furniture library"):
        list_pieces([path])


@pytest.mark.parametrize(
    ("name", "category"),
    [("Coffee table", "table"), ("Couch", "sofa"), ("Bookcase 2", "bookshelf"), ("Table football", None), ("", None)],
)
def test_names_are_matched_to_categories(name: str, category: str | None) -> None:
    assert nearest_category(name) == category


def test_installed_seats_have_their_backs_behind() -> None:
    pieces = [p for p in list_pieces(installed_libraries()) if p.category in ("chair", "sofa")][::6]
    if not pieces:
        pytest.skip("Debian's sweethome3d-furniture is not installed")
    behind = []
    for piece in pieces:
        mesh = load_piece(piece)
        used = mesh.vertices[np.unique(mesh.faces)]
        np.testing.assert_allclose(np.ptp(used, axis=0), piece.size)
        behind.append(used[used[:, 2] > 0.8 * piece.size[2], 0].mean() < 0.02)
    assert np.mean(behind) > 0.9
