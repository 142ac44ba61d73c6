"""3D-FRONT houses: rooms are named, filtered and rendered, boxes fit the models, and bad entries are left out."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import inside_box, project, transform_points
from dollhouse.questions.answer_balance import rooms_balance
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene
from tests.scenes.fixture_front3d import HOUSE, IDENTITY, house_content, piece, write_house, write_model

BEDROOM = "#MasterBedroom-1"
LIVING_ROOM = "#LivingRoom-360"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_house(tmp_path_factory.mktemp("front3d"))


@pytest.fixture(scope="module")
def bedroom(house: Path) -> Scene:
    return open_scene(f"{house}{BEDROOM}")


def edited(tmp_path: Path, **fields: Any) -> str:
    """Write the house with its first bedroom piece changed, and return the bedroom's name."""
    content = house_content()
    content["scene"]["room"][0]["children"][0] |= fields
    return f"{write_house(tmp_path, content)}{BEDROOM}"


def test_rooms_of_a_house_and_of_a_folder_are_scenes(house: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{HOUSE}#MasterBedroom-1", f"{HOUSE}#LivingRoom-360"]
    assert [scene.name for scene in open_scenes(house, frames=1)] == names
    broken = house.with_name(f"{HOUSE[:-1]}0.json")
    house.with_name("notes.txt").touch()
    broken.write_text('{"uid": "broken", "furniture": []')
    with caplog.at_level(logging.WARNING):
        scenes = open_scenes(house.parent, frames=2)
    broken.unlink()
    assert re.search(r"left out: .*0\.json: is not JSON", caplog.text)
    assert "2 rooms; not used: 1 .txt file (notes.txt)" in caplog.text
    assert [str(key) for key in scenes.keys] == [f"{house}{BEDROOM}", f"{house}{LIVING_ROOM}"]
    assert [len(scene.views) for scene in scenes] == [2, 2]
    assert open_scenes(house.parent.parent).keys == scenes.keys  # the folder of models is no scene
    assert [scene.name for scene in open_scenes(f"{house}{LIVING_ROOM}", frames=1)] == names[1:]
    Image.new("RGB", (64, 64)).save(photo := house.with_name("photo.png"))
    for path in (house, house.parent):
        with pytest.raises(SceneError, match=r"holds 2 rooms; give one of them, such as .*json#MasterBedroom-1"):
            open_scene(path, skip_bad=True)
    photo.unlink()


def test_unusable_rooms_have_a_reason(house: Path, bedroom: Scene) -> None:
    assert bedroom.metadata["filtered_rooms"] == {
        "Hallway-7": "pieces of furniture: 1, not 2 to 300",
        "Library-8": "a scale not between 1e-05 and 5",
    }
    for room, message in (("Hallway-7", "pieces of furniture: 1"), ("Attic-9", "is not a usable room")):
        with pytest.raises(SceneError, match=message):
            open_scene(f"{house}#{room}")


def test_boxes_have_the_extents_and_fronts_of_the_models(bedroom: Scene) -> None:
    assert bedroom.boxes is not None
    assert [(box.label, box.has_front) for box in bedroom.boxes] == [
        ("bed", True), ("nightstand", True), ("nightstand", True), ("lamp", False),
    ]  # fmt: skip
    bed, left, right, lamp = bedroom.boxes
    np.testing.assert_allclose(bed.size, [2.1, 1.8, 0.6], atol=1e-6)
    np.testing.assert_allclose(bed.center, [0.0, 0.9, 0.3], atol=1e-6)
    np.testing.assert_allclose(bed.front, [0, -1, 0], atol=1e-6)  # z of the house is -y here
    np.testing.assert_allclose(right.size, [0.4, 0.5, 0.75], atol=1e-6)
    assert (left.center[0], right.center[0]) == pytest.approx((-1.3, 1.3))
    assert (lamp.bottom, lamp.top) == pytest.approx((2.5, 2.8))
    house_point = np.array([1.2, 0.0, 0.3])  # where the first nightstand stands
    np.testing.assert_allclose(
        transform_points(np.array(bedroom.metadata["world_from_source"]), house_point),
        [*left.center[:2], 0.0],
        atol=1e-6,
    )


def test_turned_models_face_where_their_quaternion_says(house: Path) -> None:
    scene = open_scene(f"{house}{LIVING_ROOM}", frames=2)
    assert scene.boxes is not None
    sofa, table = scene.boxes
    assert (sofa.label, sofa.yaw, table.label) == ("sofa", pytest.approx(0.0), "table")
    np.testing.assert_allclose(sofa.size, [0.9, 2.0, 0.8], atol=1e-6)
    assert (table.center - sofa.center)[:2] == pytest.approx([1.4, 0.0])  # the table stands in front of the sofa


def test_left_and_right_are_not_mirrored(bedroom: Scene) -> None:
    """Of two nightstands, the one at smaller x of the house is on the left for whoever looks along -z."""
    views = 0
    for view in bedroom.views:
        assert view.instances is not None
        assert view.world_from_camera is not None
        columns = [np.nonzero(view.instances == id)[1] for id in (2, 3)]
        if min(map(len, columns)) > 20 and view.world_from_camera[1, 2] > 0.5:
            assert columns[0].mean() < columns[1].mean()
            views += 1
        bed = view.instances == 1
        if bed.any():  # only its front, which faces the cameras here, is red
            red = (view.image[..., 0] > 100) & (view.image[..., 2] < 60) & bed
            blue = (view.image[..., 2] > 60) & (view.image[..., 0] < 60) & bed
            assert (red | blue).sum() > 0.9 * bed.sum()
    assert views


def test_views_agree_with_depth_boxes_and_poses(bedroom: Scene) -> None:
    check = bedroom.metadata["pose_check"]
    assert (check["agrees"], check["mistake"]) == (True, None)
    assert check["error"] < 0.01
    assert bedroom.metric
    assert bedroom.boxes is not None
    for view in bedroom.views:
        assert (view.depth is not None, view.instances is not None) == (True, True)
        assert view.image.shape == (252, 252, 3)
        assert (view.depth > 0).all()  # the room is closed
        assert (view.instances > 0).any()
        eye = view.world_from_camera[:3, 3]
        assert 1.4 < eye[2] < 1.8
        assert (np.abs(eye[:2]) < [2.5 - 0.3, 2.0 - 0.3]).all()
        assert not any(inside_box(eye[None], box.center, box.size, box.yaw, 0.3).any() for box in bedroom.boxes)
        bed = bedroom.boxes[0]
        if (view.instances == 1).any():
            rows, columns = np.nonzero(view.instances == 1)
            pixels, _ = project(transform_points(np.linalg.inv(view.world_from_camera), bed.corners), view.intrinsics)
            assert columns.min() >= pixels[:, 0].min() - 1
            assert rows.max() <= pixels[:, 1].max() + 1


def test_rooms_are_deterministic_wherever_they_lie(tmp_path: Path, bedroom: Scene) -> None:
    again = open_scene(f"{write_house(tmp_path)}{BEDROOM}")
    for view, other in zip(again.views, bedroom.views, strict=True):
        assert (view.image == other.image).all()
        assert (view.world_from_camera == other.world_from_camera).all()


def test_questions_are_asked(house: Path) -> None:
    questions = [
        question for scene in open_scenes(house) for question in generate_questions(scene, balance=rooms_balance())
    ]
    assert len(questions) > 40
    descriptions = {question.answer for question in questions if question.family == "description"}
    assert descriptions == {"a room with two nightstands and a bed.", "a room with a sofa and a table."}
    assert {"existence", "orientation", "proximity"} <= {question.family for question in questions}


def test_licence_and_what_is_left_out_are_stated(bedroom: Scene) -> None:
    assert "scientific research only" in bedroom.metadata["licence"]
    assert bedroom.metadata["skipped"] == ("1 x pieces whose model is not in 3D-FUTURE-model",)
    assert bedroom.metadata["unused"] == "2 pieces that are not valid"
    assert (bedroom.metadata["source"], bedroom.metadata["room"]) == ("3D-FRONT", "MasterBedroom-1")


def test_rooms_that_are_no_rectangles_have_cameras_on_their_floor(tmp_path: Path) -> None:
    """An L-shaped floor: a quarter of its bounds is missing."""
    content = house_content()
    floor = next(mesh for mesh in content["mesh"] if mesh["uid"] == "LivingRoom-360/floor")
    corners = [(10, 0), (10, 4), (12.5, 4), (12.5, 2), (15, 2), (15, 0)]
    floor["xyz"] = [value for x, z in corners for value in (x, 0.0, z)]
    floor["faces"] = [0, 1, 3, 1, 2, 3, 0, 3, 5, 3, 4, 5]
    content["scene"]["room"][1]["children"][:2] = [piece("sofa-1/model", 11, 3.4), piece("table-1/model", 14, 0.5)]
    scene = open_scene(f"{write_house(tmp_path, content)}{LIVING_ROOM}", frames=6)
    eyes = np.stack([view.world_from_camera[:3, 3] for view in scene.views if view.world_from_camera is not None])
    assert not ((eyes[:, 0] > -0.3) & (eyes[:, 1] < 0.3)).any()  # z of the house is -y here


def test_room_names_are_plain_names(tmp_path: Path) -> None:
    content = house_content()
    for room, name in zip(content["scene"]["room"], ("../x", "a#b", "LivingRoom-360", "LivingRoom-360"), strict=True):
        room["instanceid"] = name
    content["uid"] = "../../x"
    content["scene"]["room"][2]["children"] = content["scene"]["room"][0]["children"]
    (scene,) = open_scenes(write_house(tmp_path, content), frames=1)
    assert scene.name == f"{HOUSE}#LivingRoom-360"
    assert scene.metadata["filtered_rooms"] == {
        "'../x'": "its name is no plain name",
        "'a#b'": "its name is no plain name",
        "LivingRoom-360 (again)": "its name is used before",
    }


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"pos": [float("nan"), 0, 0]}, "1 x pieces with a position or rotation that is not finite"),
        ({"pos": [1e300, 0, 0]}, "1 x pieces with a position or rotation that is not finite"),
        ({"rot": [0, 0, 0, 0]}, "its quaternion is zero"),
        ({"rot": "upright"}, "1 x parts that cannot be used"),
        ({"pos": None}, "1 x parts that cannot be used"),
    ],
)
def test_one_bad_piece_is_left_out(tmp_path: Path, fields: dict[str, Any], fault: str) -> None:
    scene = open_scene(edited(tmp_path, **fields), frames=1)
    assert scene.boxes is not None
    assert [box.label for box in scene.boxes] == ["nightstand", "nightstand", "lamp"]
    assert any(fault in line for line in scene.metadata["skipped"])


def test_model_names_stay_in_their_folder(tmp_path: Path) -> None:
    content = house_content()
    content["furniture"][0]["jid"] = "../outside"
    write_model(tmp_path / "outside", (1, 1, 1))
    scene = open_scene(f"{write_house(tmp_path, content)}{BEDROOM}", frames=1)
    assert "1 x pieces with a model name that is no plain name" in scene.metadata["skipped"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("furniture"), r"is not a 3D-FRONT house \(KeyError: 'furniture'\)"),
        (lambda content: content["scene"].update(room=None), "is not a 3D-FRONT house"),
        (lambda content: [entry.update(valid=False) for entry in content["furniture"]], "has no usable room"),
        (lambda content: [entry.update(type="Wall") for entry in content["mesh"]], "MasterBedroom-1: no floor"),
        (lambda content: content["scene"]["room"].__delitem__(slice(1, None)) or [
            child.update(pos=IDENTITY) for child in content["scene"]["room"][0]["children"]
        ], "fewer than two usable pieces"),
        (lambda content: content["scene"]["room"][0].update(children=[None]) or content["scene"]["room"].__delitem__(
            slice(1, None)
        ), r"MasterBedroom-1: cannot be read \(TypeError"),
        (lambda content: content["scene"]["room"][0]["children"].extend([piece("bed-1/model", 0, 0)] * 400)
         or content["scene"]["room"].__delitem__(slice(1, None)), "pieces of furniture: 405, not 2 to 300"),
    ],
)  # fmt: skip
def test_bad_houses_are_one_error(tmp_path: Path, change: Any, message: str) -> None:
    content = house_content()
    change(content)
    house = write_house(tmp_path, content)
    with pytest.raises(SceneError, match=message):
        open_scene(house)


def test_broken_floors_are_one_error(tmp_path: Path) -> None:
    content = house_content()
    for mesh in content["mesh"]:
        mesh["faces"] = [0, 1, 99]
    with pytest.raises(SceneError, match="6 x parts of the house that are not finite, or have faces of vertices"):
        open_scene(f"{write_house(tmp_path, content)}{BEDROOM}")


def test_room_without_free_floor_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"has no free floor 0\.7 m wide"):
        open_scene(edited(tmp_path, scale=[3, 1, 4], pos=[2.5, 0, 2]))


def test_house_without_models_says_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "house.json").write_text(json.dumps(house_content()))
    with pytest.raises(SceneError, match="needs the folder 3D-FUTURE-model/ beside it"):
        open_scene(tmp_path / "house.json")
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.json", "other.json#Room-1"):
        with pytest.raises(SceneError, match="is not a scene"):
            open_scene(tmp_path / name)


def test_rooms_of_too_many_triangles_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.scenes.readers.front3d._MOST_TRIANGLES", 40)
    with pytest.raises(SceneError, match="MasterBedroom-1 has more than 0 million triangles"):
        open_scene(f"{write_house(tmp_path)}{BEDROOM}")
