"""Run a teacher over scenes and keep what it says: resumable at any moment, a whole record a scene or none.

A scene that fails is told at the end and does not stop the rest. Knows the protocol of teachers and the store; nothing
of any one teacher, and nothing of how progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dollhouse.errors import QuestionError, SceneError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.questions.sources import QuestionSource
from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.record import Record, cast_fp16
from dollhouse.records.scene_source import cache_views
from dollhouse.records.store import RecordWriter
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import GeometryTeacher, merge_geometry
from dollhouse.teachers.protocol import AnswersMissingError, Teacher, TeacherUnavailableError

Outcome = Literal["made", "kept", "failed"]  #: of one scene; "kept": its record was there already


@dataclass(frozen=True)
class Failure:
    """A scene without a record, and why."""

    scene: str
    why: str


@dataclass
class AnnotationRun:
    """How a run went."""

    made: int = 0
    kept: int = 0
    answers: int = 0  #: in the records made
    failures: list[Failure] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)  #: of all scenes that have a record now, in their order


def annotate_scenes(
    teacher: Teacher,
    scenes: Sequence[Scene],
    out: str | Path,
    *,
    asking: QuestionSource,
    geometry: Sequence[GeometryTeacher] = (),
    views: int | None = None,
    features: bool = True,
    half: bool = False,
    sources: Sequence[str] | None = None,
    on_scene: Callable[[str, Outcome], None] = lambda scene, outcome: None,
) -> AnnotationRun:
    """Ask ``teacher`` about every scene and keep a record of each in the folder ``out``.

    Args:
        asking: what is asked about a scene (:func:`dollhouse.questions.sources.open_question_source`).
        geometry: who tells depth and boxes (:func:`dollhouse.teachers.registry.open_geometry_teachers`); () nobody.
        views: photos of a scene that the teacher gets, spread over it; None all.
        features: whether to keep the teacher's spatial features.
        half: keep features and depth in half precision.
        sources: what each scene is opened by, to be kept with it; None: the scenes' names.
        on_scene: told after every scene.

    Raises StorageError where a record cannot be written, and TeacherUnavailableError where the teacher cannot answer
    about any scene; the same call continues where either stopped it.
    """
    provenance: dict[str, Any] = {
        "teacher": teacher.provenance(),
        "geometry": [source.provenance() for source in geometry],
        "settings": {"features": features, "half": half},
    }
    run = AnnotationRun()
    with RecordWriter(out) as records:
        parts = PartialAnswers(records.folder)
        for number in range(len(scenes)):
            source = sources[number] if sources else None
            try:
                scene = cache_views(scenes[number] if views is None else scenes[number].sample_views(views))
                source = source or scene.name
                hashed = scene_hash(scene)
                questions = tuple(asking(scene))
                id = record_id(hashed, questions, provenance)
                outcome: Outcome = "kept"
                if id not in records:
                    answers = _answers(teacher, scene, questions, id, parts)
                    told = merge_geometry(geometry, scene)
                    seen = teacher.features(scene) if features else None
                    if half:
                        seen, told = cast_fp16(seen, told)
                    record = Record.create(id, scene, source, hashed, questions, answers, provenance, seen, told)
                    records.write(record)
                    outcome = "made"
                    run.answers += len(answers)
                parts.delete(id)
                run.record_ids.append(id)
            except TeacherUnavailableError:
                raise
            except (SceneError, QuestionError, TeacherError) as error:
                outcome = "failed"
                run.failures.append(Failure(source or f"scene {number}", str(error)))
            run.made += outcome == "made"
            run.kept += outcome == "kept"
            on_scene(source or f"scene {number}", outcome)
    return run


def _answers(
    teacher: Teacher, scene: Scene, questions: tuple[Question, ...], id: str, parts: PartialAnswers
) -> list[TeacherAnswer]:
    """All answers; those that an earlier run got are not asked for again."""
    told = parts.read(id)
    missing = [place for place in range(len(questions)) if place not in told]
    try:
        answers = teacher.answer(scene, [questions[place] for place in missing]) if missing else []
    except (AnswersMissingError, TeacherUnavailableError) as error:
        parts.write(id, told | {missing[place]: answer for place, answer in error.answers.items()})
        raise
    if len(answers) != len(missing):
        raise TeacherError(f"scene {scene.name}: {len(answers)} answers to {len(missing)} questions")
    told |= dict(zip(missing, answers, strict=True))
    return [told[place] for place in range(len(questions))]
