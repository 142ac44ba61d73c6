"""``docs/results`` is complete: every table and figure as JSON and markdown that agree, with what made it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.paper.results import Result, ResultRow
from experiments.paper.spec import Column, Published, read_spec
from experiments.paper.statistics import Estimate

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
KEYS = list(read_spec().tables)


def stored(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def result_of(tree: dict[str, Any], with_figure: bool) -> Result:
    """Read a result back from its JSON."""

    def value(entry: Any) -> Any:
        return Estimate(**entry) if isinstance(entry, dict) else entry

    rows = []
    for row in tree["rows"]:
        cells, changes = (
            {name: value(entry) for name, entry in row[part].items()} for part in ("values", "differences")
        )
        rows.append(ResultRow(row["name"], cells, changes, row["seeds"]))
    columns, paper = [Column(**column) for column in tree["columns"]], Published(**tree["paper"])
    texts = {name: tree[name] for name in ("method", "sentences", "left_out")}
    figure: Any = (lambda: None) if with_figure else None
    return Result(tree["key"], tree["title"], columns, paper, rows=rows, figure=figure, **texts)


@pytest.mark.parametrize("key", KEYS)
def test_every_result_is_there_and_its_markdown_is_its_json(key: str) -> None:
    name = Result(key, "", [], Published(columns=[], rows=[], comparable=""), []).file_name
    result = result_of(stored(name), (RESULTS / f"{name}.png").exists())
    assert (RESULTS / f"{name}.md").read_text() == result.as_markdown()


def test_every_run_states_commit_machine_and_recipe() -> None:
    runs = stored("runs")
    assert len(runs) > 30
    for run in runs.values():
        assert run["recipe"]["seed"] in (0, 1, 2)
        assert re.fullmatch(r"[0-9a-f]{40}", run["commit"])
        assert run["machine"]["cores"] >= 1


def test_no_path_of_a_machine() -> None:
    for path in RESULTS.rglob("*.*"):
        if path.suffix in (".json", ".md", ".html"):
            assert not re.search(r"/(tmp|root|home|work)/", path.read_text()), path


@pytest.mark.parametrize(
    ("card", "run", "column"),
    [
        ("nano_depth_teacher", ".", "teacher"),
        ("rooms_nano", ".", "student"),
        ("nano_distilled", "distilled", "student"),
        ("nano_distilled", "distilled", "student / teacher"),
    ],
)
def test_a_card_quotes_its_figures(card: str, run: str, column: str) -> None:
    text = (ROOT / f"docs/models/{card}.md").read_text().replace(" %", "%")
    rows = {row["name"]: row["values"][column]["value"] for row in stored(f"{run}/retention")["rows"]}
    assert set(rows) == {"proximity", "contact", "size", "orientation", "all four"}
    for share in rows.values():
        assert f"{share:.1%}" in text


def test_retention_by_records_alone() -> None:
    """At least 95 % of the teacher's accuracy, 90 % in each family."""
    rows = {row["name"]: row["values"]["student / teacher"]["value"] for row in stored("distilled/retention")["rows"]}
    assert rows.pop("all four") >= 0.95
    assert min(rows.values()) >= 0.90
