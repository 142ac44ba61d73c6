"""A folder of tables: written together, and verified without a model.

``report.json`` names the models with the hashes of their weights, the tables, the page, and a digest of every line of
every file. Everything else is computed: values from the measurements beside it, pages from the values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from html.parser import HTMLParser
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dollhouse.errors import ScoreError, first_fault
from dollhouse.evaluation.report.render import Note, Part, Section, render_sections
from dollhouse.evaluation.report.render import Table as PageTable
from dollhouse.evaluation.report.report_schema import digest, package_versions, text_sha256
from dollhouse.evaluation.tables.measurements import Measurements, packed_lines, read_measurements
from dollhouse.evaluation.tables.table import SECOND_LINES, Table, markdown_table
from dollhouse.system.atomic_io import write_text
from dollhouse.system.read_files import decoding, read_bytes, read_json, read_text

FORMAT = "dollhouse tables 1"
REPORT, README, PAGE = "report.json", "README.md", "report.html"
TOLERANCE = 2e-6  #: relative; sums of another processor may differ in their last bits
SHORT = 8  #: hex digits of a line's digest
MOST = 60  #: findings that are listed
LINES = 5  #: of them, changed lines of a file
_UNFILLED = re.compile(r"\{[\w-]+:[^{}|]*\|[^{}]*\}|^\{[\w-]+\}$")


@dataclass(frozen=True)
class TablesVerification:
    """The result of a verification; ``findings`` is empty where everything agrees."""

    tables: int
    values: int  #: computed again
    findings: list[str]  #: what was changed first, then what follows from it


def write_folder(
    folder: Path, tables: Sequence[Table], measurements: Measurements, page: str, about: Mapping[str, Any]
) -> None:
    """Write tables, their pages and ``report.json``; pictures lie in the folder already.

    Args:
        page: template of ``README.md``: ``{TABLE:row|column}`` is a value, ``{TABLE}`` on a line of its own the table.
        about: commit, machine, commands.
    """
    measurements.pack(folder)
    for table in tables:
        tree = table.model_dump(mode="json", exclude_defaults=True)
        write_text(folder / f"{table.key}.json", json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
        write_text(folder / f"{table.key}.md", table.as_markdown())
    write_text(folder / README, fill_page(page, tables))
    write_text(folder / PAGE, html_page(tables, about))
    sections = {"format": FORMAT, "about": dict(about), "packages": package_versions(), "models": measurements.models}
    sections |= {"tables": [table.key for table in tables], "page": page.splitlines()}
    sections |= {"files": {path.name: _digests(path) for path in sorted(folder.iterdir()) if path.name != REPORT}}
    report = sections | {"digests": {name: digest(value) for name, value in sections.items()}}
    lines = (f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in report.items())
    write_text(folder / REPORT, "{\n" + ",\n".join(lines) + "\n}\n")


def is_tables_folder(path: Path) -> bool:
    """Return whether ``path`` is such a folder."""
    file = path / REPORT
    if not file.is_file():
        return False
    report = read_json(file, ScoreError, "fetch it again")
    return isinstance(report, dict) and str(report.get("format", "")).startswith("dollhouse tables")


def verify_folder(folder: Path) -> TablesVerification:
    """Compute every table of a folder again from the measurements in it, and compare every file.

    Raises ScoreError where a file that everything rests on cannot be read.
    """
    report = read_json(folder / REPORT, ScoreError, "fetch it again")
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ScoreError(f"{folder / REPORT}: is not a report of this version ({FORMAT!r}); make the tables again")
    with decoding(folder / REPORT, "a report of tables", ScoreError, "fetch it again"):
        changed = [*_changed_sections(report), *_changed_files(folder, report["files"])]
        findings: list[str] = []
        measurements = read_measurements(folder, report["models"])
        tables: list[Table] = []
        values = 0
        for key in report["tables"]:
            if Path(key).name != key:
                raise ScoreError(f"{folder / REPORT}: {key!r} is no name of a table; fetch it again")
            stored = _read_table(folder / f"{key}.json")
            try:
                computed = stored.computed(measurements)
            except ScoreError as error:  # its description was changed, which the digests name by line
                changed.append(f"{key}.json: cannot be computed: {error}")
                computed = stored
            values += sum(len(row.values) + len(row.differences) for row in computed.rows)
            wrong = list(_changed_values(f"{key}.json", stored, computed))
            shown = computed if wrong else stored  # last bits of another processor must not change a rounded digit
            findings += wrong + list(_changed_lines(folder / f"{key}.md", shown.as_markdown()))
            tables.append(shown)
        findings += _changed_lines(folder / README, fill_page("\n".join(report["page"]) + "\n", tables))
        findings += _changed_page(folder / PAGE, tables)
    return TablesVerification(len(tables), values, list(dict.fromkeys(changed + findings))[:MOST])


def fill_page(page: str, tables: Sequence[Table]) -> str:
    """Fill a template of the summary page. Raises ScoreError for a table, row or column that is missing."""
    by_key = {table.key: table for table in tables}
    lines = []
    for line in page.splitlines():
        if line.strip("{}") in by_key and line == f"{{{line.strip('{}')}}}":
            lines.append(markdown_table(*by_key[line.strip("{}")].cells()))
            continue
        for key, table in by_key.items():
            places = re.compile(rf"\{{{re.escape(key)}:([^{{}}]*)\}}")
            line = places.sub(partial(_filled, table), line)
        if left := _UNFILLED.search(line):
            raise ScoreError(f"there is no table for {left[0]}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _filled(table: Table, place: re.Match[str]) -> str:
    return table.fill(f"{{{place[1]}}}")


def html_page(tables: Sequence[Table], about: Mapping[str, Any]) -> str:
    """Render one page of all tables, the paper's beside each."""
    sections = []
    for table in tables:
        heads, rows = table.cells()
        pairs = [[(cell.split("\n")[0], cell.split("\n")[1]) if "\n" in cell else cell for cell in row] for row in rows]
        parts: list[Part] = [
            *table.texts(),
            PageTable(heads, pairs),
            *(Note(table.fill(text)) for text in table.method),
        ]
        parts.extend(Note(f"Left out: {text}.", "warning") for text in table.left_out)
        paper = table.paper
        published: list[Part] = [PageTable(paper.columns, paper.rows), Note(paper.comparable)] if paper else []
        sections.append(Section(table.title, parts, published, "The paper" if paper else ""))
    facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    sections.append(Section("This run", [facts]))
    return render_sections("Results", sections, introduction=SECOND_LINES, broad=True)


def _read_table(path: Path) -> Table:
    try:
        return Table.model_validate(read_json(path, ScoreError, "fetch it again"))
    except ValidationError as error:
        raise ScoreError(f"{path}: is no table ({first_fault(error)}); fetch it again") from error


def _digests(path: Path) -> str | list[str]:
    """Return a digest of each line of a text file, packed or not, or of a whole binary file."""
    if path.suffix == ".png":
        return sha256(path.read_bytes()).hexdigest()[:SHORT]
    lines = packed_lines(path) if path.suffix == ".xz" else path.read_text(encoding="utf-8").split("\n")
    return [text_sha256(line)[:SHORT] for line in lines]


def _changed_sections(report: Mapping[str, Any]) -> Iterator[str]:
    digests = report.get("digests") or {}
    for name in {**digests, **report}:
        if name != "digests" and (name not in report or digests.get(name) != digest(report[name])):
            yield f"{REPORT}: {name!r} was changed after it was written"


def _changed_files(folder: Path, files: Mapping[str, Any]) -> Iterator[str]:
    present = {path.name for path in folder.iterdir() if path.name != REPORT}
    yield from (f"{name}: is missing" for name in files if name not in present)
    yield from (f"{name}: is not of this folder" for name in sorted(present - set(files)))
    for name in sorted(present & set(files)):  # names of the folder, wherever a name in the report points to
        theirs, ours = files[name], _digests(folder / name)
        if isinstance(theirs, str) or isinstance(ours, str):
            if theirs != ours:
                yield f"{name}: was changed after it was written"
            continue
        lines = [number for number, pair in enumerate(zip_longest(theirs, ours), 1) if pair[0] != pair[1]]
        yield from (f"{name}, line {number}: was changed after it was written" for number in lines[:LINES])
        if len(lines) > LINES:
            yield f"{name}: and {len(lines) - LINES} more lines"


def _changed_values(file: str, stored: Table, computed: Table) -> Iterator[str]:
    for old, new in zip(stored.rows, computed.rows, strict=True):
        for kind, theirs, ours in (("", old.values, new.values), ("difference, ", old.differences, new.differences)):
            for column in {**theirs, **ours}:
                if not _same(theirs.get(column), ours.get(column)):
                    values = f"holds {theirs.get(column)!s:.90}, from the predictions it is {ours.get(column)!s:.90}"
                    yield f"{file}, row {old.name!r}, {kind}column {column!r}: {values}"


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return theirs.keys() == ours.keys() and all(_same(theirs[name], ours[name]) for name in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_same, theirs, ours))
    if isinstance(theirs, float) and isinstance(ours, float | int):
        return abs(theirs - ours) <= TOLERANCE * max(abs(theirs), abs(ours)) + 1e-12
    return bool(theirs == ours)


def _changed_lines(path: Path, expected: str) -> Iterator[str]:
    text = read_text(path, ScoreError, "fetch it again")
    pairs = enumerate(zip_longest(text.split("\n"), expected.split("\n")), 1)
    wrong = ((number, wanted) for number, (line, wanted) in pairs if line != wanted)
    for number, wanted in islice(wrong, LINES):
        yield f"{path.name}, line {number}: is not what the tables give: {wanted!s:.120}"


class _Cells(HTMLParser):
    """Collects the texts of all table cells of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def _changed_page(path: Path, tables: Sequence[Table]) -> Iterator[str]:
    """Yield the cells of tables that the page lacks, in their order."""
    parser = _Cells()
    parser.feed(read_bytes(path, ScoreError, "fetch it again").decode("utf-8", "replace"))
    found = iter([" ".join(cell.split()) for cell in parser.cells])
    for table in tables:
        for row in table.cells()[1]:
            for cell in row:
                if not any(text.replace(" ", "") == "".join(cell.split()) for text in found):
                    yield f"{path.name}, {table.title}, row {row[0]!r}: lacks {' '.join(cell.split())!r}"
                    return
