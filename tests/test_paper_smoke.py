"""The commands of docs/guides/paper.md on generated data (examples/paper_smoke.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.records.store import RecordStore
from dollhouse.training.recipes import read_recipe
from examples import paper_smoke


def test_what_the_page_runs() -> None:
    verbs = [words[0] for words in paper_smoke.commands()]
    assert verbs.count("annotate") == 3
    assert verbs.index("estimate") < verbs.index("annotate") < verbs.index("evaluate") < verbs.index("compare")
    blind = next(words for words in map(paper_smoke.smaller, paper_smoke.commands()) if "student.blind=true" in words)
    assert "steps: 4, batch_size: 2, losses" in " ".join(blind)
    assert not any(word.startswith("stages.") for word in blind)


def test_constant_and_absent_losses_are_refused(tmp_path: Path) -> None:
    losses = {name: dict.fromkeys(stage.losses, 1.0) for name, stage in read_recipe("paper").stages.items()}
    lines = [{"stage": name, "step": step, **values} for name, values in losses.items() for step in (1, 2)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(SystemExit, match="loss depth_reg of stage pretrain_perception has the values"):
        paper_smoke.check_losses(path)


@pytest.mark.slow
def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    paper_smoke.main(["--out", str(tmp_path)])
    records = RecordStore(tmp_path / "records" / "paper")
    rows = [records.read(id) for id in records.ids()]
    assert len(rows) == paper_smoke.SCANS * 4 // 5 + 2  # and the two rooms of the house
    assert all(record.features is not None and record.answers[0].top_ids is not None for record in rows)
    assert {"open", "counting"} & {question.family for record in rows for question in record.questions}
    runs = tmp_path / "runs"
    model, processor, _ = load_student(runs / "paper" / "model")
    assert model.config.grid_size == 2
    assert vocabulary_hash(processor.tokenizer) == rows[0].provenance["teacher"]["vocabulary"]
    assert (runs / "paper" / "curves.png").stat().st_size > 10_000
    for stage, steps in paper_smoke.STAGES.items():
        assert (runs / "paper" / stage / "student.safetensors").is_file()
        assert (runs / "paper" / stage / f"checkpoint-{steps}").is_dir()
    report = json.loads((runs / "report" / "report.json").read_text())
    assert json.dumps(report).count("blind") > 0
    assert (runs / "report" / "report.html").is_file()
    assert (runs / "teacher_report" / "report.json").is_file()
    assert list((runs / "comparison").iterdir())
