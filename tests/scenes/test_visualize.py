"""Figures of scenes: contents of the plan, and atomic writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Wedge
from PIL import Image

from dollhouse.errors import StorageError
from dollhouse.geometry import look_at
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scene import Box
from dollhouse.scenes.visualize import draw_depth, draw_plan, draw_scene
from tests.scenes.fixture_scans import write_annotation, write_photo, write_scan

TABLE = Box(1, "table", np.array([1.0, 2.0, 0.4]), np.array([2.0, 1.0, 0.8]), np.pi / 2, colour="dark brown")
CHAIR = Box(2, "chair", np.array([3.0, 2.0, 0.5]), np.array([0.5, 0.5, 1.0]), 0.0, has_front=True, colour="blurple-ish")


def test_a_plan_has_boxes_in_place() -> None:
    axes = Figure().subplots()
    floor = np.array([[0, 0], [5, 0], [5, 4], [0, 4]])
    camera = look_at(np.array([0.5, 0.5, 1.5]), np.array([3.0, 0.5, 1.0]))
    draw_plan(axes, [TABLE, CHAIR], [camera, camera], floor, fovs=[1.0, 1.0])
    outline, table, chair = (patch for patch in axes.patches if isinstance(patch, Polygon))
    np.testing.assert_allclose(outline.get_xy()[:4], floor)
    np.testing.assert_allclose(table.get_xy().min(0), [0.5, 1.0])  # turned: its length runs along y
    np.testing.assert_allclose(table.get_xy().max(0), [1.5, 3.0])
    np.testing.assert_allclose(chair.get_xy().max(0), [3.25, 2.25])
    assert table.get_facecolor() != chair.get_facecolor()
    wedges = [patch for patch in axes.patches if isinstance(patch, Wedge)]
    assert wedges[0].theta1 == pytest.approx(-np.degrees(0.5))
    assert wedges[0].theta2 == pytest.approx(np.degrees(0.5))
    words = {text.get_text() for text in axes.texts}
    assert {"table", "chair", "1, 2"} <= words


def test_predictions_can_be_drawn_hollow() -> None:
    axes = Figure().subplots()
    draw_plan(axes, [TABLE], [], outline="red")
    (patch,) = (patch for patch in axes.patches if isinstance(patch, Polygon))
    assert patch.get_facecolor()[3] == 0


def test_a_depth_map_without_a_known_pixel_can_be_drawn() -> None:
    axes = Figure().subplots()
    image = draw_depth(axes, np.zeros((4, 6), np.float32))
    assert image.get_array().mask.all()
    measured = draw_depth(axes, np.array([[0, 1.0], [2.0, 3.0]]), near=0.0, far=4.0)
    assert measured.get_clim() == (0.0, 4.0)


def test_a_scan_is_drawn(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", frames=3)
    draw_scene(open_scene(folder), tmp_path / "seen.png")
    write_annotation(folder)
    draw_scene(open_scene(folder), tmp_path / "marked.png", views=1)
    for name in ("seen.png", "marked.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 5


def test_photos_are_drawn_without_a_plan(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "1.jpg")
    draw_scene(open_scene(photo), tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").stat().st_size > 1000


def test_names_are_not_read_as_formulas(tmp_path: Path) -> None:
    odd = r"$\frac$ $$"
    scene = open_scene(write_annotation(write_scan(tmp_path / odd, frames=1)))
    boxes = tuple(replace(box, label=odd) for box in scene.boxes)
    views = tuple(replace(view, name=odd) for view in scene.views)
    draw_scene(replace(scene, boxes=boxes, views=views), tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").stat().st_size > 1000


def test_unwritable_figures_are_refused(tmp_path: Path) -> None:
    scene = open_scene(write_photo(tmp_path / "1.jpg"))
    with pytest.raises(StorageError, match=r"written as \.png"):
        draw_scene(scene, tmp_path / "plan.txt")
    with pytest.raises(StorageError, match="cannot write"):
        draw_scene(scene, tmp_path / "1.jpg" / "plan.png")
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]
