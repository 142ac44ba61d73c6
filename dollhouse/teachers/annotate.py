"""Run a teacher over scenes and write its records. A run that was stopped continues where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError, SceneError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.questions.scene_index import IndexedScenes, index_scenes
from dollhouse.questions.sources import QuestionSource, open_question_source
from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.record import Record, cast_fp16
from dollhouse.records.scene_source import cache_views, scene_sources
from dollhouse.records.types import TeacherAnswer
from dollhouse.records.writer import RecordWriter
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import AS_READ, open_scenes
from dollhouse.scenes.pose_checks import require_consistent
from dollhouse.scenes.scene import Scene
from dollhouse.system.text import storable
from dollhouse.teachers.file import FileTeacher
from dollhouse.teachers.geometry import GeometryTeacher, merge_geometry
from dollhouse.teachers.protocol import AnswersMissingError, StreamingTeacher, Teacher, TeacherUnavailableError
from dollhouse.teachers.registry import open_geometry_teachers, open_teacher


@dataclass(frozen=True)
class SceneFailure:
    """A scene without a record, and the reason."""

    scene: str
    reason: str


@dataclass
class SceneRun:
    """The results of a run over scenes, complete or so far."""

    total: int  #: scenes to annotate
    written: int = 0
    existing: int = 0
    failures: list[SceneFailure] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Scenes processed so far."""
        return self.written + self.existing + len(self.failures)


@dataclass
class AnnotationRun(SceneRun):
    """The results of a run that writes records."""

    answers: int = 0  #: in the records written
    unanswered: Counter[str] = field(default_factory=Counter)  #: questions of these records, by reason: "refused"
    record_ids: list[str] = field(default_factory=list)  #: of all scenes that have a record now, in order


def annotate(
    teacher: str,
    scenes: str,
    out: str | Path,
    *,
    questions: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    views: int | None = None,
    geometry_teachers: Sequence[str] = ("own", "scene"),
    teacher_args: Mapping[str, str] | None = None,
    features: bool = True,
    fp16: bool = False,
    skip_bad: bool = False,
    corrections: Corrections = AS_READ,
    shard: tuple[int, int] = (0, 1),
    on_scene: Callable[[AnnotationRun], None] | None = None,
    on_usage: Callable[[str], None] | None = None,
) -> AnnotationRun:
    """Annotate scenes given by name with a teacher given by name.

    Args:
        teacher, geometry_teachers: names as in :mod:`dollhouse.teachers.registry`.
        scenes: what :func:`dollhouse.open_scenes` opens, such as ``rooms:train/0-199`` or a folder.
        questions, limit, seed: as in :func:`dollhouse.questions.sources.open_question_source`; a ``file`` teacher
            brings its own questions.
        teacher_args: settings by name; those of a geometry teacher are written ``detect.threshold``.
        skip_bad: leave out photos that cannot be read.
        corrections: of poses and depth; training on the records needs them too (``data.corrections``).
        on_usage: receives requests, tokens and cost of a server at the end, also after an error.
        out, views, features, fp16, shard, on_scene: as in :func:`annotate_scenes`.

    Raises what :func:`annotate_scenes` raises, and a DollhouseError for a name or setting that is not valid.
    """
    args = teacher_args or {}
    opened = open_teacher(teacher, {key: args[key] for key in args if "." not in key})
    geometry = open_geometry_teachers(geometry_teachers, opened, {key: args[key] for key in args if "." in key})
    opened_scenes = open_scenes(scenes, skip_bad=skip_bad, corrections=corrections)
    if questions is None and isinstance(opened, FileTeacher):
        questions = str(opened.path)
    chosen: Sequence[Scene] = opened_scenes
    generated = questions in (None, "generated", "photos")
    if (generated or views is not None) and (index := index_scenes(opened_scenes, views)):
        chosen = IndexedScenes(index, views)
        if generated:
            _ = index.balance  # prints the number of questions before the first scene
    try:
        return annotate_scenes(
            opened,
            chosen,
            out,
            questions=open_question_source(questions, chosen, limit, seed),
            geometry=geometry,
            views=views,
            features=features,
            fp16=fp16,
            sources=scene_sources(opened_scenes, scenes),
            shard=shard,
            on_scene=on_scene,
        )
    finally:
        if on_usage is not None and (usage := getattr(opened, "usage", None)):
            on_usage(usage())


def annotate_scenes(
    teacher: Teacher,
    scenes: Sequence[Scene],
    out: str | Path,
    *,
    questions: QuestionSource,
    geometry: Sequence[GeometryTeacher] = (),
    views: int | None = None,
    features: bool = True,
    fp16: bool = False,
    sources: Sequence[str] | None = None,
    shard: tuple[int, int] = (0, 1),
    on_scene: Callable[[AnnotationRun], None] | None = None,
) -> AnnotationRun:
    """Write a record of every scene to the folder ``out``, except those that it holds already.

    A scene that fails, or whose poses disagree with its depth, is listed in the result and does not stop the others.

    Args:
        questions: gives the questions about a scene (:func:`dollhouse.questions.sources.open_question_source`).
        geometry: sources of depth and boxes, in order of precedence; () for none.
        views: photos per scene that the teacher gets, spread over the scene; None for all. Of scans on disk,
            :func:`annotate` chooses them by overlap.
        features: whether to store the teacher's spatial features.
        fp16: store features and depth in half precision.
        sources: the name or path that opens each scene, to be stored; None: the scenes' names.
        shard: (i, n) annotates the scenes i, i + n, ... only. The shards of n machines, in one folder or merged, hold
            the records of one run.
        on_scene: called after every scene with the results so far.

    Raises:
        StorageError: where a record cannot be written.
        TeacherUnavailableError: where the teacher cannot answer about any scene.
    """
    provenance: dict[str, Any] = {
        "teacher": teacher.provenance(),
        "geometry": [source.provenance() for source in geometry],
        "settings": {"features": features, "half": fp16},  # the keys are part of record ids
    }
    numbers = range(shard[0], len(scenes), shard[1])
    run = AnnotationRun(len(numbers))
    with RecordWriter(out) as records:
        partial = PartialAnswers(records.folder)
        for number in numbers:
            source = sources[number] if sources else None
            try:
                whole = scenes[number]
                scene = cache_views(whole if views is None else whole.sample_views(views))
                source = storable(source or scene.name)
                content = scene_hash(scene)
                scene_questions = tuple(questions(scene))
                id = record_id(content, scene_questions, provenance)
                if id in records:
                    run.existing += 1
                else:
                    require_consistent(whole)
                    answers = _answers(teacher, scene, scene_questions, id, partial)
                    merged = merge_geometry(geometry, scene)
                    spatial = teacher.features(scene) if features else None
                    if fp16:
                        spatial, merged = cast_fp16(spatial, merged)
                    contents = scene, source, content, scene_questions, answers, provenance, spatial, merged
                    records.write(Record.create(id, *contents))
                    run.written += 1
                    failures = [answer.failure for answer in answers if answer.failure is not None]
                    run.answers += len(answers) - len(failures)
                    run.unanswered.update(failure.partition(":")[0] for failure in failures)
                partial.delete(id)
                run.record_ids.append(id)
            except TeacherUnavailableError:
                raise
            except (SceneError, QuestionError, TeacherError) as error:
                run.failures.append(SceneFailure(source or f"scene {number}", str(error)))
            if on_scene is not None:
                on_scene(run)
    return run


def _answers(
    teacher: Teacher, scene: Scene, questions: Sequence[Question], id: str, partial: PartialAnswers
) -> list[TeacherAnswer]:
    """Return all answers, those of an earlier run without asking again."""
    answers = partial.read(id)
    missing = [index for index in range(len(questions)) if index not in answers]
    wanted = [questions[index] for index in missing]

    def store(position: int, answer: TeacherAnswer) -> None:
        partial.add(id, missing[position], answer)
        answers[missing[position]] = answer

    if isinstance(teacher, StreamingTeacher):
        if wanted:
            teacher.answer_each(scene, wanted, store)
        return [answers[index] for index in range(len(questions))]
    try:
        new = teacher.answer(scene, wanted) if wanted else []
    except (AnswersMissingError, TeacherUnavailableError) as error:
        for position, answer in error.answers.items():
            store(position, answer)
        raise
    if len(new) != len(missing):
        raise TeacherError(f"scene {scene.name}: {len(new)} answers to {len(missing)} questions")
    answers |= dict(zip(missing, new, strict=True))
    return [answers[index] for index in range(len(questions))]
