"""A report of forty answers on twelve scenes, small enough to be scored by hand."""

import json

from dollhouse.evaluation.benchmark_runner import score_predictions
from dollhouse.evaluation.benchmarks import BENCHMARKS

COUNT = 40


def questions():
    return [
        {"question_id": f"q{n}", "scene_id": f"scene{n % 12}", "question": ("What is it?", "Where is it?")[n % 2],
         "answers": [f"thing {n}", "brown chair"]}
        for n in range(COUNT)
    ]  # fmt: skip


def scored(folder, name, right):
    """A report in ``folder / name`` of predictions of which those whose number is in ``right`` are right."""
    (folder / "val.json").write_text(json.dumps(questions()))
    rows = [{"id": f"q{n}", "prediction": f"thing {n}" if n in right else "a lamp é"} for n in range(COUNT)]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return score_predictions(
        BENCHMARKS["scanqa"], path, [folder / "val.json"], out=folder / name, model=name, progress=False
    )
