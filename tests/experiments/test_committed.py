"""What lies in ``docs/results`` is whole: every table and figure, each told with what it was made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from experiments.paper.command import ALL_CHAPTERS
from experiments.paper.report import file_name

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
KEYS = [file_name(key) for key in ALL_CHAPTERS]


def told(name: str) -> dict[str, object]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", KEYS)
def test_every_result_is_there(name: str) -> None:
    result = told(name)
    assert result["title"]
    assert (RESULTS / f"{name}.md").read_text().startswith(f"# {result['title']}")


def test_runs_tell_commit_machine_and_recipe() -> None:
    runs = sorted((RESULTS / "runs").glob("*.json"))
    assert len(runs) > 30
    for path in runs:
        run = json.loads(path.read_text())
        assert run["recipe"]["seed"] in (0, 1, 2)
        assert re.fullmatch(r"[0-9a-f]{40}", run["commit"])
        assert run["machine"]["cores"] >= 1


def test_nothing_tells_where_it_was_made() -> None:
    """Paths of one person's machine help nobody."""
    for path in RESULTS.rglob("*.*"):
        if path.suffix in (".json", ".md", ".html"):
            assert not re.search(r"/(tmp|root|home|work)/", path.read_text()), path


@pytest.mark.parametrize(
    ("card", "run", "column"),
    [
        ("nano_depth_teacher", ".", "teacher"),
        ("nano", ".", "student"),
        ("nano_distilled", "distilled", "student"),
        ("nano_distilled", "distilled", "student / teacher"),
    ],
)
def test_a_card_quotes_its_figures(card: str, run: str, column: str) -> None:
    text = (ROOT / f"docs/models/{card}.md").read_text().replace(" %", "%")
    rows = {row["name"]: row["values"][column]["value"] for row in told(f"{run}/retention")["rows"]}  # type: ignore[attr-defined]
    assert set(rows) == {"proximity", "contact", "size", "orientation", "all four"}
    for share in rows.values():
        assert f"{share:.1%}" in text


def test_what_a_student_keeps_that_learnt_from_records_alone() -> None:
    """The paper's claim, and ours: at least 95 % of the teacher's accuracy, 90 % of it in each family."""
    rows = {row["name"]: row["values"]["student / teacher"]["value"] for row in told("distilled/retention")["rows"]}  # type: ignore[attr-defined]
    assert rows.pop("all four") >= 0.95
    assert min(rows.values()) >= 0.90
