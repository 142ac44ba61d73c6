"""``docs/results`` agrees with the predictions beside it, and names no machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dollhouse.evaluation.tables.folder import verify_folder
from experiments.paper.spec import read_spec

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def test_every_table_is_what_its_predictions_give() -> None:
    found = verify_folder(RESULTS)
    assert found.findings == []
    assert found.values > 100


def test_one_digit_of_a_committed_table_is_found(tmp_path: Path) -> None:
    for path in RESULTS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table = tmp_path / "real-photos.json"
    number = re.search(r'"value": 0\.(\d)', table.read_text())
    assert number is not None
    place = number.start(1)
    text = table.read_text()
    table.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    cause, *effects = verify_folder(tmp_path).findings
    line = text[:place].count("\n") + 1
    assert cause == f"real-photos.json, line {line}: was changed after it was written"
    assert effects[0].startswith("real-photos.json, row 'attribute', column 'student': holds {'value': 0.")


def test_every_line_of_the_page_was_filled() -> None:
    """A place whose table was not made takes its line along, which must not happen in what is committed."""
    report = json.loads((RESULTS / "report.json").read_text())
    assert report["about"]["lines left out of the page"] == []
    assert report["page"] == (ROOT / "experiments" / "paper" / "page.md").read_text().splitlines()


def test_no_path_of_a_machine_and_no_unknown_table() -> None:
    report = json.loads((RESULTS / "report.json").read_text())
    assert set(report["tables"]) <= set(read_spec().tables)
    for path in RESULTS.iterdir():
        if path.suffix in (".json", ".md", ".html"):
            assert not re.search(r"/(tmp|root|home|work)/", path.read_text()), path


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 4e6


@pytest.mark.parametrize("model", json.loads((RESULTS / "report.json").read_text())["models"].items())
def test_every_measured_model_states_its_weights_or_what_it_is(model: tuple[str, dict[str, object]]) -> None:
    name, facts = model
    assert facts.get("weights") or facts.get("thinking tokens") or facts.get("name"), name
