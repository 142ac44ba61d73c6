"""Tables from made-up measurements: exact numbers, sentences, and every change of a file that must be named."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dollhouse.cli import app
from dollhouse.errors import ScoreError
from dollhouse.evaluation.tables.folder import digest, fill_page, verify_folder, write_folder
from dollhouse.evaluation.tables.measurements import Measurements, MeasurementsBuilder
from dollhouse.evaluation.tables.statistics import Estimate
from dollhouse.evaluation.tables.table import Cell, Column, Row, Table, show
from tests.experiments.measurements import ROOMS, made_rooms, made_rows, three_of_four

PERCENT = {"better": "higher", "percent": True, "digits": 1}
PAGE = "# Results\n\nKept: {kept:all four|share}, n {kept:all four|student|n}.\n\n{kept}\n"


def measurements() -> Measurements:
    builder = MeasurementsBuilder()
    builder.add_answers("student", made_rows(three_of_four))
    builder.add_answers("student, seed 1", made_rows(three_of_four))
    builder.add_answers("blind", made_rows(three_of_four), "blind_prediction")
    builder.add_answers("teacher", made_rows(lambda room, family: (room, family) != (1, 3)))
    builder.add_answers("guess", made_rows(lambda room, family: room % 2 == 0, "a room."))
    for name, depth in (("student", 0.2), ("student, seed 1", 0.2), ("guess", 0.6)):
        builder.add_rooms(name, made_rooms(depth, detected=name != "guess"))
    builder.add_series("student", "loss/text", [1.0, 2.0])
    builder.models["student"] = {"parameters": 7_500_000, "weights": "0123"}
    return builder.build()


def kept() -> Table:
    student, columns = {"0": "student"}, [Column(name=name, **PERCENT) for name in ("share", "student", "blind")]  # type: ignore[arg-type]
    cells = {
        "share": Cell(figure="accuracy", models=student, over="teacher", corrected=True),
        "student": Cell(figure="accuracy", models=student),
        "blind": Cell(figure="accuracy", models={"0": "blind"}),
    }
    rows = [Row(name="all four", cells=cells)]
    return Table(key="kept", title="Kept", columns=columns, rows=rows, sentences=["It keeps {all four|share}."])


def losses() -> Table:
    both = {"0": "student", "1": "student, seed 1"}
    columns = [Column(name="spatial", **PERCENT), Column(name="depth", better="lower"), Column(name="mAP")]  # type: ignore[arg-type]
    figures = {"spatial": "accuracy", "depth": "depth/abs_rel", "mAP": "map_25"}

    def cells(models: dict[str, str]) -> dict[str, Cell]:
        return {name: Cell(figure=figure, models=models) for name, figure in figures.items()}

    rows = [Row(name="all", cells=cells(both)), Row(name="without", cells=cells({"0": "guess"}), base="all")]
    return Table(key="table-II", title="Losses", columns=columns, rows=rows)


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    found = measurements()
    return [table.computed(found) for table in (kept(), losses())]


@pytest.fixture
def folder(tables: list[Table], tmp_path: Path) -> Path:
    write_folder(tmp_path, tables, measurements(), PAGE, {"commit": "abc"})
    return tmp_path


def test_a_share_above_chance(tables: list[Table]) -> None:
    values = tables[0].rows[0].values
    assert values["share"]["value"] == pytest.approx((0.75 - 0.5) / (47 / 48 - 0.5), rel=1e-6)
    assert values["share"]["ci95"][0] < values["share"]["value"] < values["share"]["ci95"][1]
    assert (values["student"]["value"], values["student"]["n"], values["blind"]["value"]) == (0.75, 4 * ROOMS, 0.0)


def test_a_teacher_at_chance_has_no_share() -> None:
    cell = Cell(figure="accuracy", models={"0": "student"}, over="guess", corrected=True)
    assert cell.value(measurements()) == "teacher at chance"


def test_differences_are_paired_and_their_sentences_say_what_could_be_seen(tables: list[Table]) -> None:
    changes = tables[1].rows[1].differences
    assert changes["spatial"]["value"] == pytest.approx(-0.25)
    assert changes["depth"]["value"] == pytest.approx(0.4)
    assert changes["depth"]["seeds"] == 1, "only the seed that both rows have is compared"
    assert changes["mAP"]["value"] == pytest.approx(-0.5)
    change, power = tables[1].texts()
    assert change == (
        "without against all: depth +0.400 (+0.400 to +0.400) (worse); mAP -0.500 (-0.500 to -0.500); "
        "no change shown in spatial: the interval includes 0."
    )
    assert re.search(r"four times of five from about spatial \d+\.\d, depth 0\.000", power)


def test_markdown_and_summary(tables: list[Table]) -> None:
    text = tables[1].as_markdown()
    assert "| all | 75.0 % (75.0 to 75.0) | 0.210 (" in text
    assert "<br>-25.0 (" in text
    share = tables[0].cells()[1][0][1]
    filled = fill_page(PAGE, tables)
    assert f"Kept: {share}, n 48." in filled
    assert f"| all four | {share} |" in filled
    assert fill_page("{table-II:all|depth} and {kept:all four|student|n}", tables).endswith(" and 48\n")
    for wrong in ("{other:a|b}", "{kept:nobody|share}", "{other}"):
        with pytest.raises(ScoreError):
            fill_page(wrong, tables)


def test_a_ratio_of_times_has_no_unit() -> None:
    column = Column(name="later", digits=1, scale=1000, unit=" ms")
    rows = [
        Row(name=name, cells={"later": Cell(figure="fact/seconds", models={"0": "slow"}, over=over)})
        for name, over in (("slow", None), ("slow / fast", "fast"))
    ]
    table = Table(key="times", title="Times", columns=[column], rows=rows)
    found = Measurements(models={"slow": {"seconds": 0.5}, "fast": {"seconds": 0.125}})
    assert [row[1] for row in table.computed(found).cells()[1]] == ["500.0 ms", "4.00 ×"]
    assert table.computed(found).fill("{slow / fast|later}") == "4.00 ×"


def test_what_was_not_measured_is_refused() -> None:
    found = measurements()
    for figure, model in (("colour", "student"), ("series/loss/none", "student"), ("accuracy", "nobody")):
        with pytest.raises(ScoreError):
            Cell(figure=figure, models={"0": model}).value(found)
    builder = MeasurementsBuilder()
    builder.add_answers("a", made_rows(three_of_four))
    others = [row | {"answer": "maybe"} for row in made_rows(three_of_four)]
    with pytest.raises(ScoreError, match="differs from that of other models"):
        builder.add_answers("b", others)


def test_a_folder_agrees_wherever_it_lies(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = Path(shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere") / "results"))
    found = verify_folder(moved)
    assert (found.findings, found.tables, found.values) == ([], 2, 12)
    result = CliRunner().invoke(app, ["verify", str(moved)])
    assert result.exit_code == 0, result.output
    assert "2 tables, 12 values" in result.output


@pytest.mark.parametrize("name", ["README.md", "kept.md", "kept.json", "table-II.json", "table-II.md", "report.html"])
def test_one_digit_anywhere_is_named(folder: Path, name: str) -> None:
    """Every digit of the small files, forty drawn ones of the larger, each changed alone."""
    path = folder / name
    text = path.read_text()
    digits = [place for place, letter in enumerate(text) if letter.isdigit()]
    for place in digits if len(digits) < 40 else random.Random(0).sample(digits, 40):
        digit_there = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + digit_there + text[place + 1 :])
        line = text[:place].count("\n") + 1
        assert f"{name}, line {line}: was changed after it was written" in verify_folder(folder).findings
    path.write_text(text)
    assert verify_folder(folder).findings == []


def test_a_figure_changed_with_its_digest_is_still_found(folder: Path) -> None:
    """Somebody who writes the digests again is found by the predictions."""
    tree = json.loads((folder / "kept.json").read_text())
    tree["rows"][0]["values"]["student"]["value"] = 0.85
    (folder / "kept.json").write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    for name in ("kept.md", "README.md", "report.html"):
        path = folder / name
        path.write_text(path.read_text().replace("75.0 %", "85.0 %"))
    report = json.loads((folder / "report.json").read_text())
    report["files"] = {name: [] if isinstance(value, list) else value for name, value in report["files"].items()}
    report["digests"]["files"] = digest(report["files"])
    (folder / "report.json").write_text(json.dumps(report))
    findings = [line for line in verify_folder(folder).findings if not re.search("was changed after|more lines", line)]
    assert findings[0].startswith("kept.json, row 'all four', column 'student': holds {'value': 0.85")
    assert any(line.startswith("kept.md, line ") for line in findings)
    assert any(line.startswith("README.md, line ") for line in findings)
    assert any(line.startswith("report.html, Kept, row 'all four': lacks '75.0 %") for line in findings)


def test_other_damage_is_named(folder: Path) -> None:
    report = (folder / "report.json").read_text()
    (folder / "report.json").write_text(report.replace('"commit": "abc"', '"commit": "abd"'))
    assert verify_folder(folder).findings == ["report.json: 'about' was changed after it was written"]
    (folder / "report.json").write_text(report)
    (folder / "extra.md").write_text("")
    assert verify_folder(folder).findings == ["extra.md: is not of this folder"]
    (folder / "extra.md").unlink()
    packed = (folder / "predictions.jsonl.xz").read_bytes()
    (folder / "predictions.jsonl.xz").write_bytes(packed[:-20])
    with pytest.raises(ScoreError, match=r"cannot be unpacked|is cut off"):
        verify_folder(folder)


def test_numbers_are_written_with_their_intervals() -> None:
    share, change = Estimate(0.5, (0.4, 0.6), 100, 10), Estimate(-0.1, (-0.2, 0.0), 100, 10)
    percent, plain = Column(name="a", percent=True, digits=1), Column(name="b", unit=" ms", digits=1, scale=1000)
    assert show(percent, share) == "50.0 % (40.0 to 60.0)"
    assert show(percent, change, sign=True) == "-10.0 (-20.0 to +0.0)"
    assert show(plain, 1.2345) == "1,234.5 ms"
    assert (show(plain, None), show(plain, "2.7×")) == ("–", "2.7×")
