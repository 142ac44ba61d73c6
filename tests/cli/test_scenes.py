"""``dollhouse scenes info`` and ``export`` as users call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dollhouse.scenes.open import open_scene
from tests.cli.command import needs_model, photos, run
from tests.scenes.fixture_captures import OPENGL, write_colmap_text, write_nerfstudio, write_seven_scenes
from tests.scenes.fixture_scans import write_scan

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch


def flip(folder: Path) -> Path:
    """Give the poses of a scan in 7-Scenes' layout OpenGL axes."""
    for pose in folder.glob("*.pose.txt"):
        np.savetxt(pose, np.loadtxt(pose, encoding="utf-8-sig") @ OPENGL)
    return folder


def test_info_of_photos(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    photos(tmp_path / "photos")
    (tmp_path / "photos/notes.txt").write_text("")
    code, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "photos"))
    assert code == 0
    for line in ("photos: a photo or a folder of photos", "3, 160x120 pixels", "relative (photos alone have no scale)"):
        assert line in text
    assert "not used    1 .txt file (notes.txt)" in text
    code, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "photos"), "--json")
    facts = json.loads(text)
    assert facts["missing"] == ["depth", "poses", "intrinsics", "instances", "boxes"]
    assert (facts["views"], facts["image_sizes"], facts["focal"]) == (3, [[160, 120]], "none (3)")


def test_info_of_the_example(capsys: Capture, monkeypatch: Patch) -> None:
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", "example", "--json")
    assert json.loads(text)["views"] == 4, "details, no table of scenes"


def test_info_of_a_scan(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    write_seven_scenes(tmp_path / "scan")
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "scan"))
    assert "metric (depth in metres)" in text
    assert "depth and poses agree (median error " in text
    assert "from the format's calibration" in text
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", str(flip(tmp_path / "scan")), "--json")
    facts = json.loads(text)
    assert (facts["depth"]["views"], facts["depth"]["sizes"], facts["poses"]["views"]) == (4, [[160, 120]], 4)
    assert (facts["check"]["agrees"], facts["check"]["option"]) == (False, "--axes opengl")
    assert any(notice.startswith("warning: depth and poses disagree") for notice in facts["notices"])
    words = facts["check"]["option"].split()
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "scan"), "--json", *words)
    facts = json.loads(text)
    assert (facts["check"]["agrees"], facts["corrections"], facts["notices"]) == (True, "--axes opengl", [])


def test_info_of_a_room(capsys: Capture, monkeypatch: Patch) -> None:
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", "rooms:test/3", "--json")
    facts, room = json.loads(text), open_scene("rooms:test/3")
    assert (facts["kind"], facts["missing"], facts["check"]) == ("a synthetic room", [], None)
    assert sum(facts["boxes"].values()) == len(room.boxes)
    assert facts["scale"]["kind"] == "metric"


def test_info_of_relative_poses(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    write_colmap_text(tmp_path / "model")
    _, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "model"))
    assert "relative (poses of unknown unit)" in text
    assert "the poses are not checked, since the scene has no depth" in text


def test_info_of_a_folder_of_scenes(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    photos(tmp_path / "photos")
    write_nerfstudio(tmp_path / "house")
    write_seven_scenes(tmp_path / "scan")
    flip(tmp_path / "scan")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/scene.json").write_text("{}")
    code, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path), "--json")
    content = json.loads(text)
    assert code == 1
    assert content["totals"] == {"scenes": 3, "views": 11, "boxes": 0, "disagreeing": 1, "failed": 1}
    assert "scene.json" in content["failures"][str(tmp_path / "broken")]
    code, text, aside = run(capsys, monkeypatch, "scenes", "info", str(tmp_path))
    assert "3 scenes, 11 views, 1 disagreeing, 1 failed" in text
    assert "--axes opengl" in text
    assert "failed: " in aside
    code, text, _ = run(capsys, monkeypatch, "scenes", "info", "rooms:test/0-1")
    assert (code, "2 scenes, 8 views" in text) == (0, True)


def test_info_passes_over_bad_items(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    frame = write_scan(tmp_path / "scan") / "pose/1.txt"
    frame.write_text("1 0 0\n")
    code, text, _ = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "scan"))
    assert code == 0
    assert "left out" in text
    code, _, error = run(capsys, monkeypatch, "scenes", "info", str(tmp_path / "nowhere"))
    assert (code, len(error.strip().splitlines())) == (2, 1)


def test_export_of_a_room(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    for name in ("room.ply", "room.glb", "room.json", "model"):
        code, text, _ = run(capsys, monkeypatch, "scenes", "export", "rooms:test/3", "--out", str(tmp_path / name))
        assert code == 0
        assert "scale metric (depth in metres)" in text
        assert "predicted" not in text
    assert open_scene(tmp_path / "model").posed
    arguments = ("scenes", "export", "rooms:test/3", "--out", str(tmp_path / "few.ply"), "--points", "100")
    run(capsys, monkeypatch, *arguments)
    assert len(trimesh.load(tmp_path / "few.ply").vertices) <= 100
    scan = str(tmp_path / "scan")
    assert run(capsys, monkeypatch, "scenes", "export", "rooms:test/3", "--out", scan, "--format", "scannet")[0] == 0
    assert len(open_scene(scan).boxes) == len(open_scene("rooms:test/3").boxes)
    for out, named in (("room.stl", ".ply, .glb or .json"), ("model", "exists already")):
        code, _, error = run(capsys, monkeypatch, "scenes", "export", "rooms:test/3", "--out", str(tmp_path / out))
        assert (code, len(error.strip().splitlines())) == (2, 1)
        assert named in error


@needs_model
def test_export_of_photos_is_predicted(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    """From plain photos; and of a scene with its own depth and boxes, on demand."""
    photos(tmp_path / "photos")
    for name in ("photos.ply", "photos.glb", "photos.json", "model"):
        arguments = ("scenes", "export", str(tmp_path / "photos"), "--out", str(tmp_path / name))
        code, text, _ = run(capsys, monkeypatch, *arguments)
        assert code == 0
        assert "predicted by nano; scale relative (" in text
    content = json.loads((tmp_path / "photos.json").read_text())
    assert content["scale"]["kind"] == "relative"
    assert content["frame"].startswith("level frame of the first view")
    assert len(open_scene(tmp_path / "model").views) == 3
    run(capsys, monkeypatch, "scenes", "export", "rooms:test/3", "--out", str(tmp_path / "room.json"), "--predicted")
    boxes = json.loads((tmp_path / "room.json").read_text())["boxes"]
    assert boxes
    assert all(0.3 <= box["score"] <= 1 for box in boxes)


@needs_model
def test_a_wrong_scene_is_asked_with_a_warning(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    write_seven_scenes(tmp_path / "scan")
    arguments = ("ask", str(flip(tmp_path / "scan")), "is there a sofa?")
    code, _, aside = run(capsys, monkeypatch, *arguments)
    assert code == 0
    assert "mend it with --axes opengl" in aside
    code, _, aside = run(capsys, monkeypatch, *arguments, "--axes", "opengl")
    assert "warning" not in aside
