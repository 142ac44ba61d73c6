"""From plain photos to a student by the command: boxes, records, training, evaluation on held-out frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.reconstruction import Cameras
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_PARTS, TINY
from tests.scenes.conftest import SHARED_DATA
from tests.teachers.box_world import box_scene
from tests.test_teacher_to_student import dollhouse

RECIPE = {
    **TINY,
    "data": {"scenes": "", "records": "records", "views": 2, "view_sets": 4, "questions_per_scene": 4, "workers": 0},
    "stages": {
        "pretrain_perception": {
            "steps": 2,
            "batch_size": 1,
            "losses": ["depth_reg", "camera", "voting", "detection"],
            "train": PERCEPTION_PARTS,
            "log_every": 1,
        },
        "finetune_end_to_end": {
            "steps": 2,
            "batch_size": 1,
            "losses": ["text"],
            "train": LANGUAGE_PARTS,
            "log_every": 1,
        },
    },
}


def exact_cameras(scene: Scene, depth: object) -> Cameras:
    """Return the cameras of ``box_world`` by the number of the view in the photo."""
    views = [box_scene().views[int(view.image[0, 0, 0])] for view in scene.views]
    poses, intrinsics = zip(*((view.world_from_camera, view.intrinsics) for view in views), strict=True)
    return Cameras(np.stack(poses), np.stack(intrinsics), metric=True)


def write_photos(scene: Scene, folder: Path, every: int) -> None:
    """Write the photos of a scene but those that are held out."""
    folder.mkdir(parents=True)
    for number, view in enumerate(scene.hold_out(every)[0].views):
        Image.fromarray(view.image).save(folder / f"{number:04d}.png")


@pytest.mark.parametrize(("name", "frames"), [("made", None), pytest.param("holo_office_a", 8, marks=pytest.mark.slow)])
def test_photos_alone_make_a_student(
    name: str, frames: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "made":
        scene = box_scene()
        sources = ["--detector", "tests.teachers.test_scene_boxes:detect", "--depth"]
        sources += [
            "tests.teachers.test_scene_boxes:measure",
            "--cameras",
            "tests.test_photos_to_student:exact_cameras",
        ]
    else:
        for package in ("onnxruntime", "ai_edge_litert", "cv2"):
            pytest.importorskip(package)
        if not (SHARED_DATA / "weights").is_dir():
            pytest.skip("the sample scenes and weights are not beside the repository")
        weights = (SHARED_DATA / "weights").resolve()
        whole = open_scene(SHARED_DATA / name)
        scene = replace(whole, views=whole.views[:frames])
        sources = ["--detector", "examples.committee:detect", "--teacher-arg", f"detector.weights={weights}"]
        sources += ["--depth", "examples.committee:depth", "--teacher-arg", f"depth.weights={weights}"]
        sources += ["--cameras", "examples.matching:cameras", "--teacher-arg", f"cameras.weights={weights}/xfeat.onnx"]
    write_photos(scene, tmp_path / "photos" / "room", every=4)
    save_scene(replace(scene, name="room", boxes=None), tmp_path / "capture")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))

    dollhouse(monkeypatch, "annotate", "--boxes", *sources, "--scenes", "photos", "--out", "annotated")
    annotated = open_scene(tmp_path / "annotated" / "room")
    assert annotated.metadata["estimated"] == ["depth", "cameras"]
    assert annotated.boxes
    dollhouse(monkeypatch, "annotate", "--teacher", "annotations", "--scenes", "annotated", "--out", "records")
    dollhouse(monkeypatch, "distill", "recipe.yaml", "--out", "run")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for loss in ("depth_reg", "camera", "detection", "text"):
        assert any(loss in line for line in metrics), loss
    dollhouse(monkeypatch, "evaluate", "run/model", "--scenes", "capture", "--holdout-every", 4, "--out", "results")
    measured = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert measured["depth"]["abs_rel"] > 0
