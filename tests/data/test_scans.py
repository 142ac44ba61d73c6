"""Own annotated scans in annotation, training and evaluation: questions, samples of views, and resumed runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.record_views import renumber
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.errors import SceneError
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.questions.facts import VISIBLE_SHARE
from dollhouse.questions.generate import FAMILIES, Question
from dollhouse.questions.scene_index import IndexedScenes, index_scenes
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.visibility import compute_visibility
from dollhouse.teachers.annotate import annotate
from tests.evaluation.fake_models import QUESTIONS, Oracle
from tests.fixtures.scans import write_rooms_as_scans

SCANS, VIEWS, DOZENS = 6, 4, 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rooms_as_scans(tmp_path_factory.mktemp("own") / "scans", SCANS)


@pytest.fixture(scope="module")
def student() -> tuple[DollhouseConfig, PreTrainedTokenizerBase]:
    model, processor, _ = load_student(None)
    return model.config, processor.tokenizer


@pytest.fixture(scope="module")
def source(folder: Path, student: Any) -> SceneTargetSource:
    return SceneTargetSource(DataConfig(scenes=str(folder), view_sets=3), student[0])


@pytest.fixture(scope="module")
def records(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a teacher that is given eight views of each scan."""
    out = tmp_path_factory.mktemp("records")
    run = annotate("annotations", str(folder), out, views=8, limit=120, geometry_teachers=("scene",))
    assert run.written == SCANS, run.failures
    return out


def test_six_scans_give_dozens_of_questions_each_to_annotate(records: Path) -> None:
    store = RecordStore(records)
    for id in store.ids():
        families = Counter(question.family for question, _ in store.answered(id))
        assert families.total() >= DOZENS
        assert {"proximity", "size", "orientation"} <= set(families)


def test_six_scans_give_dozens_of_questions_each_to_train_on(source: SceneTargetSource) -> None:
    assert len(source) == 3 * SCANS
    families: Counter[str] = Counter()
    for index in range(0, len(source), 3):
        questions = source.questions(index)
        assert len(questions) >= DOZENS
        families.update(family for _, _, family in questions)
    assert all(families[family] >= 10 for family in FAMILIES), families


def test_six_scans_give_dozens_of_questions_each_to_evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = index_scenes(open_scenes(folder), VIEWS)
    model = Oracle(IndexedScenes(index, VIEWS))
    model.num_views = VIEWS  # type: ignore[attr-defined]
    evaluation = evaluate(model, str(folder), questions_per_scene=QUESTIONS, progress=True)
    rows = Counter(row["scene"] for row in evaluation.predictions)
    assert len(rows) == SCANS
    assert min(rows.values()) == QUESTIONS
    assert {row["family"] for row in evaluation.predictions} >= set(FAMILIES)
    assert "questions: " in capsys.readouterr().err
    assert evaluation.metrics["questions"]["balanced"] == "by kind"  # type: ignore[index]


def test_balance_is_measured_in_no_worker(source: SceneTargetSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.questions.answer_balance.AnswerBalance.of_data_set", None)
    monkeypatch.setattr("dollhouse.questions.answer_balance.SceneAnswers.count", None)
    assert source.questions(1)


def test_samples_of_a_scan_differ_and_are_reproduced(source: SceneTargetSource, folder: Path, student: Any) -> None:
    again = SceneTargetSource(DataConfig(scenes=str(folder), view_sets=3), student[0])
    samples = [[view.name for view in source.view_window(index).views] for index in range(len(source))]
    assert samples == [[view.name for view in again.view_window(index).views] for index in range(len(source))]
    assert all(len(set(sample)) == VIEWS for sample in samples)
    assert len({tuple(sample) for sample in samples[:3]}) > 1
    spaced = SceneTargetSource(DataConfig(scenes=str(folder), view_sets=1, view_sampling="spaced"), student[0])
    numbers = [int(view.name) for view in spaced.view_window(0).views]
    assert np.ptp(np.diff(numbers)) <= 1


def test_held_out_frames_are_in_no_sample(folder: Path, student: Any) -> None:
    source = SceneTargetSource(DataConfig(scenes=str(folder), view_sets=2, holdout_every=4), student[0])
    names = {int(view.name) for index in range(len(source)) for view in source.view_window(index).views}
    assert not names & {3, 7, 11}


def test_a_scan_with_too_few_views_is_named(folder: Path, student: Any) -> None:
    with pytest.raises(SceneError, match=r"scene0000_00 has 14 views to train on; data.views=20 needs as many"):
        SceneTargetSource(DataConfig(scenes=str(folder), views=20), student[0])


def test_batches_of_a_resumed_run_are_the_same(folder: Path, student: Any, tmp_path: Path) -> None:
    config, tokenizer = student

    def steps(cache: Path | None) -> StepDataset:
        data = DataConfig(scenes=str(folder), view_sets=2, cache=cache)
        return StepDataset(SceneTargetSource(data, config), SamplingConfig(6, 2, 6), 0, tokenizer, config)

    first = steps(tmp_path / "cache")
    whole = [first[step] for step in range(4)]
    for cache in (tmp_path / "cache", None):  # killed after two steps; with and without what is cached
        resumed = steps(cache)
        for step in (2, 3):
            batch, expected = resumed[step], whole[step]
            assert batch.sample_indices == expected.sample_indices
            for name in ("pixel_values", "depth", "level_from_camera"):
                np.testing.assert_array_equal(getattr(batch, name).numpy(), getattr(expected, name).numpy())
            for ids, other in zip(batch.question_ids, expected.question_ids, strict=True):
                assert ids.tolist() == other.tolist()


def test_changed_files_are_another_cache(folder: Path, student: Any, tmp_path: Path) -> None:
    scans = write_rooms_as_scans(tmp_path / "scans", 1, 5)
    data = DataConfig(scenes=str(scans), cache=tmp_path / "cache")
    before = SceneTargetSource(data, student[0]).cache
    depth = scans / "scene0000_00" / "depth"
    (depth / "1.png").write_bytes((depth / "2.png").read_bytes())
    after = SceneTargetSource(data, student[0]).cache
    assert before is not None
    assert after is not None
    assert before.folder != after.folder


def test_orientation_survives_a_teacher_with_more_views(
    records: Path, student: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config, tokenizer = student
    source = open_target_source(DataConfig(records=records, view_sets=8), config)
    assert len(source) == 8 * SCANS
    line = capsys.readouterr().out
    assert "orientation" in line
    store = RecordStore(records)
    asked = Counter(q.family for id in store.ids() for q, _ in store.answered(id))
    used: Counter[str] = Counter()
    for index in range(len(source)):
        scene, targets = source.view_window(index), source.targets(index)
        questions = source.questions(index)
        assert len(scene.views) == len(targets.images) == VIEWS
        used.update(family for _, _, family in questions)
        for text, _, _ in questions:
            assert not any(f"view {number}" in text for number in (5, 6, 7, 8))
    assert used["orientation"] > 0.5 * asked["orientation"]
    answers = source.teacher_answers(0, tokenizer)
    assert [answer.text for answer in answers] == [answer for _, answer, _ in source.questions(0)]


def test_records_ask_about_visible_objects_only(records: Path, student: Any) -> None:
    config, _ = student
    source: Any = open_target_source(DataConfig(records=records, view_sets=2), config)
    hidden = total = 0
    for index in range(4):
        scene = source.view_window(index)
        own = open_scene(source._record(index).source)
        by_name = {view.name: view for view in own.views}
        views = tuple(by_name[view.name] for view in scene.views)
        shares = compute_visibility(type(own)(own.name, views, own.boxes)).shares.max(axis=1)
        visible = {box.id for box, share in zip(own.boxes, shares, strict=True) if share > 0.5 * VISIBLE_SHARE}
        for question, _ in source._answered(index):
            hidden += not set(question.objects) <= visible
            total += 1
    assert total > 40
    assert hidden < 0.03 * total


def question(text: str, view: int | None = None, objects: tuple[int, ...] = (1,)) -> Question:
    return Question("s#0", "s", "orientation", "orientation.closer", text, "the bed", (), objects, view)


def test_views_get_their_numbers_in_the_sample() -> None:
    chosen = [2, 5, 7]
    asked, answer = renumber(question("in view 6, is a bed left?", 5), TeacherAnswer("left"), chosen, {1}) or (
        None,
        None,
    )
    assert asked == question("in view 2, is a bed left?", 1)
    assert answer.text == "left"
    assert renumber(question("in view 5, is a bed left?", 4), TeacherAnswer("left"), chosen, {1}) is None
    assert renumber(question("is a bed left?"), TeacherAnswer("left"), chosen, {2}) is None
    assert renumber(question("is a bed left?"), TeacherAnswer("left"), chosen, None) is not None
    tokens = TeacherAnswer("view 8", np.array([4, 1], np.int32))
    best = renumber(question("which view shows a bed best?"), tokens, chosen, {1})
    assert best is not None
    assert best[1].text == "view 3"
    assert best[1].token_ids is None
    assert renumber(question("which view shows a bed best?"), TeacherAnswer("view 1"), chosen, {1}) is None
