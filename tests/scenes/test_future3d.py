"""3D-FUTURE models: short labels of categories, colours from textures, and faults of broken models."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.future3d import label_of, load_model
from tests.scenes.fixture_front3d import write_house, write_model


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("King-size Bed",), ("bed", True)),
        (("Three-Seat / Multi-seat Sofa",), ("sofa", True)),
        (("Lounge Chair / Cafe Chair / Office Chair",), ("chair", True)),
        (("Footstool / Sofastool / Bed End Stool / Stool",), ("stool", False)),
        (("Corner/Side Table",), ("table", False)),
        (("Sideboard / Side Cabinet / Console Table",), ("cabinet", True)),
        ((None, " ", "Nightstand"), ("nightstand", True)),
        (("Pier/Stool",), ("stool", False)),
        ((None, "bed/king-size bed"), ("bed", True)),
        (("Wine Cooler",), ("cabinet", True)),
        ((None,), (None, False)),
    ],
)
def test_categories_become_short_labels(names: tuple[str | None, ...], label: tuple[str | None, bool]) -> None:
    assert label_of(names) == label


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("raw_model.obj", b"v 0 0 0\nf 1 2 3\n", "raw_model.obj"),
        ("raw_model.obj", b"", "raw_model.obj"),
        ("raw_model.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("texture.png", b"\x89PNG no", "the model is grey"),
    ],
)
def test_broken_models_are_reported(tmp_path: Path, file: str, content: bytes, fault: str) -> None:
    house = write_house(tmp_path)
    (tmp_path / "3D-FUTURE-model" / "bed-1" / file).write_bytes(content)
    scene = open_scene(f"{house}#MasterBedroom-1", frames=1)
    assert any(fault in line for line in scene.metadata["skipped"])
    assert scene.boxes is not None
    assert ("bed" in [box.label for box in scene.boxes]) == (file == "texture.png")


def test_models_without_texture_coordinates_have_the_mean_colour(tmp_path: Path) -> None:
    write_model(tmp_path / "model", (1, 1, 1))
    path = tmp_path / "model" / "raw_model.obj"
    path.write_text(re.sub(r"/\d", "", path.read_text()).replace("vt ", "# "))
    model = load_model(path.parent)
    assert model.triangles.shape == (12, 3, 3)
    np.testing.assert_allclose(model.rgb, np.tile([0.5, 0, 0.5], (12, 1)), atol=0.01)
