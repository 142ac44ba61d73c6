"""Run a benchmark with a teacher or model, or score predictions of other programs, and write the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dollhouse.errors import QuestionError, SceneError
from dollhouse.evaluation.benchmarks import benchmark_definition, rooms
from dollhouse.evaluation.benchmarks.benchmark import Benchmark, Sample
from dollhouse.evaluation.benchmarks.benchmark_scenes import media_path, open_benchmark_scene
from dollhouse.evaluation.benchmarks.summary import compute_scores, sample_credits
from dollhouse.evaluation.predictions import Predictions, read_predictions
from dollhouse.evaluation.report.benchmark_page import benchmark_page
from dollhouse.evaluation.report.gallery import frame_strip
from dollhouse.evaluation.report.report_schema import UNKNOWN, build_report, format_report, jsonl_text, model_lineage
from dollhouse.evaluation.scene_evaluator import EvaluationQuestions
from dollhouse.inference.session import Answer
from dollhouse.questions.generate import Question
from dollhouse.questions.scene_index import IndexedScenes, index_scenes
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import AS_READ, open_scenes
from dollhouse.scenes.pose_checks import require_consistent
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_texts
from dollhouse.system.folder_lock import locks_out
from dollhouse.system.hashing import file_hash
from dollhouse.system.progress import ProgressBar
from dollhouse.teachers.protocol import Teacher

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline


@dataclass(frozen=True)
class BenchmarkRun:
    """Scored answers to a benchmark; ``folder`` is None where nothing was written."""

    benchmark: Benchmark
    scores: dict[str, Any]  #: as in report.json
    rows: list[dict[str, Any]]  #: as in predictions.jsonl
    program: str  #: the teacher, or the format of the predictions file
    prompt_match: dict[str, int]  #: rows whose prompt is the benchmark's own: same, different, unknown
    folder: Path | None


@locks_out
def score_predictions(
    benchmark: Benchmark | str,
    predictions: Path,
    annotations: Sequence[Path],
    *,
    out: Path | None = None,
    model: str | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: bool = True,
) -> BenchmarkRun:
    """Score a file of predictions against the benchmark's own annotation files.

    Args:
        out: folder for ``predictions.jsonl``, ``report.html`` and ``report.json``.
        model, command: stored in the report only.

    Raises:
        QuestionError: the annotations are missing or damaged.
        ScoreError: the predictions cannot be read or do not fit the questions.
        StorageError: ``out`` cannot be written.
    """
    benchmark = benchmark_definition(benchmark)
    samples = benchmark.samples(annotations)
    matched = read_predictions(predictions, samples, progress)
    source = {"name": model, "predictions": predictions.name, "sha256": file_hash(predictions), "form": matched.program}
    return _score(benchmark, samples, matched, source, out, seed, command, progress)


@locks_out
def run_benchmark(
    benchmark: Benchmark | str,
    teacher: Teacher | str,
    scenes: Path,
    annotations: Sequence[Path],
    *,
    teacher_args: Mapping[str, str] | None = None,
    blind: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: bool = True,
) -> BenchmarkRun:
    """Answer every question of a benchmark with its frames and prompts, and score the answers.

    Args:
        teacher: a teacher or its name (:mod:`dollhouse.teachers.registry`), such as ``checkpoint:runs/nano/model``.
            A setting of the teacher that uses fewer frames gives other figures; its provenance holds it.
        scenes: folder of the benchmark's scenes, videos or pictures.
        annotations: none for the shipped ones, where the benchmark has some.
        blind: the blind control's model folder, for a benchmark that has one beside its figures; by default ``blind``
            inside the teacher's model folder.

    Raises:
        SceneError: a scene is missing or cannot be read.
        TeacherError: the teacher cannot answer.
        QuestionError, StorageError: as :func:`score_predictions`.
    """
    benchmark = benchmark_definition(benchmark)
    if benchmark is rooms.BENCHMARK:
        raise QuestionError("rooms need no annotations: dollhouse evaluate MODEL --scenes rooms:test/0-199")
    samples = benchmark.samples(annotations)
    by_media: dict[Path, list[int]] = {}
    for place, sample in enumerate(samples):
        by_media.setdefault(media_path(scenes, sample.scene, sample.media), []).append(place)
    if missing := [path for path in by_media if not path.exists()]:  # before a large model is opened
        raise SceneError(f"{benchmark.name}: no {missing[0]}; {benchmark.source.advice()}")
    opened, source = _open_teacher(teacher, teacher_args)
    control = _open_control(teacher, blind) if benchmark.controlled else None
    if control is not None:
        source |= {"blind": control.model_id}
    student = _pipeline_of(opened)
    if student is not None:
        source |= {"answer_temperature": student.model.config.answer_temperature}
    prompts, texts = list(map(benchmark.prompt_of, samples)), [""] * len(samples)
    fields: list[dict[str, Any]] = [{} for _ in samples]
    with ProgressBar("answering", len(by_media), shown=progress) as bar:
        for done, (path, places) in enumerate(by_media.items(), 1):
            questions = [_question(samples[place], prompts[place]) for place in places]
            scene = open_benchmark_scene(benchmark, path)
            if benchmark.controlled:
                # a Dollhouse model answers as in ``dollhouse ask``, with its calibrated confidence
                answers: Sequence[Answer | TeacherAnswer] = (
                    opened.answer(scene, questions) if student is None else _ask(student, scene, questions)
                )
                unseen = [None] * len(places) if control is None else _ask(control, scene, questions)
                for place, answer, other in zip(places, answers, unseen, strict=True):
                    texts[place] = answer.text
                    confidence = answer.confidence if isinstance(answer, Answer) else None
                    fields[place] = {"confidence": confidence, "blind_prediction": other and other.text}
            else:
                for place, answer in zip(places, opened.answer(scene, questions), strict=True):
                    texts[place] = answer.text
            bar.update(done)

    @cache
    def frames(path: Path) -> str:
        return frame_strip([view.image for view in open_benchmark_scene(benchmark, path).views])

    def picture(row: Mapping[str, Any]) -> str:
        return frames(media_path(scenes, row["scene"], row["media"]))

    matched = Predictions(str(source.get("teacher")), texts, prompts, fields)
    return _score(benchmark, samples, matched, source, out, seed, command, progress, picture)


@locks_out
def evaluate_teacher(
    teacher: Teacher | str,
    scenes: str | Sequence[Scene] = "rooms:test/0-199",
    *,
    teacher_args: Mapping[str, str] | None = None,
    questions_per_scene: int = 40,
    views: int | None = None,
    out: Path | None = None,
    seed: int = 0,
    corrections: Corrections = AS_READ,
    command: str | None = None,
    progress: bool = True,
) -> BenchmarkRun:
    """Score a teacher on the questions that :func:`~dollhouse.evaluation.evaluate.evaluate` gives a model.

    Args:
        teacher, teacher_args: a teacher, or its name and settings.
        views: photos of a scan on disk at most, chosen by overlap; None for all.
        out: folder for ``predictions.jsonl``, ``report.html`` and ``report.json``.
        corrections: of poses and depth, where ``scenes`` is a name or folder.

    Raises:
        SceneError: scenes cannot be opened, or the poses of a scene disagree with its depth.
        QuestionError: a scene has no questions.
        TeacherError: the teacher cannot answer about a scene.
        StorageError: ``out`` cannot be written.
    """
    opened: Sequence[Scene] = open_scenes(scenes, corrections=corrections) if isinstance(scenes, str) else scenes
    if index := index_scenes(opened, views, progress=progress):
        opened = IndexedScenes(index, views)
    answerer, source = _open_teacher(teacher, teacher_args)
    generate = EvaluationQuestions(opened, questions_per_scene, seed)
    samples: list[Sample] = []
    texts: list[str] = []
    with ProgressBar("answering", len(opened), shown=progress) as bar:
        for done, scene in enumerate(opened, 1):
            require_consistent(scene)
            questions, reason = generate(scene)
            if not questions:
                raise QuestionError(f"scene {scene.name}: {reason}; leave it out, or evaluate a scene with boxes")
            texts += [answer.text for answer in answerer.answer(scene, questions)]
            samples += map(rooms.sample_of_question, questions)
            bar.update(done)
    matched = Predictions(str(source.get("teacher")), texts, list(map(rooms.BENCHMARK.prompt_of, samples)))
    return _score(rooms.BENCHMARK, samples, matched, source, out, seed, command, progress)


def _open_teacher(teacher: Teacher | str, args: Mapping[str, str] | None) -> tuple[Teacher, dict[str, Any]]:
    """Open a teacher by name; return it with its provenance and, for a Dollhouse checkpoint, its lineage."""
    lineage: Mapping[str, Any] | str = UNKNOWN
    if isinstance(teacher, str):
        from dollhouse.models.dollhouse.serialization import find_model
        from dollhouse.teachers.registry import open_teacher

        kind, _, folder = teacher.partition(":")
        if kind == "checkpoint":
            lineage = model_lineage(find_model(folder or None))
        teacher = open_teacher(teacher, args)
    return teacher, {**teacher.provenance(), "lineage": lineage}


def _open_control(teacher: Teacher | str, blind: Path | None) -> DollhousePipeline | None:
    """Open a blind control, by default that inside the model folder of a teacher's name; None where there is none."""
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.models.dollhouse.serialization import find_model

    kind, _, folder = teacher.partition(":") if isinstance(teacher, str) else ("", "", "")
    if blind is None and kind == "checkpoint" and (inside := find_model(folder or None) / "blind").is_dir():
        blind = inside
    return None if blind is None else DollhousePipeline.from_pretrained(blind)


def _pipeline_of(teacher: Teacher) -> DollhousePipeline | None:
    from dollhouse.teachers.dollhouse import DollhouseTeacher

    return teacher.pipeline if isinstance(teacher, DollhouseTeacher) else None


def _ask(pipeline: DollhousePipeline, scene: Scene, questions: Sequence[Question]) -> list[Answer]:
    return pipeline.encode_scene(scene, len(scene.views)).answer([question.text for question in questions])


def _question(sample: Sample, prompt: str) -> Question:
    return Question(sample.id, sample.scene, sample.kind, sample.kind, prompt, sample.answers[0], (), (), None)


def _score(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    predictions: Predictions,
    source: Mapping[str, Any],
    out: Path | None,
    seed: int,
    command: str | None,
    progress: bool,
    picture: Callable[[Mapping[str, Any]], str | None] = lambda row: None,
) -> BenchmarkRun:
    """Score predictions in the order of ``samples``, and write the report; ``picture`` maps a row to a data URI."""
    with ProgressBar(f"scoring {len(samples):,} answers", shown=progress):
        result = benchmark.score(samples, predictions.texts)
        credits = sample_credits(result, len(samples))
        columns = zip(samples, predictions.texts, predictions.prompts, credits, strict=True)
        rows = [benchmark.row_of(*column) for column in columns]
        if predictions.fields:
            rows = [row | dict(fields) for row, fields in zip(rows, predictions.fields, strict=True)]
        scores = compute_scores(benchmark, result, rows, seed)
    match = {"same": 0, "different": 0, "unknown": 0}
    for sample, prompt in zip(samples, predictions.prompts, strict=True):
        same = prompt is not None and prompt.strip() == benchmark.prompt_of(sample).strip()
        match["unknown" if prompt is None else "same" if same else "different"] += 1
    if out is not None:
        lines, provenance = jsonl_text(rows), {"command": command}
        report = build_report(
            benchmark, rows, lines, scores, model=source, seed=seed, provenance=provenance, prompt_match=match
        )
        page = {"model": source.get("name"), "seed": seed, "command": command or "not given"}
        html = benchmark_page(benchmark, scores, rows, page, picture)
        write_texts(out, {"predictions.jsonl": lines, "report.html": html, "report.json": format_report(report)})
    return BenchmarkRun(benchmark, scores, rows, predictions.program, match, out)
