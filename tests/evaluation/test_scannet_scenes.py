"""ScanNet scenes that someone annotated: our four families are drawn from their boxes, by the command's own way."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.verify import verify_report
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Box, Scene
from tests.scenes.fixture_scans import write_depth, write_matrix, write_ply

from .fake_models import QUESTIONS, Oracle, made_scene, pictured


def export(scene: Scene, folder: Path) -> None:
    """Write a made scene as ScanNet's authors distribute theirs; a segment an object, its box's edges as mesh."""
    for number, view in enumerate(scene.views):
        (folder / "color").mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image).save(folder / "color" / f"{number}.png")
        write_depth(folder / "depth" / f"{number}.png", np.rint(view.depth * 1000))
        write_matrix(folder / "pose" / f"{number}.txt", view.world_from_camera)
        for kind in ("color", "depth"):
            written = np.eye(4)
            written[:3, :3] = view.intrinsics
            written[:2, 2] -= 0.5  # the centre of its first pixel is (0, 0)
            write_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt", written)
    vertices, segments, groups = [], [], []
    for box in scene.boxes:
        corners = box.corners
        edges = [corners[a] + (corners[b] - corners[a]) * share
                 for a in range(8) for b in range(a) for share in np.linspace(0, 1, 9)]  # fmt: skip
        vertices += edges
        segments += [box.id] * len(edges)
        groups.append({"id": box.id, "objectId": box.id, "segments": [box.id], "label": box.label})
    write_ply(folder / f"{folder.name}_vh_clean_2.ply", np.array(vertices), True)
    (folder / f"{folder.name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    (folder / f"{folder.name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))


def furnished(number: int) -> Scene:
    """A made scene in which no two things are of a kind, and a lamp stands on the first."""
    names = ("table", "sofa", "chair", "bed", "cabinet", "desk", "bookshelf")
    boxes = [replace(box, label=name) for box, name in zip(made_scene(number).boxes, names, strict=True)]
    lamp = Box(
        8, "lamp", boxes[0].center + np.array([0, 0, boxes[0].size[2] / 2 + 0.2]), np.array([0.3, 0.3, 0.4]), 0.0
    )
    return pictured(f"furnished:{number}", [*boxes, lamp])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for number in range(3):
        export(furnished(number), folder / f"scene000{number}_00")
    return folder


def test_annotated_scans_are_asked_our_four_families(scans, tmp_path):
    scenes = open_scenes(scans)
    assert [len(scene.boxes) for scene in scenes] == [8, 8, 8]
    report = evaluate(Oracle(scenes), str(scans), questions_per_scene=QUESTIONS, out=tmp_path, progress=False)
    assert report.metrics["families"].keys() == {"proximity", "contact", "size", "orientation"}
    assert report.metrics["questions"]["balanced"] == "by kind"
    assert report.metrics["overall"]["accuracy"] == 1.0
    assert report.metrics["boxes"]["map_50"] == 1.0
    assert report.metrics["depth"]["abs_rel"] < 1e-3
    assert verify_report(tmp_path).agrees
    alone = evaluate(Oracle(scenes[:1]), scenes[:1], questions_per_scene=QUESTIONS, progress=False).metrics
    assert alone["families"].keys() == {"proximity", "contact", "size", "orientation"}
    assert alone["overall"]["accuracy"] == 1.0
