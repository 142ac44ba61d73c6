"""Annotation: one record per scene, written once; failures are listed and do not stop the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dollhouse.cli import app
from dollhouse.errors import SceneError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.questions.sources import DESCRIPTIVE_QUESTIONS, descriptive_questions, open_question_source
from dollhouse.records.scene_source import cache_views, scene_sources
from dollhouse.records.store import RecordStore
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.records.writer import merge_records
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.geometry import SensorGeometry, TeacherGeometry
from dollhouse.teachers.protocol import AnswersMissingError, Teacher, TeacherUnavailableError
from tests.records.small_scenes import questions_for, small_scene, small_scenes


class CountingTeacher(AnnotationsTeacher):
    """Counts questions, has features, and fails for the scenes and questions given."""

    def __init__(self, fail: Sequence[str] = (), missing: Sequence[int] = (), gone: Sequence[str] = ()) -> None:
        self.fail, self.missing, self.gone = fail, missing, gone
        self.asked: list[str] = []

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        if scene.name in self.fail:
            raise TeacherError(f"{scene.name} cannot be used")
        if scene.name in self.gone:
            raise TeacherUnavailableError("no server", {0: TeacherAnswer(questions[0].answer)})
        self.asked += [question.id for question in questions]
        answers = super().answer(scene, questions)
        if self.missing:
            others = {index: answer for index, answer in enumerate(answers) if index not in self.missing}
            raise AnswersMissingError("some are missing", others)
        return answers

    def features(self, scene: Scene) -> SpatialFeatures:  # type: ignore[override]
        return SpatialFeatures(np.full((2, 3), 0.1, dtype=np.float32), np.zeros((2, 3)))


def everything(teacher: Any) -> dict[str, Any]:
    return {"questions": questions_for, "geometry": [TeacherGeometry(teacher), SensorGeometry()]}


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything but the lock and what is not finished."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("apart", [False, True], ids=["one folder", "merged"])
def test_shards_write_the_records_of_one_run(apart: bool, tmp_path: Path) -> None:
    scenes, teacher = small_scenes(5), CountingTeacher()
    annotate_scenes(teacher, scenes, tmp_path / "whole", **everything(teacher))
    folders = [tmp_path / (f"shard{number}" if apart else "all") for number in range(3)]
    runs = [
        annotate_scenes(teacher, scenes, folder, shard=(number, 3), **everything(teacher))
        for number, folder in enumerate(folders)
    ]
    assert [(run.total, run.written, run.existing) for run in runs] == [(2, 2, 0), (2, 2, 0), (1, 1, 0)]
    if apart:
        merge_records(folders, tmp_path / "all")
    assert files_of(tmp_path / "all") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "0/0"])
def test_a_shard_that_is_none_is_refused(shard: str, tmp_path: Path) -> None:
    words = ["annotate", "--teacher", "annotations", "--scenes", "rooms:train/0-1", "--out", str(tmp_path), "--shard"]
    result = CliRunner().invoke(app, [*words, shard])
    assert result.exit_code == 2
    assert "--shard" in result.output
    assert not list(tmp_path.iterdir())


def test_one_record_per_scene_written_once(tmp_path: Path) -> None:
    teacher = CountingTeacher()
    run = annotate_scenes(teacher, small_scenes(3), tmp_path, **everything(teacher))
    assert (run.written, run.existing, run.answers, run.failures) == (3, 0, 9, [])
    assert sorted(run.record_ids) == sorted(RecordStore(tmp_path).ids())
    again = annotate_scenes(teacher, small_scenes(4), tmp_path, **everything(teacher))
    assert (again.written, again.existing, again.answers) == (1, 3, 3)
    assert again.record_ids[:3] == run.record_ids
    assert len(teacher.asked) == 12


def test_record_ids_of_a_run_are_pinned(tmp_path: Path) -> None:
    """The names in provenance and settings are part of the ids, whatever the code calls them."""
    teacher = AnnotationsTeacher()
    run = annotate_scenes(teacher, [small_scene()], tmp_path, **everything(teacher))
    assert run.record_ids == ["d3c1af6d70a63b3ae8001861eed36b72"]


def test_record_holds_answers_features_and_geometry(tmp_path: Path) -> None:
    teacher = CountingTeacher()
    scene = small_scene()
    annotate_scenes(teacher, [scene], tmp_path, sources=["a/folder"], **everything(teacher))
    (record,) = RecordStore(tmp_path)
    assert record.questions == questions_for(scene)
    assert [answer.text for answer in record.answers] == ["the table", "the chair", "the table"]
    assert record.source == "a/folder"
    assert record.provenance["geometry"] == [{"teacher": "own"}, SensorGeometry().provenance()]
    assert record.features is not None
    assert record.geometry is not None
    assert record.geometry.boxes is not None
    assert record.geometry.depth is not None
    np.testing.assert_array_equal(record.geometry.depth[1], scene.views[1].depth)
    assert record.relations is not None
    assert len(record.relations) == 3


def test_two_methods_make_a_teacher(tmp_path: Path) -> None:
    class MinimalTeacher(Teacher):
        def provenance(self) -> dict[str, Any]:
            return {"teacher": "minimal"}

        def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
            return [TeacherAnswer("a chair") for _ in questions]

    annotate_scenes(MinimalTeacher(), [small_scene()], tmp_path, questions=descriptive_questions)
    (record,) = RecordStore(tmp_path)
    assert {answer.text for answer in record.answers} == {"a chair"}
    assert record.features is None
    assert record.geometry is None


def test_features_and_boxes_can_be_left_out(tmp_path: Path) -> None:
    teacher = CountingTeacher()
    annotate_scenes(
        teacher,
        [small_scene()],
        tmp_path,
        questions=questions_for,
        geometry=[SensorGeometry(boxes=False)],
        features=False,
    )
    (record,) = RecordStore(tmp_path)
    assert record.features is None
    assert record.relations is None
    assert record.geometry is not None
    assert record.geometry.boxes is None
    annotate_scenes(teacher, [small_scene()], tmp_path, fp16=True, **everything(teacher))
    assert len(RecordStore(tmp_path)) == 2
    (halved,) = [record for record in RecordStore(tmp_path) if record.features is not None]
    assert halved.features is not None
    assert halved.features.features[0, 0] == np.float16(0.1)


def test_fewer_views_are_another_record(tmp_path: Path) -> None:
    teacher = CountingTeacher()
    annotate_scenes(teacher, [small_scene(views=3)], tmp_path, views=2, **everything(teacher))
    (record,) = RecordStore(tmp_path)
    assert [camera.name for camera in record.cameras] == ["00", "02"]


def test_failures_are_listed_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    class Scenes(list):  # type: ignore[type-arg]
        def __getitem__(self, index: Any) -> Any:
            if index == 3:
                raise SceneError("3.jpg: is cut short")
            return super().__getitem__(index)

    teacher = CountingTeacher(fail=["small/1"])
    progress: list[tuple[int, int, int]] = []
    run = annotate_scenes(
        teacher,
        Scenes(small_scenes(5)),
        tmp_path,
        on_scene=lambda run: progress.append((run.done, run.written, run.total)),
        **everything(teacher),
    )
    assert (run.written, len(run.failures)) == (3, 2)
    assert [failure.reason for failure in run.failures] == ["small/1 cannot be used", "3.jpg: is cut short"]
    assert progress == [(1, 1, 5), (2, 1, 5), (3, 2, 5), (4, 2, 5), (5, 3, 5)]
    complete = CountingTeacher()
    assert annotate_scenes(complete, small_scenes(5), tmp_path, **everything(complete)).written == 2


def test_answers_of_a_failed_scene_are_reused(tmp_path: Path) -> None:
    scene = small_scene()
    first = CountingTeacher(missing=[1])
    run = annotate_scenes(first, [scene], tmp_path / "one", **everything(first))
    assert run.written == 0
    assert len(RecordStore(tmp_path / "one")) == 0
    second = CountingTeacher()
    assert annotate_scenes(second, [scene], tmp_path / "one", **everything(second)).written == 1
    assert second.asked == [questions_for(scene)[1].id]
    undisturbed = CountingTeacher()
    annotate_scenes(undisturbed, [scene], tmp_path / "two", **everything(undisturbed))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_unavailable_teacher_stops_the_run_and_its_answers_are_stored(tmp_path: Path) -> None:
    teacher = CountingTeacher(gone=["small/1"])
    with pytest.raises(TeacherUnavailableError, match="no server"):
        annotate_scenes(teacher, small_scenes(3), tmp_path, **everything(teacher))
    assert len(RecordStore(tmp_path)) == 1
    back = CountingTeacher()
    assert annotate_scenes(back, small_scenes(3), tmp_path, **everything(back)).written == 2
    assert questions_for(small_scene(1))[0].id not in back.asked


def test_too_few_answers_are_a_failure(tmp_path: Path) -> None:
    class TooFewAnswers(CountingTeacher):
        def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
            return super().answer(scene, questions)[:-1]

    run = annotate_scenes(TooFewAnswers(), [small_scene()], tmp_path, questions=questions_for)
    assert "2 answers to 3 questions" in run.failures[0].reason


def test_images_are_read_once() -> None:
    count = [0]

    def read() -> np.ndarray:
        count[0] += 1
        return np.zeros((14, 14, 3), dtype=np.uint8)

    scene = small_scene()
    scene = cache_views(replace(scene, views=(replace(scene.views[0], open_image=read),)))
    assert scene.views[0].image is scene.views[0].image
    assert count == [1]


def test_annotations_answer_only_questions_with_answers() -> None:
    scene = small_scene()
    with pytest.raises(TeacherError, match="8 of 8 questions carry no answer"):
        AnnotationsTeacher().answer(scene, descriptive_questions(scene))


def test_depth_and_boxes_may_come_from_different_teachers() -> None:
    from dollhouse.teachers.geometry import merge_geometry

    class Depth:
        def provenance(self) -> dict[str, Any]:
            return {}

        def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
            assert known.boxes is None
            return SceneGeometry(depth=(np.ones((2, 2), dtype=np.float32),), metric=False)

    scene = small_scene()
    merged = merge_geometry([Depth(), SensorGeometry()], scene)
    assert merged is not None
    assert merged.depth is not None
    assert merged.depth[0].shape == (2, 2)
    assert not merged.metric
    assert merged.boxes == scene.boxes
    assert merge_geometry([], scene) is None


def test_questions_are_generated_from_boxes_or_descriptive(tmp_path: Path) -> None:
    rooms = open_scenes("rooms:train/4-5")
    assert scene_sources(rooms, "rooms:train/4-5") == ["rooms:train/4", "rooms:train/5"]
    source = open_question_source(None, rooms, limit=6)
    questions = source(rooms[0])
    assert len(questions) == 6
    assert all(question.answer for question in questions)
    assert source(rooms[0]) == questions
    plain = replace(small_scene(), boxes=None)
    assert [question.text for question in open_question_source(None, [plain])(plain)] == list(DESCRIPTIVE_QUESTIONS)
    drawn = open_question_source("descriptions", [plain], limit=3, seed=1)(plain)
    assert len(drawn) == 3
    assert {question.text for question in drawn} < set(DESCRIPTIVE_QUESTIONS)
