"""The printing of ``dollhouse annotate`` and ``dollhouse records``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from dollhouse.records.record import Record
from dollhouse.records.store import RecordStore
from dollhouse.system.progress import ProgressBar
from dollhouse.teachers.annotate import annotate
from dollhouse.teachers.registry import parse_teacher_args

MAX_FAILURES_SHOWN = 10


def annotate_and_print(
    teacher: str,
    scenes: str,
    out: Path,
    *,
    questions: str | None,
    limit: int | None,
    seed: int,
    views: int | None,
    geometry_teachers: Sequence[str],
    teacher_args: Sequence[str],
    features: bool,
    fp16: bool,
    skip_bad: bool,
) -> int:
    """Annotate and print the results; the exit code: 0, or 1 where some scenes failed."""
    settings = parse_teacher_args(teacher_args)
    with ProgressBar("annotate") as progress:
        run = annotate(
            teacher,
            scenes,
            out,
            questions=questions,
            limit=limit,
            seed=seed,
            views=views,
            geometry_teachers=geometry_teachers,
            teacher_args=settings,
            features=features,
            fp16=fp16,
            skip_bad=skip_bad,
            on_scene=lambda run: progress.update(
                run.done, run.total, f"{run.existing} existing, {len(run.failures)} failed", skipped=run.existing
            ),
            on_usage=lambda usage: print(f"{teacher}: {usage}", file=sys.stderr),
        )
    for failure in run.failures[:MAX_FAILURES_SHOWN]:
        print(f"failed: {failure.scene}: {failure.reason}", file=sys.stderr)
    if len(run.failures) > MAX_FAILURES_SHOWN:
        print(f"failed: {len(run.failures) - MAX_FAILURES_SHOWN} more", file=sys.stderr)
    rest = f", {len(run.failures)} scenes failed; run the same command again for these" if run.failures else ""
    print(f"records: {out}: {run.written} written with {run.answers} answers, {run.existing} existing{rest}")
    return 1 if run.failures else 0


def show_records(folder: Path, which: str | None, limit: int) -> None:
    """Print a summary of the folder, or the records that ``which`` names (:meth:`RecordStore.find`)."""
    records = RecordStore(folder)
    console = Console(soft_wrap=True, highlight=False)
    if which is None:
        _show_all(records, console, limit)
        return
    for id in records.find(which):
        _show_one(records.read(id), console, limit)


def check_records(folder: Path) -> int:
    """Print what is damaged; the exit code: 0, or 1 where something is."""
    records = RecordStore(folder)
    problems = records.check()
    for problem in problems:
        print(problem)
    print(f"{folder}: {len(records)} records, {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    return 1 if problems else 0


def _show_all(records: RecordStore, console: Console, limit: int) -> None:
    found = records.summary()
    families = ", ".join(f"{family} {count}" for family, count in found.families.most_common())
    console.print(
        f"{records.folder}: {found.records} records, {found.size_bytes / 1e6:.1f} MB; answers: {families or 'none'}"
    )
    for id in records.ids()[:limit]:
        row = records.row(id)
        counts = [f"{len(row[name])} {name}" for name in ("views", "boxes", "relations") if row[name] is not None]
        contents = ", ".join([f"{row['answers']} answers", *counts, row["licence"]])
        console.print(f"{id[:12]}  {row['scene']}  {row['teacher']}: {contents}", markup=False)
    if found.records > limit:
        console.print(f"and {found.records - limit} more; see them with --limit")


def _show_one(record: Record, console: Console, limit: int) -> None:
    teacher = record.provenance["teacher"]
    console.print(f"record {record.id}", style="bold")
    console.print(f"scene {record.scene} ({record.source}), {len(record.cameras)} views")
    console.print(f"teacher {teacher['teacher']} {teacher.get('name', '')}, weights {teacher.get('weights')}")
    console.print(f"geometry {', '.join(entry['teacher'] for entry in record.provenance['geometry']) or 'none'}")
    console.print(f"licence {record.licence}")
    if record.features is not None:
        points, width = record.features.features.shape
        console.print(f"features of {points} points, {width} channels")
    geometry = record.geometry
    for view, depth in enumerate(((geometry.depth if geometry else None) or ())[:limit]):
        known = depth[depth > 0]
        unit = "m" if geometry and geometry.metric else "(no scale)"
        span = f"{np.min(known):.2f} to {np.max(known):.2f} {unit}" if len(known) else "unknown"
        console.print(
            f"depth of view {view}: {depth.shape[0]} x {depth.shape[1]}, {span}, {len(known) / depth.size:.0%}"
        )
    for box in ((geometry.boxes if geometry else None) or ())[:limit]:
        where = ", ".join(f"{number:.2f}" for number in box.center)
        score = "" if box.score is None else f", score {box.score:.2f}"
        console.print(f"box {box.id}: {box.colour or ''} {box.label} at ({where}){score}", markup=False)
    if record.relations is not None:
        console.print(f"relations of {len(record.relations)} pairs")
    for question, answer in list(zip(record.questions, record.answers, strict=True))[:limit]:
        reference = f"  (geometry: {question.answer})" if question.answer and question.answer != answer.text else ""
        console.print(f"{question.text}", style="dim", markup=False)
        tokens = (
            "" if answer.top_ids is None else f"  [{answer.top_ids.shape[0]} tokens, top {answer.top_ids.shape[-1]}]"
        )
        console.print(f"  {answer.text}{reference}{tokens}", markup=False)
    if len(record.questions) > limit:
        console.print(f"and {len(record.questions) - limit} more answers; see them with --limit")
