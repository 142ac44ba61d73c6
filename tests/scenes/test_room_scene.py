"""Synthetic rooms: reproducible, well furnished, exactly annotated, with plausible cameras."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import back_project, inside_box, invert_rigid, is_rigid, project, transform_points
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.synthetic.cameras import CLEARANCE, clearance
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS, KINDS
from dollhouse.scenes.synthetic.layout import RoomLayout, footprint, gap
from dollhouse.scenes.synthetic.room_scene import room_layout, room_scene

ROOMS = range(12)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [room_scene("test", number) for number in ROOMS]


@pytest.fixture(scope="module")
def layouts() -> list[RoomLayout]:
    return [room_layout("train", number) for number in range(150)]


def same_boxes(a: tuple[Box, ...], b: tuple[Box, ...]) -> bool:
    return len(a) == len(b) and all(
        (x.label, x.colour, x.yaw) == (y.label, y.colour, y.yaw) and np.array_equal(x.center, y.center)
        for x, y in zip(a, b, strict=True)
    )


def test_a_room_is_a_pure_function_of_its_number() -> None:
    first, again = room_scene("train", 7), room_scene("train", 7)
    assert same_boxes(first.boxes, again.boxes)
    for a, b in zip(first.views, again.views, strict=True):
        assert np.array_equal(a.world_from_camera, b.world_from_camera)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.depth, b.depth)
        assert np.array_equal(a.instances, b.instances)


def test_splits_and_numbers_give_different_rooms() -> None:
    rooms = [room_scene(split, number).boxes for split in ("train", "validation", "test") for number in (0, 1)]
    assert not any(same_boxes(a, b) for a, b in combinations(rooms, 2))


def test_furniture_does_not_depend_on_the_views() -> None:
    assert same_boxes(room_scene("train", 3).boxes, room_scene("train", 3, image_size=56, views=2).boxes)


@pytest.mark.parametrize(("split", "number"), [("dev", 0), ("train", -1), ("train", 1.5), ("train", True)])
def test_unknown_rooms_are_refused(split: str, number: int) -> None:
    with pytest.raises(SceneError, match=r"train, validation, test|numbered 0, 1, 2"):
        room_scene(split, number)


@pytest.mark.parametrize("size", [{"views": 0}, {"image_size": 8}])
def test_unusable_view_sizes_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(SceneError, match="at least 1 view of at least 14 pixels"):
        room_scene("train", 0, **size)


def test_scenes_carry_their_metadata(scenes: list[Scene]) -> None:
    scene = scenes[3]
    assert scene.name == "rooms:test/3"
    assert scene.metadata["source"] == "rooms"
    assert (scene.metadata["split"], scene.metadata["number"]) == ("test", 3)
    assert scene.metadata["licence"] == "Apache-2.0"
    assert len(scene.metadata["floor"]) in (4, 6)
    assert scene.posed
    assert scene.has_depth
    assert scene.metric
    assert [box.id for box in scene.boxes] == list(range(1, len(scene.boxes) + 1))


def test_sizes_and_counts_are_in_the_catalogues_ranges(layouts: list[RoomLayout]) -> None:
    assert len(CATEGORIES) >= 18
    for layout in layouts:
        assert 5 <= len(layout.items) <= 14
        for item in layout.items:
            kind = KINDS[item.label]
            for value, (low, high) in zip(item.size, (kind.length, kind.width, kind.height), strict=True):
                assert low - 1e-9 <= value <= high + 1e-9, item
            assert item.colour in COLOURS
    assert {item.label for layout in layouts for item in layout.items} == set(CATEGORIES)
    pairs = sum(len({i.label for i in layout.items}) < len(layout.items) for layout in layouts)
    assert 0.3 < pairs / len(layouts) < 0.65


def test_colours_are_independent_of_the_category(layouts: list[RoomLayout]) -> None:
    for colour in COLOURS:
        labels = {item.label for layout in layouts for item in layout.items if item.colour == colour}
        assert len(labels) > 12


def test_nothing_interpenetrates(layouts: list[RoomLayout]) -> None:
    under = 0
    for layout in layouts:
        for a, b in combinations(layout.items, 2):
            if gap(a.footprint, b.footprint) >= 0:
                continue
            low, high = sorted((a, b), key=lambda item: item.centre[2])
            standing_on = low.centre[2] + 0.5 * low.size[2] <= high.centre[2] - 0.5 * high.size[2] + 1e-9
            if not standing_on:  # then the smaller stands between the legs of a table
                roof = next(item for item in (a, b) if item.label in ("table", "desk"))
                other = a if roof is b else b
                assert other.size[2] < roof.size[2] - 0.05
                assert gap(roof.footprint, other.footprint) < -min(other.size[:2])
                under += 1
    assert under > 10


def test_items_touch_or_are_clearly_apart(layouts: list[RoomLayout]) -> None:
    gaps = []
    for layout in layouts:
        on_floor = [item for item in layout.items if item.support < 0]
        under = [
            a
            for a in on_floor
            for b in on_floor
            if gap(a.footprint, b.footprint) < 0 and a.size[2] < b.size[2] and a is not b
        ]
        gaps += [
            gap(a.footprint, b.footprint) for a, b in combinations(on_floor, 2) if a not in under and b not in under
        ]
    touching = [g for g in gaps if 0 <= g <= 0.01]
    assert len(touching) > 40
    assert not [g for g in gaps if 0.01 < g < 0.149]


def test_items_stand_on_the_floor_or_on_another(layouts: list[RoomLayout]) -> None:
    on_top = 0
    for layout in layouts:
        for item in layout.items:
            bottom = item.centre[2] - 0.5 * item.size[2]
            if item.support < 0:
                assert bottom == pytest.approx(0.0, abs=1e-9)
                continue
            on_top += 1
            support = layout.items[item.support]
            assert KINDS[support.label].top
            assert bottom == pytest.approx(support.centre[2] + 0.5 * support.size[2])
    assert on_top > 150


def test_items_are_inside_the_walls(layouts: list[RoomLayout]) -> None:
    has_l_shape = False
    for layout in layouts:
        for item in layout.items:
            place = item.footprint
            for axis, direction in enumerate(((1.0, 0.0), (0.0, 1.0))):
                reach = place.reach(*direction)
                assert layout.low[axis] <= item.centre[axis] - reach
                assert item.centre[axis] + reach <= layout.high[axis]
            if layout.notch is not None:
                u0, v0, u1, v1 = layout.notch
                assert gap(footprint((u0 + u1) / 2, (v0 + v1) / 2, 0.0, u1 - u0, v1 - v0), place) > 0
                has_l_shape = True
            assert item.centre[2] + 0.5 * item.size[2] < layout.height
    assert has_l_shape


def test_categories_have_varied_supports(layouts: list[RoomLayout]) -> None:
    for label in ("lamp", "box", "plant", "vase", "ball", "bin", "pillow", "television"):
        supports = [
            layout.items[item.support].label if item.support >= 0 else "floor"
            for layout in layouts
            for item in layout.items
            if item.label == label
        ]
        assert 0.3 < supports.count("floor") / len(supports) < 0.85, label
        assert len(set(supports)) >= 3, label


def test_boxes_are_tight_around_visible_points(scenes: list[Scene]) -> None:
    """Back-projected pixels of an instance lie in its box and mostly reach its top."""
    reached = 0
    for scene in scenes:
        seen: dict[int, list[np.ndarray]] = {}
        for view in scene.views:
            points = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
            for id in np.unique(view.instances):
                if id:
                    seen.setdefault(int(id), []).append(points[view.instances == id])
        for id, clouds in seen.items():
            box, points = scene.box(id), np.concatenate(clouds)
            assert inside_box(points, box.center, box.size, box.yaw, margin=0.003).all(), box
            reached += bool(points[:, 2].max() > box.top - 0.03)
        assert set(seen) <= {box.id for box in scene.boxes}
    assert reached > 0.7 * sum(len(scene.boxes) for scene in scenes)


def test_every_ray_has_a_depth(scenes: list[Scene]) -> None:
    for scene in scenes:
        for view in scene.views:
            assert view.depth.dtype == np.float32
            assert (view.depth > 0.2).all()
            assert (view.depth < 12).all()


def test_points_are_between_floor_and_ceiling(scenes: list[Scene]) -> None:
    for scene in scenes:
        for view in scene.views:
            points = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
            assert points[..., 2].min() > -1e-4
            assert points[..., 2].max() < scene.metadata["height"] + 1e-4


def test_cameras_are_plausibly_handheld(scenes: list[Scene]) -> None:
    for number, scene in zip(ROOMS, scenes, strict=True):
        eyes = {tuple(view.world_from_camera[:3, 3]) for view in scene.views}
        assert 1 <= len(eyes) <= 3
        clear = clearance(room_layout("test", number), np.array(sorted(eyes))[:, :2])
        assert (clear > CLEARANCE).all()
        for view in scene.views:
            pose = view.world_from_camera
            assert is_rigid(pose, 1e-9)
            assert 1.45 <= pose[2, 3] <= 1.75
            assert -22.5 <= math.degrees(math.asin(pose[2, 2])) <= -7.5
            assert abs(math.degrees(math.asin(pose[2, 0]))) <= 1.0
            fov = 2 * math.degrees(math.atan(0.5 * view.image.shape[1] / view.intrinsics[0, 0]))
            assert 68 <= fov <= 76


def test_consecutive_views_overlap(scenes: list[Scene]) -> None:
    shares = []
    for scene in scenes:
        for view, other in zip(scene.views, scene.views[1:], strict=False):
            points = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
            pixels, z = project(transform_points(invert_rigid(other.world_from_camera), points), other.intrinsics)
            height, width = other.depth.shape
            inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < [width, height]).all(-1)
            column, row = pixels[inside].astype(int).T
            shares.append((np.abs(other.depth[row, column] - z[inside]) < 0.05 + 0.05 * z[inside]).sum() / z.size)
    assert min(shares) > 0.2  # occlusion reduces it
    assert np.quantile(shares, 0.1) > 1 / 3


def test_the_views_cover_most_items(scenes: list[Scene]) -> None:
    areas = [
        max(int((view.instances == box.id).sum()) for view in scene.views) for scene in scenes for box in scene.boxes
    ]
    assert np.mean(np.array(areas) >= 60) > 0.75


def test_views_are_rendered_on_first_access(monkeypatch: pytest.MonkeyPatch) -> None:
    import dollhouse.scenes.synthetic.room_scene as rooms

    calls = []
    original = rooms.render
    monkeypatch.setattr(rooms, "render", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    scene = room_scene("train", 1, image_size=42)
    assert not calls
    for view in scene.views:
        assert view.image.shape == (42, 42, 3)
        assert view.depth.shape == view.instances.shape == (42, 42)
    assert len(calls) == 1
