"""The ray caster against analytic geometry, and every furniture builder against its box."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from dollhouse.geometry import intrinsics_from_fov, look_at
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS, KINDS, sample_size
from dollhouse.scenes.synthetic.layout import Item, RoomLayout
from dollhouse.scenes.synthetic.materials import Lighting, Material
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.render import OBJECT, Meshes, Rendering, render

PLAIN = Material("plain", (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
LIGHT = Lighting((0.0, 0.0, 2.4), (0.6, 0.6, 0.6), (0.5, 0.5, 0.5))
SIZE = 64
INTRINSICS = intrinsics_from_fov(np.radians(70), SIZE, SIZE)


def room(*items: Item, light: Lighting = LIGHT) -> RoomLayout:
    corners = ((-3.0, -2.5), (3.0, -2.5), (3.0, 2.5), (-3.0, 2.5))
    return RoomLayout(corners[0], corners[2], 2.6, None, corners, items, PLAIN, PLAIN, light)


def item(label: str, size: tuple[float, float, float], yaw: float = 0.0, colour: str = "red") -> Item:
    return Item(label, colour, size, (0.0, 0.0, 0.5 * size[2]), yaw, variant=5)


def render_layout(layout: RoomLayout, eye: tuple[float, float, float], target: tuple[float, float, float]) -> Rendering:
    pose = look_at(np.array(eye), np.array(target))
    return render(room_meshes(layout), layout.lighting, pose[None], INTRINSICS, SIZE, SIZE)


def test_depth_of_a_perpendicular_wall_is_its_distance() -> None:
    rendering = render_layout(room(), (0.0, 0.0, 1.3), (3.0, 0.0, 1.3))
    middle = rendering.depths[0, SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 2 - 8 : SIZE // 2 + 8]
    np.testing.assert_allclose(middle, 3.0, rtol=1e-6)


def test_depth_goes_through_pixel_centres() -> None:
    """On the floor, z-depth depends on the camera height and the pixel row only."""
    rendering = render_layout(room(), (-2.0, 0.0, 1.5), (1.0, 0.0, 1.5))
    rows = np.arange(SIZE - 10, SIZE)
    expected = 1.5 * INTRINSICS[1, 1] / (rows + 0.5 - INTRINSICS[1, 2])
    np.testing.assert_allclose(rendering.depths[0, rows, SIZE // 2], expected, rtol=1e-6)


def test_depth_and_instance_of_a_box() -> None:
    box = item("wardrobe", (0.5, 1.0, 2.0))
    # From behind, where nothing protrudes: the plane x = -0.25.
    rendering = render_layout(room(box), (-2.25, 0.0, 1.0), (0.0, 0.0, 1.0))
    assert rendering.instances[0, SIZE // 2, SIZE // 2] == 1
    assert rendering.depths[0, SIZE // 2, SIZE // 2] == pytest.approx(2.0, rel=1e-6)
    columns = np.flatnonzero(rendering.instances[0, SIZE // 2])
    expected = np.flatnonzero(np.abs((np.arange(SIZE) + 0.5 - INTRINSICS[0, 2]) * 2.0 / INTRINSICS[0, 0]) < 0.5)
    assert np.array_equal(columns, expected)


def test_a_ray_that_hits_nothing_has_no_depth() -> None:
    triangle = np.array([[[2.0, -0.1, 1.0], [2.0, 0.1, 1.0], [2.0, 0.0, 1.2]]], dtype=np.float32)
    meshes = Meshes(
        triangle,
        np.ones((1, 3), dtype=np.float32),
        np.array([4], dtype=np.int32),
        np.array([OBJECT], dtype=np.uint8),
        PLAIN,
        PLAIN,
    )
    pose = look_at(np.array([0.0, 0.0, 1.1]), np.array([1.0, 0.0, 1.1]))
    rendering = render(meshes, LIGHT, pose[None], INTRINSICS, SIZE, SIZE)
    missed = rendering.depths[0] == 0
    assert 0 < (~missed).sum() < 60
    assert (rendering.instances[0][missed] == 0).all()
    assert (rendering.instances[0][~missed] == 4).all()
    assert (rendering.images[0][missed] == 0).all()


def test_items_cast_shadows() -> None:
    table = Item("table", "white", (1.0, 1.0, 0.7), (0.0, 0.0, 0.35), 0.0, variant=1)
    bare = render_layout(room(), (-2.5, 0.0, 1.5), (0.0, 0.0, 0.0))
    shaded = render_layout(room(table), (-2.5, 0.0, 1.5), (0.0, 0.0, 0.0))
    floor = (shaded.instances[0] == 0) & (bare.depths[0] == shaded.depths[0])
    darker = floor & (shaded.images[0].sum(-1) < 0.8 * bare.images[0].sum(-1))
    assert darker.sum() > 20
    assert not (floor & (shaded.images[0].sum(-1).astype(int) > bare.images[0].sum(-1).astype(int))).any()


@pytest.mark.parametrize("label", CATEGORIES)
def test_parts_fill_their_box_exactly(label: str) -> None:
    rng = Random(label)
    for variant in range(6):
        size = sample_size(rng, label)
        assert size is not None
        placed = Item(label, "green", size, (0.2, -0.3, 1.0), 0.7, variant)
        meshes = room_meshes(room(placed))
        points = meshes.triangles[meshes.instances == 1].reshape(-1, 3) - np.array(placed.centre)
        cos, sin = np.cos(placed.yaw), np.sin(placed.yaw)
        own = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        np.testing.assert_allclose(own.max(0), 0.5 * np.array(size), atol=1e-5)
        np.testing.assert_allclose(own.min(0), -0.5 * np.array(size), atol=1e-5)


@pytest.mark.parametrize("label", [label for label in CATEGORIES if KINDS[label].has_front])
def test_front_and_back_look_different(label: str) -> None:
    kind = KINDS[label]
    size = tuple(0.5 * (low + high) for low, high in (kind.length, kind.width, kind.height))
    bright = Lighting((0.0, 0.0, 2.5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    faces = []
    for yaw in (0.0, np.pi):
        rendering = render_layout(room(item(label, size, yaw), light=bright), (2.4, 0.0, 1.6), (0.0, 0.0, 0.4))
        mask = rendering.instances[0] == 1
        assert mask.sum() > 60
        faces.append(np.where(mask[..., None], rendering.images[0], 0).astype(int))
    different = np.abs(faces[0] - faces[1]).max(-1) > 25
    assert different.sum() > 0.08 * (faces[0].max(-1) > 0).sum()


def test_items_have_their_colour() -> None:
    """Relative to a white item in the same light, every colour is that of the catalogue."""

    def median_colour(colour: str) -> np.ndarray:
        rendering = render_layout(room(item("table", (1.0, 1.0, 0.5), 0.0, colour)), (1.8, 0.3, 1.7), (0.0, 0.0, 0.5))
        return np.median(rendering.images[0][rendering.instances[0] == 1], axis=0)

    white = median_colour("white") / COLOURS["white"]
    for colour, rgb in COLOURS.items():
        np.testing.assert_allclose(median_colour(colour) / white, rgb, atol=0.05)
