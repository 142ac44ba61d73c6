"""What users know of scale: its forms, focal lengths of cut and padded photos, factors of lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.readers.photos import open_photos
from dollhouse.scenes.scale import ESTIMATED, KnownScale, Scale
from dollhouse.scenes.scene import Box
from tests.scenes.fixture_scans import write_photo
from tests.scenes.test_photo_folders import write_exif


def focal_of(folder: Path, focal: float | str) -> list[float]:
    scene = open_photos(folder)
    return KnownScale(focal=focal).focal_over_width(scene, [view.image for view in scene.views]).tolist()


@pytest.mark.parametrize("focal", [0.75, "0.75", " 300px", "300 px", f"{300 * np.hypot(36, 24) / 500:.6f}mm"])
def test_every_form_of_a_focal_length(tmp_path: Path, focal: float | str) -> None:
    write_photo(tmp_path / "a.jpg", (9, 9, 9), (400, 300))
    assert focal_of(tmp_path, focal) == pytest.approx([0.75])


def test_focal_lengths_follow_photos_to_the_grid(tmp_path: Path) -> None:
    """A photo of 90x160 is padded to a grid of 400x300: its 90 pixels become 168.75 of 400."""
    for name, size in (("a.jpg", (400, 300)), ("b.jpg", (400, 300)), ("c.jpg", (90, 160)), ("d.jpg", (400, 290))):
        write_exif(tmp_path / name, size, focal35=26)
    resized = 300 / 160
    assert focal_of(tmp_path, 0.8) == pytest.approx([0.8, 0.8, 0.8 * 90 * resized / 400, 0.8 * 300 / 290])
    assert focal_of(tmp_path, "90px") == pytest.approx([0.225, 0.225, 90 * resized / 400, 0.225 * 300 / 290])
    assert focal_of(tmp_path, "26mm") == pytest.approx(focal_of(tmp_path, "exif"))
    assert len(set(focal_of(tmp_path, "exif"))) == 3


def test_photos_without_exif_keep_the_predicted_focal_length(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", (9, 9, 9), (400, 300))
    with pytest.raises(SceneError, match="no photo has a focal length in its EXIF"):
        focal_of(tmp_path, "exif")
    write_exif(tmp_path / "b.jpg", (400, 300), focal35=26)
    assert np.isnan(focal_of(tmp_path, "exif")).tolist() == [True, False]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"focal": "26 inch"}, "over the photo's width"),
        ({"focal": "mm"}, "over the photo's width"),
        ({"focal": "-1"}, "over the photo's width"),
        ({"focal": 0.0}, "over the photo's width"),
        ({"focal": float("nan")}, "over the photo's width"),
        ({"camera_height": 0.0}, "above 0"),
        ({"camera_height": -1.5}, "above 0"),
        ({"camera_height": float("nan")}, "above 0"),
        ({"camera_height": 150.0}, "at most 100"),
        ({"length": "table"}, "OBJECT=METRES"),
        ({"length": "=2"}, "OBJECT=METRES"),
        ({"length": "table=long"}, "OBJECT=METRES"),
        ({"length": "table=-1"}, "OBJECT=METRES"),
        ({"length": "table=120cm"}, "OBJECT=METRES"),
        ({"length": "table=0"}, "above 0"),
        ({"length": "table=120"}, "at most 100"),
    ],
)
def test_implausible_values_are_refused(known: dict[str, object], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        KnownScale(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize("focal", ["26", 1480, "0.001"])
def test_a_focal_length_without_its_unit_is_refused(tmp_path: Path, focal: str) -> None:
    write_photo(tmp_path / "a.jpg", (9, 9, 9), (400, 300))
    with pytest.raises(SceneError, match=r"times the width of the image, not 0\.2 to 20"):
        focal_of(tmp_path, focal)


def test_a_known_length_is_that_of_the_first_box_of_its_label() -> None:
    sizes = {"table": (0.8, 1.2, 0.7), "door": (0.1, 0.9, 2.5)}
    boxes = [Box(i, label, np.zeros(3), np.array(size), 0.0) for i, (label, size) in enumerate(sizes.items(), 1)]
    boxes.append(Box(3, "table", np.zeros(3), np.ones(3), 0.0))
    boxes.append(Box(4, "sofa", np.zeros(3), np.array([1.0, 2.0, 1.0]), 0.0))
    factors = {
        "table=1.80": 1.5,
        "couch=3": 1.5,
        "Table = 1.8 m": 1.5,
        "door.height=2": 0.8,
        "table.height=1.4": 2.0,
        "door=.45": 0.5,
    }
    for length, factor in factors.items():
        assert KnownScale(length=length).length_factor(boxes) == pytest.approx(factor)
    with pytest.raises(SceneError, match="no lamp is predicted in this scene; its objects: door, sofa, table"):
        KnownScale(length="lamp=2").length_factor(boxes)
    with pytest.raises(SceneError, match="its objects: none"):
        KnownScale(length="sofa=2").length_factor([])


def test_scales_print_kind_and_source() -> None:
    assert str(Scale("metric", "camera height")) == "metric (camera height)"
    assert str(ESTIMATED) == "relative (estimated by the model, not measured)"
