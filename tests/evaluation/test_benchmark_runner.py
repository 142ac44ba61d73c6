"""Benchmarks run with the frames and prompts of their definition."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.evaluation.benchmark_runner import run_benchmark
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.benchmark_scenes import media_path, open_benchmark_scene
from dollhouse.evaluation.verify import verify_report
from dollhouse.records.types import TeacherAnswer

HOLO = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "holo_office_a"


class Echo:
    """A teacher with a constant answer that records its inputs."""

    def __init__(self):
        self.shown = {}

    def provenance(self):
        return {"teacher": "echo", "weights": None, "settings": {}}

    def answer(self, scene, questions):
        self.shown[scene.name] = [view.name for view in scene.views], [question.text for question in questions]
        return [TeacherAnswer("brown") for _ in questions]

    def features(self, scene):
        return None

    def geometry(self, scene):
        return None


def photos(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(folder / f"{number}.png")


def annotations(folder, *scenes):
    rows = [
        {"question_id": f"{scene}-{n}", "scene_id": scene, "question": f"What colour {n}?", "answers": ["brown"]}
        for scene in scenes
        for n in range(2)
    ]
    (folder / "val.json").write_text(json.dumps(rows))
    return [folder / "val.json"]


def test_each_scene_is_asked_once_and_the_report_agrees(tmp_path):
    photos(tmp_path / "scans" / "one", 50)
    photos(tmp_path / "scans" / "two", 3)
    teacher = Echo()
    files = annotations(tmp_path, "one", "two")
    found = run_benchmark(
        BENCHMARKS["scanqa"], teacher, tmp_path / "scans", files, out=tmp_path / "out", progress=False
    )
    assert found.scores["overall"]["value"] == 1.0
    assert found.prompt_match == {"same": 4, "different": 0, "unknown": 0}
    frames, asked = teacher.shown["one"]
    assert len(frames) == 24
    assert frames[:3] == ["0.png", "2.png", "4.png"]
    assert asked == [f"What colour {n}? Answer the question using one word or one phrase." for n in range(2)]
    assert len(teacher.shown["two"][0]) == 3
    assert verify_report(tmp_path / "out").agrees


def test_a_missing_scene_raises_before_any_question(tmp_path):
    photos(tmp_path / "scans" / "one", 1)
    teacher = Echo()
    with pytest.raises(SceneError, match=r"no .*two; fetch ScanQA_v1.0_val.json"):
        run_benchmark(
            BENCHMARKS["scanqa"], teacher, tmp_path / "scans", annotations(tmp_path, "one", "two"), progress=False
        )
    assert teacher.shown == {}


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    with pytest.raises(SceneError, match="leads out of"):
        media_path(tmp_path, "../other", ())
    assert media_path(tmp_path, "x", ("a/b.mp4",)) == tmp_path / "a/b.mp4"


def test_of_a_scan_with_every_frame_every_tenth_counts(tmp_path):
    if not HOLO.is_dir():
        pytest.skip(f"no {HOLO.name} in {HOLO.parent}")
    scan = tmp_path / "scan"
    shutil.copytree(HOLO, scan)
    for folder, suffix in (("color", ".jpg"), ("depth", ".png"), ("pose", ".txt")):
        for number in range(24, 300):
            (scan / folder / f"{number}{suffix}").symlink_to(scan / folder / f"0{suffix}")
    shown = open_benchmark_scene(BENCHMARKS["scanqa"], scan)
    assert [int(Path(view.name).stem) for view in shown.views] == list(range(0, 240, 10))
    assert len(open_benchmark_scene(BENCHMARKS["scanqa"], HOLO).views) == 24
