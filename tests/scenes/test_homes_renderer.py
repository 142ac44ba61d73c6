"""Tests of the renderer of homes: textures at the right pixels, mirrors, shadows, determinism, photo effects."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import numpy as np
import pytest

pytest.importorskip("embreex")

from dollhouse.geometry import intrinsics_from_fov
from dollhouse.scenes.synthetic.homes import renderer as renderer_module
from dollhouse.scenes.synthetic.homes import textures
from dollhouse.scenes.synthetic.homes.layout import WALL, Home, HomeCamera, HomeMesh, Item, Opening, Surface
from dollhouse.scenes.synthetic.homes.lights import Lamp, Window
from dollhouse.scenes.synthetic.homes.palette import LINEAR_FROM_SRGB, TextureAtlas
from dollhouse.scenes.synthetic.homes.photo_effects import PhotoEffects, apply_effects, sample_effects
from dollhouse.scenes.synthetic.homes.renderer import HomeRenderer
from dollhouse.scenes.synthetic.raycast import Caster, corner_normals

SIDE, HEIGHT = 4.0, 2.5
OUTLINE = ((0.0, 0.0), (SIDE, 0.0), (SIDE, SIDE), (0.0, SIDE))


def quad(a, b, c, d):  # type: ignore[no-untyped-def]
    return np.array([[a, b, c], [a, c, d]], dtype=np.float32)


UNIT = quad((0, 0), (1, 0), (1, 1), (0, 1))


def box_room(wall: str, seed: int = 3) -> tuple[Home, HomeMesh]:
    """Build a room with a window at x = SIDE, and an upright unit square of role ``wall`` at x = 0.01, facing +x."""
    lower, upper = 0.8, 2.0
    floor = quad((0, 0, 0), (SIDE, 0, 0), (SIDE, SIDE, 0), (0, SIDE, 0))
    walls = [
        quad((*a, 0), (*b, 0), (*b, HEIGHT), (*a, HEIGHT))
        for a, b in zip(OUTLINE, OUTLINE[1:] + OUTLINE[:1], strict=True)
    ]
    window = quad((SIDE - 0.01, 1, lower), (SIDE - 0.01, 3, lower), (SIDE - 0.01, 3, upper), (SIDE - 0.01, 1, upper))
    square = quad((0.01, 1.5, 0.5), (0.01, 2.5, 0.5), (0.01, 2.5, 1.5), (0.01, 1.5, 1.5))
    parts = [floor, floor + np.array([0, 0, HEIGHT], np.float32), *walls, window, square]
    roles = ["floor", "ceiling", "wall", "wall", "wall", "wall", "pane", wall]
    surfaces = tuple(Surface(role, (0.2, 0.7, 0.3), item={"pane": 0, wall: 1}.get(role, -1)) for role in roles)
    items = (
        Item("window", "window", (0.1, 2.0, 1.2), (SIDE, 2.0, 1.4), pi, WALL, 0),
        Item("picture", "picture", (0.02, 1.0, 1.0), (0.01, 2.0, 1.0), 0.0, WALL, 0),
    )
    camera = HomeCamera((2.0, 2.0, 1.0), pi, 0.0, 0.0, 1.0)
    home = Home(
        "living room", OUTLINE, HEIGHT, (Opening(1, 1.0, 3.0, lower, upper, 0),), items, (camera,), (4, 3), seed
    )
    ids = np.repeat(np.arange(len(parts), dtype=np.int32), 2)
    mesh = HomeMesh(
        np.concatenate(parts),
        np.concatenate([UNIT] * len(parts)),
        np.maximum(ids - 5, 0).astype(np.int32),
        ids,
        surfaces,
    )
    return home, mesh


def test_a_textured_square_shows_its_texture_at_the_right_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    monkeypatch.setattr(textures, "picture", lambda rng: np.repeat(np.repeat(corners, 32, 0), 32, 1))
    home, mesh = box_room("picture")
    view = HomeRenderer(home, mesh)
    # The square is a metre wide, two metres away: it spans the middle half of the image.
    camera, size = home.cameras[0], 84
    intrinsics = intrinsics_from_fov(2 * np.arctan(0.5), size, size)
    image = view.radiance(camera.world_from_camera, intrinsics, size, size)
    for row, column, rgb in ((0.35, 0.35, corners[0, 0]), (0.35, 0.65, corners[0, 1]), (0.65, 0.35, corners[1, 0])):
        pixel = image[round(row * size), round(column * size)]
        shown = pixel / pixel.max() > 0.35
        np.testing.assert_array_equal(shown, rgb > 0)


def test_texture_coordinates_give_exact_texels_and_reduced_copies_their_mean() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    atlas = TextureAtlas([np.zeros((2, 2, 3), np.uint8), texture])
    row, column = np.mgrid[0:8, 0:4]
    u, v = ((column + 0.5) / 4).ravel(), ((7.5 - row) / 8).ravel()  # v upwards
    number = np.ones(32, np.int32)
    exact = atlas.look_up(number, (u + 3).astype(np.float32), (v - 2).astype(np.float32), number * 0)
    np.testing.assert_array_equal(exact, texture.reshape(-1, 3))
    mean = atlas.look_up(number[:1], np.zeros(1, np.float32), np.zeros(1, np.float32), number[:1] * 9)
    np.testing.assert_allclose(mean[0], texture.mean((0, 1)), atol=3)


def test_a_mirror_shows_what_lies_behind_the_camera() -> None:
    home, mesh = box_room("mirror")
    view = HomeRenderer(home, mesh)
    camera = home.cameras[0]
    pose, intrinsics = camera.world_from_camera, camera.intrinsics(84, 63)
    mirrored = view.radiance(pose, intrinsics, 84, 63)[31, 42]
    # What is seen from the mirrored eye, through the mirror: the window on the other wall, here straight ahead.
    directions = np.array([[1.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(mirrored, 0.9 * view.lights.outside(directions)[0], rtol=0.35)


def test_shadows_are_where_a_lamp_is_hidden() -> None:
    plate = quad((-0.5, -0.5, 1), (0.5, -0.5, 1), (0.5, 0.5, 1), (-0.5, 0.5, 1))
    ground = quad((-5, -5, 0), (5, -5, 0), (5, 5, 0), (-5, 5, 0))
    lamp = Lamp(np.array([0, 0, 2], np.float32), 0.0, 0.02, np.ones(3, np.float32))
    home, mesh = box_room("picture")
    lights = HomeRenderer(home, mesh).lights
    lights = type(lights)((lamp,), (), lights.panorama, None, lights.sun_power, lights.lamp_glow, lights.mean)
    points = np.array([[0, 0, 0], [0.9, 0, 0], [1.1, 0, 0]], np.float32)
    up = np.tile(np.array([[0, 0, 1]], np.float32), (3, 1))
    light = lights.direct(points, up, Caster(np.concatenate([plate, ground])), None)[:, 0]
    assert light[0] == light[1] == 0
    distance = np.sqrt(4 + 1.1**2)
    assert light[2] == pytest.approx(2 / distance / (distance**2 + 0.03), rel=0.02)


def test_the_light_of_a_distant_window_follows_its_solid_angle() -> None:
    axis = np.eye(3, dtype=np.float32)
    window = Window(np.array([0, 0, 0], np.float32), 0.1 * axis[1], 0.1 * axis[2], axis[0], np.ones(3, np.float32))
    away = np.array([[-3.0, 0, 0]], np.float32)
    assert window.strength(away, np.array([9.0], np.float32))[0] == pytest.approx(0.04 / np.pi / 9, rel=0.01)


def test_edges_of_boxes_stay_sharp_and_round_surfaces_become_smooth() -> None:
    turn = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    sides = [quad((*a, 0), (*b, 0), (*b, 1), (*a, 1)) for a, b in pairwise(ring)]
    round_normals = corner_normals(np.concatenate(sides), np.zeros(48, np.int32))
    radial = np.concatenate(sides)[..., :2]
    np.testing.assert_allclose(round_normals[..., :2], radial, atol=0.07)
    box = np.concatenate(
        [quad((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)), quad((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0))]
    )
    sharp = corner_normals(box, np.zeros(4, np.int32))
    np.testing.assert_allclose(np.abs(sharp).max(-1), 1)


def test_photos_are_a_pure_function_of_home_and_seed() -> None:
    first, again = (HomeRenderer(*box_room("picture")).photo(0, 84, 63) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (63, 84, 3)
    other = HomeRenderer(*box_room("picture", seed=4)).photo(0, 84, 63)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("seed", range(8))
def test_photo_effects_keep_shape_and_brightness(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.repeat(rng.uniform(0.02, 1.5, (7, 9, 3)).astype(np.float32), 9, 0), 9, 1)
    for scale in (0.1, 10):
        photo = apply_effects(
            np.float32(scale) * scene, sample_effects(np.random.default_rng(seed)), np.random.default_rng(1)
        )
        assert photo.shape == scene.shape
        assert photo.dtype == np.uint8
        assert 50 < photo.mean() < 215


def test_motion_blur_does_not_move_the_picture() -> None:
    scene = np.full((31, 31, 3), 0.1, np.float32)
    scene[15, 15] = 1
    photo = apply_effects(scene, PhotoEffects(motion=(2.0, -2.0)), np.random.default_rng(0)).astype(float)
    light = photo.sum(2) - photo.sum(2)[0, 0]
    rows, columns = np.indices(light.shape)
    assert (rows * light).sum() / light.sum() == pytest.approx(15, abs=0.05)
    assert (columns * light).sum() / light.sum() == pytest.approx(15, abs=0.05)


def test_linear_values_follow_the_srgb_standard() -> None:
    assert LINEAR_FROM_SRGB[[0, 255]].tolist() == [0, 1]
    assert LINEAR_FROM_SRGB[188] == pytest.approx(0.503, abs=0.001)


def test_interpolated_light_stays_on_its_surface() -> None:
    """A dark wall beside a bright floor: no light leaks from the floor's grid points to the wall's pixels."""
    width, height = 8, 8
    points = np.zeros((height, width, 3), np.float32)
    points[..., 0], points[..., 1] = np.meshgrid(np.arange(width), np.arange(height))
    normals = np.zeros_like(points)
    normals[:4, :, 2], normals[4:, :, 1] = 1, -1
    points[4:, :, 2] = np.arange(1, 5)[:, None]
    light = np.where(normals[1::2, 1::2, 2:] > 0, np.float32(1), np.float32(0))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    flat = points.reshape(-1, 3), normals.reshape(-1, 3)
    result = renderer_module._interpolate(
        light, *flat, np.ones(64, np.float32), points[1::2, 1::2].reshape(-1, 3), normals[1::2, 1::2].reshape(-1, 3),
        x.ravel(), y.ravel(), (4, 4),
    ).reshape(height, width)  # fmt: skip
    np.testing.assert_allclose(result[:4], 1, atol=0.01)
    np.testing.assert_allclose(result[4:], 0, atol=0.03)
