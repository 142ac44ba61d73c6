"""What `dollhouse label` and `dollhouse records` do with what the user wrote.

Knows how results are told on a terminal; the work is done by the modules beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from dollhouse.errors import StorageError, TeacherError
from dollhouse.questions.sources import open_question_source
from dollhouse.records.record import Record
from dollhouse.records.scene_source import scene_sources
from dollhouse.records.store import RecordStore, count_families
from dollhouse.scenes.open import open_scenes
from dollhouse.teachers.annotate import AnnotationRun, annotate_scenes
from dollhouse.teachers.file import FileTeacher
from dollhouse.teachers.progress import LabelProgress
from dollhouse.teachers.registry import open_geometry_teachers, open_teacher

MOST_FAILURES_TOLD = 10


def label_scenes(
    teacher: str,
    scenes: str,
    out: Path,
    *,
    questions: str | None,
    limit: int | None,
    seed: int,
    views: int | None,
    geometry: Sequence[str],
    settings: Sequence[str],
    features: bool,
    half: bool,
    skip_bad: bool,
) -> int:
    """Label and tell how it went; the exit code: 0, or 1 where some scenes failed."""
    given = _settings(settings)
    opened = open_teacher(teacher, {key: value for key, value in given.items() if "." not in key})
    sources = open_geometry_teachers(geometry, opened, {key: value for key, value in given.items() if "." in key})
    listed = open_scenes(scenes, skip_bad=skip_bad)
    if questions is None and isinstance(opened, FileTeacher):
        questions = str(opened.path)
    asking = open_question_source(questions, listed, limit, seed)
    try:
        with LabelProgress(len(listed)) as progress:
            run = annotate_scenes(
                opened,
                listed,
                out,
                asking=asking,
                geometry=sources,
                views=views,
                features=features,
                half=half,
                sources=scene_sources(listed, scenes),
                on_scene=progress.on_scene,
            )
    finally:
        if bill := getattr(opened, "bill", None):
            print(f"{teacher}: {bill()}", file=sys.stderr)
    _tell(run, out)
    return 1 if run.failures else 0


def show_records(folder: Path, which: str | None, limit: int) -> None:
    """What the folder holds; or, with ``which`` (the beginning of an id, or a scene's name), one record.

    Raises StorageError where there is no such record, or it is damaged.
    """
    records = RecordStore(folder)
    console = Console(soft_wrap=True, highlight=False)
    if which is None:
        _show_all(records, console, limit)
        return
    found = [id for id in records.ids() if id.startswith(which)] or [record.id for record in records.for_scene(which)]
    if not found:
        raise StorageError(f"{folder}: has no record {which!r}; name a scene, or the beginning of a record's id")
    for id in found:
        _show_one(records.read(id), console, limit)


def check_records(folder: Path) -> int:
    """Compare every file with its hash; the exit code: 0, or 1 where something is damaged."""
    records = RecordStore(folder)
    problems = records.check()
    for problem in problems:
        print(problem)
    print(f"{folder}: {len(records)} records, {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    return 1 if problems else 0


def _settings(given: Sequence[str]) -> dict[str, str]:
    settings = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise TeacherError(f"setting {one!r}: write KEY=VALUE, such as max_new_tokens=64")
        settings[key.strip()] = value
    return settings


def _tell(run: AnnotationRun, out: Path) -> None:
    for failure in run.failures[:MOST_FAILURES_TOLD]:
        print(f"failed: {failure.scene}: {failure.why}", file=sys.stderr)
    if len(run.failures) > MOST_FAILURES_TOLD:
        print(f"failed: {len(run.failures) - MOST_FAILURES_TOLD} more", file=sys.stderr)
    rest = f", {len(run.failures)} scenes failed; run the same command again for these" if run.failures else ""
    print(f"records: {out}: {run.made} made with {run.answers} answers, {run.kept} there already{rest}")


def _show_all(records: RecordStore, console: Console, limit: int) -> None:
    ids = records.ids()
    size = sum(path.stat().st_size for path in records.folder.rglob("*") if path.is_file())
    families = ", ".join(f"{family} {count}" for family, count in count_families(records).most_common())
    console.print(f"{records.folder}: {len(ids)} records, {size / 1e6:.1f} MB; answers: {families or 'none'}")
    for id in ids[:limit]:
        row = records.row(id)
        counts = [f"{len(row[name])} {name}" for name in ("views", "boxes", "relations") if row[name] is not None]
        told = ", ".join([f"{row['answers']} answers", *counts, row["licence"]])
        console.print(f"{id[:12]}  {row['scene']}  {row['teacher']}: {told}", markup=False)
    if len(ids) > limit:
        console.print(f"and {len(ids) - limit} more; see them with --limit")


def _show_one(record: Record, console: Console, limit: int) -> None:
    teacher = record.provenance["teacher"]
    console.print(f"record {record.id}", style="bold")
    console.print(f"scene {record.scene} ({record.source}), {len(record.cameras)} views")
    console.print(f"teacher {teacher['teacher']} {teacher.get('name', '')}, weights {teacher.get('weights')}")
    console.print(f"geometry {', '.join(one['teacher'] for one in record.provenance['geometry']) or 'none'}")
    console.print(f"licence {record.licence}")
    if record.features is not None:
        places, width = record.features.features.shape
        console.print(f"features of {places} places, {width} numbers each")
    geometry = record.geometry
    for view, depth in enumerate(((geometry.depth if geometry else None) or ())[:limit]):
        known = depth[depth > 0]
        unit = "m" if geometry and geometry.metric else "(no scale)"
        span = f"{np.min(known):.2f} to {np.max(known):.2f} {unit}" if len(known) else "nothing known"
        console.print(
            f"depth of view {view}: {depth.shape[0]} x {depth.shape[1]}, {span}, {len(known) / depth.size:.0%}"
        )
    for box in ((geometry.boxes if geometry else None) or ())[:limit]:
        where = ", ".join(f"{number:.2f}" for number in box.center)
        score = "" if box.score is None else f", {box.score:.0%} sure"
        console.print(f"box {box.id}: {box.colour or ''} {box.label} at ({where}){score}", markup=False)
    if record.relations is not None:
        console.print(f"relations of {len(record.relations)} pairs")
    for question, answer in list(zip(record.questions, record.answers, strict=True))[:limit]:
        reference = f"  (geometry: {question.answer})" if question.answer and question.answer != answer.text else ""
        console.print(f"{question.text}", style="dim", markup=False)
        kept = "" if answer.top_ids is None else f"  [{answer.top_ids.shape[0]} tokens, top {answer.top_ids.shape[-1]}]"
        console.print(f"  {answer.text}{reference}{kept}", markup=False)
    if len(record.questions) > limit:
        console.print(f"and {len(record.questions) - limit} more answers; see them with --limit")
