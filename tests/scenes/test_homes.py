"""Tests of made homes: labels, overlaps, supports, cameras, splits of pieces, depth and determinism."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from itertools import combinations
from math import degrees
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")

from dollhouse.errors import SceneError
from dollhouse.geometry import back_project, inside_box, transform_points
from dollhouse.scenes.labels import default_labels
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.pose_checks import require_consistent
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.scenes.synthetic.homes import catalogue
from dollhouse.scenes.synthetic.homes.cameras import CLEARANCE, is_free
from dollhouse.scenes.synthetic.homes.catalogue import entries, installed_pieces
from dollhouse.scenes.synthetic.homes.furnishing import kinds
from dollhouse.scenes.synthetic.homes.home_scene import home_scene, sample_home
from dollhouse.scenes.synthetic.homes.layout import Home, image_shape
from dollhouse.scenes.synthetic.homes.models import load_model
from dollhouse.scenes.synthetic.homes.paint import clear_name, shades
from dollhouse.scenes.synthetic.homes.procedural import BUILDERS
from dollhouse.scenes.synthetic.homes.rooms import programmes, small_items
from dollhouse.scenes.synthetic.layout import gap
from dollhouse.scenes.synthetic.sweethome import installed_libraries

installed = pytest.mark.skipif(not installed_libraries(), reason="needs Debian's sweethome3d-furniture")
HOMES = 40


@cache
def homes() -> list[Home]:
    return [sample_home("train", number, views=3) for number in range(HOMES)]


def test_tables_name_default_labels_and_known_kinds() -> None:
    labels = set(default_labels())
    assert {label for label, _ in entries()} <= labels
    assert {label for label, _ in kinds()} == labels
    for (label, role), options in kinds().items():
        for kind in options:
            assert kind.model in BUILDERS or (kind.model == "piece" and (label, role) in entries())
            assert set(kind.paints) <= {*COLOURS, "own"}
            assert kind.model == "piece" or "own" not in kind.paints
    made = {
        (label, role) for rows in programmes().values() for _, _, label, role, _ in rows if label and label != "bed"
    }
    assert made | {key for _, weights in small_items().values() for key in weights} <= set(kinds())


def test_each_colour_has_shades_that_bear_its_name() -> None:
    assert set(shades()) == set(COLOURS)
    assert all(clear_name(rgb) == name for name, options in shades().items() for rgb in options)


def test_a_fifth_of_each_larger_group_is_held_out() -> None:
    for group in entries().values():
        held_out = sum(entry.held_out for entry in group)
        assert held_out == (len(group) // 5 + 1 if len(group) >= catalogue.FEWEST_TO_HOLD_OUT else 0)
        assert held_out < len(group)


def test_image_shapes_are_whole_patches() -> None:
    assert [image_shape(aspect, 252) for aspect in ((4, 3), (3, 4), (1, 1))] == [(252, 182), (182, 252), (252, 252)]


@installed
def test_all_labels_appear() -> None:
    missing = set(default_labels()) - {"piano", "printer", "bench"}  # rare
    for number in range(100):
        missing -= {item.label for item in sample_home("train", number, views=1).items}
        if not missing:
            break
    assert not missing


@installed
def test_training_never_uses_held_out_pieces() -> None:
    held_out = {entry.id for group in entries().values() for entry in group if entry.held_out}
    assert not held_out & {item.model for home in homes() for item in home.items}
    assert held_out & {item.model for number in range(8) for item in sample_home("test", number, views=1).items}


@installed
def test_items_do_not_overlap_deeply() -> None:
    for home in homes():
        for a, b in combinations(range(len(home.items)), 2):
            first, second = home.items[a], home.items[b]
            if {first.label, second.label} & {"window", "door", "rug", "curtain", "sink", "picture"}:
                continue
            if {first.label, second.label} & {"chair", "office chair", "stool", "bench", "computer", "table"}:
                continue  # pushed under tables
            if b == first.support or a == second.support:
                continue
            shared = min(first.top, second.top) - max(first.bottom, second.bottom)
            assert shared < 0.03 or gap(first.footprint, second.footprint) > -0.03, (first, second)


@installed
def test_supports_hold() -> None:
    for home in homes():
        for item in home.items:
            if item.support >= 0:
                below = home.items[item.support]
                assert below.bottom - 0.01 <= item.bottom <= below.top + 0.01 or item.label in ("counter", "sink")
                assert gap(item.footprint, below.footprint) < 0.0 or item.label == "counter"
            elif item.support == -1:
                assert item.bottom == pytest.approx(0.0, abs=1e-9)
            assert item.bottom > -0.01
            assert item.top < home.height + 0.02


@installed
def test_cameras_are_those_of_phones() -> None:
    for home in homes():
        for camera in home.cameras:
            assert is_free(camera.eye, home.outline, home.items)
            assert 0.4 < camera.eye[2] < 2.1
            assert 38 < degrees(camera.fov) < 99
            assert -36 < degrees(camera.pitch) < 11
            assert abs(degrees(camera.roll)) <= 5
    assert CLEARANCE >= 0.3


@installed
def test_depth_shows_the_boxes() -> None:
    scene = home_scene("validation", 2, image_size=126, views=2)
    assert scene.boxes is not None
    shares = []
    for view in scene.views:
        depth, instances, intrinsics, pose = view.depth, view.instances, view.intrinsics, view.world_from_camera
        assert depth is not None
        assert instances is not None
        assert intrinsics is not None
        assert pose is not None
        assert depth.shape == instances.shape
        assert depth.min() > 0.25
        points = transform_points(pose, back_project(depth, intrinsics))
        for box in scene.boxes:
            own = instances == box.id
            if own.sum() > 20:
                shares.append(inside_box(points[own], box.center, box.size, box.yaw, 0.03).mean())
    assert len(shares) > 4
    assert min(shares) > 0.98


@installed
def test_homes_depend_on_split_and_number_only() -> None:
    sample_home("train", 1)
    assert sample_home("train", 0) == sample_home("train", 0)
    assert sample_home("train", 0) != sample_home("test", 0)
    scene = open_scenes("homes:train/3-4")[1]
    assert scene.name == "homes:train/4"
    assert all(piece["creator"] and piece["licence"] for piece in scene.metadata["furniture"])
    assert all(box.colour in (None, *COLOURS) for box in scene.boxes or ())


@installed
def test_wrong_names_are_refused() -> None:
    with pytest.raises(SceneError, match="no split 'dev' of homes"):
        home_scene("dev", 0)
    with pytest.raises(SceneError, match="numbered"):
        home_scene("train", -1)


def test_missing_libraries_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "installed_libraries", list)
    catalogue.installed_pieces.cache_clear()
    with pytest.raises(SceneError, match="apt-get install sweethome3d-furniture"):
        home_scene("train", 0)


@installed
def test_made_homes_give_targets_unchecked() -> None:
    """The views of homes:test/2 overlap in clutter only, where depth of the nearest pixel is of another object."""
    require_consistent(home_scene("test", 2))


@installed
def test_a_damaged_cached_model_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    piece = min(installed_pieces(), key=lambda id: len(id))
    read = load_model.__wrapped__
    built = read(piece)
    [path] = (tmp_path / "dollhouse/models").glob("*.npz")
    path.write_bytes(path.read_bytes()[:500])
    for model in (read(piece), read(piece)):  # built again, then read
        assert [asdict(each) for each in model.materials] == [asdict(each) for each in built.materials]
        assert np.array_equal(model.triangles, built.triangles)
