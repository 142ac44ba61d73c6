"""``dollhouse records``: inspect and merge the records of a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dollhouse.cli.app import records_app
from dollhouse.system.console import console

if TYPE_CHECKING:
    from dollhouse.records.record import Record
    from dollhouse.records.store import RecordStore

FolderArgument = Annotated[Path, typer.Argument(help="A folder that `annotate` wrote.")]


@records_app.command("show")
def show_records(
    folder: FolderArgument,
    record: Annotated[str | None, typer.Argument(help="A scene's name, or the beginning of a record's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Lines of each sort.")] = 20,
) -> None:
    """List what a folder of records holds, or print one record."""
    from dollhouse.records.store import RecordStore

    store = RecordStore(folder)
    if record is None:
        _print_store(store, limit)
        return
    for id in store.find(record):
        _print_record(store.read(id), limit)


@records_app.command("check")
def check_records(folder: FolderArgument) -> None:
    """Compare every file of every record with its hash; exit code 1 where a file is damaged."""
    from dollhouse.records.store import RecordStore

    store = RecordStore(folder)
    problems = store.check()
    for problem in problems:
        print(problem)
    print(f"{folder}: {len(store)} records, {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    if problems:
        raise typer.Exit(1)


@records_app.command("merge")
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `annotate` wrote, such as one a machine.")],
    out: Annotated[Path, typer.Option(help="The folder for all records; it may hold some already.")],
) -> None:
    """Copy the records of several folders to one, as if one run had written them.

    Example: dollhouse records merge shard0/ shard1/ --out records/
    """
    from dollhouse.records.writer import merge_records

    written, existing = merge_records(folders, out)
    print(f"{out}: {written} records copied" + (f", {existing} held already" if existing else ""))


def _print_store(store: RecordStore, limit: int) -> None:
    summary, out = store.summary(), console()
    families = ", ".join(f"{family} {count}" for family, count in summary.families.most_common())
    size = f"{summary.size_bytes / 1e6:.1f} MB"
    out.print(f"{store.folder}: {summary.records} records, {size}; answers: {families or 'none'}")
    for id in store.ids()[:limit]:
        row = store.row(id)
        counts = [f"{len(row[name])} {name}" for name in ("views", "boxes", "relations") if row[name] is not None]
        parts = ", ".join([f"{row['answers']} answers", *counts, row["licence"]])
        out.print(f"{id[:12]}  {row['scene']}  {row['teacher']}: {parts}")
    if summary.records > limit:
        out.print(f"and {summary.records - limit} more; --limit shows them")


def _print_record(record: Record, limit: int) -> None:
    out, teacher, geometry = console(), record.provenance["teacher"], record.geometry
    out.print(f"record {record.id}", style="bold")
    out.print(f"scene {record.scene} ({record.source}), {len(record.cameras)} views")
    out.print(f"teacher {teacher['teacher']} {teacher.get('name', '')}, weights {teacher.get('weights')}")
    sources = ", ".join(source["teacher"] for source in record.provenance["geometry"])
    out.print(f"geometry {sources or 'none'}\nlicence {record.licence}")
    if record.features is not None:
        points, width = record.features.features.shape
        out.print(f"features of {points} points, width {width}")
    for view, depth in enumerate(((geometry.depth if geometry else None) or ())[:limit]):
        valid = depth[depth > 0]
        unit = "m" if geometry and geometry.metric else "(relative)"
        span = f"{valid.min():.2f} to {valid.max():.2f} {unit}" if len(valid) else "no valid pixel"
        out.print(f"depth of view {view}: {depth.shape[0]} x {depth.shape[1]}, {span}, {len(valid) / depth.size:.0%}")
    for view, cells in enumerate(((geometry.label_maps if geometry else None) or ())[:limit]):
        known = cells.sum(-1) > 0
        out.print(f"labels of view {view}: {cells.shape[0]} x {cells.shape[1]} cells, {known.mean():.0%} known")
    for box in ((geometry.boxes if geometry else None) or ())[:limit]:
        center = ", ".join(f"{number:.2f}" for number in box.center)
        score = "" if box.score is None else f", score {box.score:.2f}"
        out.print(f"box {box.id}: {box.colour or ''} {box.label} at ({center}){score}")
    if record.relations is not None:
        out.print(f"relations of {len(record.relations)} pairs")
    for question, answer in list(zip(record.questions, record.answers, strict=True))[:limit]:
        reference = f"  (geometry: {question.answer})" if question.answer and question.answer != answer.text else ""
        tokens = "" if answer.top_ids is None else f"  [{len(answer.top_ids)} tokens, top {answer.top_ids.shape[-1]}]"
        out.print(question.text, style="dim")
        out.print(f"  {answer.failure or answer.text}{reference}{tokens}")
    if len(record.questions) > limit:
        out.print(f"and {len(record.questions) - limit} more answers; --limit shows them")
