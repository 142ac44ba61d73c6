"""Pictures of scenes: contents of the plan, colours of depth, text, and atomic writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from dollhouse.errors import StorageError
from dollhouse.geometry import look_at
from dollhouse.scenes.drawing import depth_colours, font, text_picture, ticks
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.plan import CAMERA, PREDICTED, Canvas, draw_plan, place_labels
from dollhouse.scenes.scene import Box
from dollhouse.scenes.visualize import draw_scene, draw_views
from tests.scenes.fixture_scans import write_annotation, write_photo, write_scan

TABLE = Box(1, "table", np.array([1.0, 2.0, 0.4]), np.array([2.0, 1.0, 0.8]), np.pi / 2, colour="dark brown")
CHAIR = Box(2, "chair", np.array([3.0, 2.0, 0.5]), np.array([0.5, 0.5, 1.0]), 0.0, has_front=True, colour="blurple-ish")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Record what is drawn on canvases: arguments by method."""
    calls: dict[str, list[Any]] = {name: [] for name in ("area", "dashes", "camera", "finish")}

    def record(name: str) -> None:
        method = getattr(Canvas, name)

        def recording(self: Canvas, *arguments: Any) -> Any:
            calls[name].append(arguments)
            return method(self, *arguments)

        monkeypatch.setattr(Canvas, name, recording)

    for name in calls:
        record(name)
    return calls


def test_a_plan_has_boxes_in_place(drawn: dict[str, list[Any]]) -> None:
    floor = np.array([[0, 0], [5, 0], [5, 4], [0, 4]])
    camera = look_at(np.array([0.5, 0.5, 1.5]), np.array([3.0, 0.5, 1.0]))
    draw_plan([TABLE, CHAIR], [camera, camera], floor, fovs=[1.0, 1.2])
    (outline, _), (table, brown), (chair, grey), _arrow = drawn["area"]
    np.testing.assert_allclose(outline, floor)
    np.testing.assert_allclose(table.min(0), [0.5, 1.0])  # turned: its length runs along y
    np.testing.assert_allclose(table.max(0), [1.5, 3.0])
    np.testing.assert_allclose(chair.max(0), [3.25, 2.25])
    assert brown != grey
    assert [fov for _, fov in drawn["camera"]] == [1.0, 1.2]
    labels = {text: place for text, place, _ in drawn["finish"][0][0]}
    assert set(labels) == {"table", "chair", "1, 2"}
    np.testing.assert_allclose(labels["1, 2"], [0.5, 0.5])


def test_places_are_drawn_to_scale() -> None:
    canvas = Canvas(np.array([[0.0, 0.0], [4.0, 2.0], [np.nan, 9.0]]), 400)
    canvas.area([[1, 1], [3, 1], [3, 2], [1, 2]], "#ff0000")
    image = canvas.finish([], [])
    corner = np.array([44, 22])
    for place in [(1.1, 1.1), (2.9, 1.9), (1.1, 1.9)]:
        x, y = np.round(canvas.at(place) + corner).astype(int).tolist()
        assert image.getpixel((x, y)) == (255, 0, 0)
    for place in [(0.9, 1.1), (2.0, 0.9), (2.0, 2.1)]:  # y points up
        x, y = np.round(canvas.at(place) + corner).astype(int).tolist()
        assert image.getpixel((x, y)) == (255, 255, 255)


def test_cameras_look_ahead() -> None:
    canvas = Canvas(np.array([[-1.0, -1.0], [1.0, 1.0]]), 400)
    canvas.camera(look_at(np.array([0.0, 0.0, 1.5]), np.array([1.0, 1.0, 1.0])), np.pi / 3)
    image = canvas.finish([], [])

    def colour(x: float, y: float) -> tuple[int, ...]:
        column, row = np.round(canvas.at((x, y))).astype(int).tolist()
        return image.getpixel((column + 44, row + 22))

    white = (255, 255, 255)
    assert colour(0, 0) == tuple(bytes.fromhex(CAMERA[1:]))
    assert colour(0.5, 0.5) != white
    assert colour(0.15, 0.15) < colour(0.5, 0.5), "the near part is darker"
    for place in [(-0.3, -0.3), (0.5, -0.1), (-0.1, 0.5), (0.8, 0.8)]:
        assert colour(*place) == white


def test_predictions_can_be_drawn_hollow(drawn: dict[str, list[Any]]) -> None:
    draw_plan([], [], predicted=[TABLE])
    assert not drawn["area"]
    assert [colour for *_, colour in drawn["dashes"]] == [PREDICTED] * 4
    np.testing.assert_allclose(sorted(start.tolist() for start, _, _ in drawn["dashes"])[0], [0.5, 1.0])


def test_higher_points_hide_lower_ones() -> None:
    canvas = Canvas(np.array([[0.0, 0.0], [2.0, 2.0]]), 300)
    points = np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 0.0], [np.inf, 0.0, 3.0]])
    canvas.points(points, np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]))
    x, y = np.round(2 * canvas.at((1.0, 1.0))).astype(int).tolist()
    assert canvas.image.getpixel((x, y)) == (255, 50, 50)


def test_labels_do_not_overlap() -> None:
    frame, anchor = np.array([500, 500]), np.array([470.0, 250.0])
    texts, camera = [f"television {number}" for number in range(25)], np.array([420.0, 250.0])
    placed = place_labels(texts, [anchor] * len(texts), frame, [camera])
    halves = [np.array([font(12).getlength(text) / 2, 6]) for text in texts]
    for number, (middle, half) in enumerate(zip(placed, halves, strict=True)):
        assert (middle - half >= 0).all()
        assert (middle + half <= frame).all()
        assert (np.abs(middle - camera) >= half).any()
        for other, size in zip(placed[:number], halves, strict=False):
            assert (np.abs(middle - other) >= half + size).any()


def test_depth_has_the_colours_of_turbo() -> None:
    depth = np.linspace(1.0, 5.0, 200).reshape(10, 20)
    expected = colormaps["turbo_r"]((depth - 1) / 4)[..., :3] * 255
    assert np.abs(depth_colours(depth, 1.0, 5.0) - expected).max() < 8
    assert depth_colours(np.array([0.0, 9.0, 0.5]), 1.0, 5.0).tolist() == [[228] * 3, [48, 18, 59], [122, 4, 3]]


@pytest.mark.parametrize("depth", [np.zeros((4, 6)), np.full((4, 6), 2.0)])
def test_a_depth_map_without_a_range_can_be_drawn(depth: np.ndarray) -> None:
    photos = [np.zeros((4, 6, 3), np.uint8), np.zeros((9, 3, 3), np.uint8)]
    drawn = draw_views(photos, ["a", "b"], {"depth": [depth, None]})
    bare = draw_views(photos, ["a", "b"], {"depth": [None, None]})
    assert drawn.width == bare.width
    assert drawn.height > bare.height + 420


def test_ticks_are_round() -> None:
    assert ticks(0.9, 5.2, 8) == [1, 2, 3, 4, 5]
    assert ticks(-0.31, 0.29, 8) == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2])
    assert ticks(-3e6, 3e6, 4) == [-2e6, 0, 2e6]


def test_text_fits_its_width() -> None:
    def ink(picture: Image.Image) -> int:
        return int((np.asarray(picture) < 250).any((0, 2)).nonzero()[0].max())

    line = text_picture("short", 14, 200)
    for text in ("many short words " * 20, "x" * 300, "caf\udce9\n\x1b[31m " * 30):
        wrapped, single = text_picture(text, 14, 200), text_picture(text, 14, 200, single=True)
        assert wrapped.height > 2 * line.height
        assert single.height == line.height
        assert 150 < ink(wrapped) < 200
        assert 150 < ink(single) < 200
    assert text_picture("", 14, 200).size == line.size


def test_the_font_has_the_letters_of_europe() -> None:
    missing = bytes(font(20).getmask("\U000fffff"))
    for letter in "ÄÖÜäöüßéèêçñåøłőğş¿–—„“…€×²→·ΩжЯ":
        assert bytes(font(20).getmask(letter)) != missing, letter


def test_a_scan_is_drawn(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", frames=3)
    draw_scene(open_scene(folder), tmp_path / "seen.png")
    write_annotation(folder)
    draw_scene(open_scene(folder), tmp_path / "marked.png", views=1)
    for name in ("seen.png", "marked.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 600
            assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize(("suffix", "kind"), [("pdf", b"%PDF"), ("jpg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_photos_are_drawn_without_a_plan(tmp_path: Path, suffix: str, kind: bytes) -> None:
    photo = write_photo(tmp_path / "1.jpg")
    draw_scene(open_scene(photo), tmp_path / f"plan.{suffix}")
    assert (tmp_path / f"plan.{suffix}").read_bytes().startswith(kind)


def test_names_are_not_read_as_formulas(tmp_path: Path) -> None:
    odd = r"$\frac$ $$ [b]" + "é" * 60
    scene = open_scene(write_annotation(write_scan(tmp_path / odd, frames=1)))
    boxes = tuple(replace(box, label=odd) for box in scene.boxes)
    views = tuple(replace(view, name=odd) for view in scene.views)
    draw_scene(replace(scene, boxes=boxes, views=views), tmp_path / "plan.png")
    assert (tmp_path / "plan.png").stat().st_size > 1000


def test_unwritable_pictures_are_refused(tmp_path: Path) -> None:
    scene = open_scene(write_photo(tmp_path / "1.jpg"))
    with pytest.raises(StorageError, match=r"written as \.png"):
        draw_scene(scene, tmp_path / "plan.svg")
    with pytest.raises(StorageError, match="cannot write"):
        draw_scene(scene, tmp_path / "1.jpg" / "plan.png")
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]
