"""Boxes of ScanNet scans: bounds of the annotated vertices, and errors for broken annotation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.readers.scannet import open_scannet
from tests.scenes.fixture_scans import write_annotation, write_scan


@pytest.mark.parametrize("binary", [True, False])
def test_boxes_are_the_bounds_of_the_annotated_vertices(tmp_path: Path, binary: bool) -> None:
    folder = write_annotation(write_scan(tmp_path / "scene0002_01"), binary)
    (folder / "scene0002_01_vh_clean.aggregation.json").write_text("of the other mesh")
    boxes = open_scannet(folder).boxes
    assert boxes is not None
    table, chair = boxes
    assert (table.id, table.label, table.yaw, table.has_front) == (1, "table", 0.0, False)
    np.testing.assert_allclose(table.center, [0, 0, 0.35], atol=1e-6)
    np.testing.assert_allclose(table.size, [2, 1, 0.7], atol=1e-6)
    assert (chair.id, chair.label) == (6, "office chair")
    np.testing.assert_allclose(chair.center, [3.25, 0.25, 0.25], atol=1e-6)
    np.testing.assert_allclose(chair.size, [0.5, 0.5, 0.5], atol=1e-6)


def test_boxes_are_absent_where_a_file_is(tmp_path: Path) -> None:
    folder = write_annotation(write_scan(tmp_path / "scan"))
    (folder / "scan_vh_clean_2.ply").unlink()
    assert open_scannet(folder).boxes is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (".aggregation.json", '{"segGroups": [', "is not JSON"),
        (".aggregation.json", "[]", "Input should be a valid dict"),
        (".aggregation.json", '{"segGroups": [3]}', "object 0 is not valid"),
        (".aggregation.json", '{"segGroups": [{"objectId": "a"}]}', "objectId"),
        (".aggregation.json", '{"segGroups": [{"objectId": 0, "segments": [3]}]}', "label"),
        (".aggregation.json", '{"segGroups": [{"objectId": 0, "label": "x", "segments": "3"}]}', "valid list"),
        (".aggregation.json", '{"segGroups": [{"objectId": 0, "label": "x", "segments": []}]}', "List should"),
        (".aggregation.json", '{"segGroups": [{"objectId": 0, "label": "x", "segments": [999]}]}', "segment 999"),
        ("_vh_clean_2.0.010000.segs.json", '{"segIndices": [1, 2]}', "refers to 2 vertices, but .* has 18"),
        ("_vh_clean_2.0.010000.segs.json", "{}", "segIndices: Field required"),
        ("_vh_clean_2.ply", "ply\nformat ascii 1.0\n", "is not a PLY mesh"),
        ("_vh_clean_2.ply", "", "is not a PLY mesh"),
    ],
)
def test_broken_annotation_is_refused_by_name(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = write_annotation(write_scan(tmp_path / "scan"))
    (folder / f"scan{file}").write_text(content)
    with pytest.raises(SceneError, match=message) as caught:
        open_scannet(folder)
    assert f"scan{file}" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (3, "object 2 is not valid"),
        ({"objectId": "9", "label": "x", "segments": [3]}, "objectId: Input should be a valid integer"),
        ({"objectId": 9, "label": "x", "segments": []}, "segments: List should have at least 1 item"),
        ({"objectId": 9, "label": "x"}, "segments: Field required"),
        ({"objectId": 9, "label": "x", "segments": [999]}, r"object 9 \(x\) has segment 999"),
        ({"objectId": 0, "label": "x", "segments": [3]}, "objectId 0 occurs twice"),
    ],
)
def test_a_broken_object_does_not_close_a_scan(tmp_path: Path, entry: object, fault: str) -> None:
    folder = write_annotation(write_scan(tmp_path / "scan"))
    path = folder / "scan.aggregation.json"
    groups = json.loads(path.read_text())
    groups["segGroups"].append(entry)
    path.write_text(json.dumps(groups))
    with pytest.raises(SceneError, match=rf"{fault}.*; --skip-bad uses the other objects$"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert [box.label for box in scene.boxes or ()] == ["table", "office chair"]
    assert len(scene.metadata["skipped"]) == 1
    path.write_text("{")
    scene = open_scannet(folder, skip_bad=True)
    assert scene.boxes is None
    assert len(scene.views) == 4
