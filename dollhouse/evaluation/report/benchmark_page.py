"""The page of a benchmark, from the scores of ``report.json`` and the rows of ``predictions.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

from dollhouse.evaluation.benchmarks import Benchmark
from dollhouse.evaluation.benchmarks.summary import FEW_SCENES, format_figure
from dollhouse.evaluation.report.charts import accuracy_chart
from dollhouse.evaluation.report.render import render_report

MAX_EXAMPLES = 12  #: successes shown, and failures

Row = Mapping[str, Any]


def benchmark_page(
    benchmark: Benchmark,
    scores: Mapping[str, Any],
    rows: Sequence[Row],
    provenance: Mapping[str, Any],
    picture: Callable[[Row], str | None],
) -> str:
    """Render the page; ``scores`` and ``rows`` as in ``report.json`` and ``predictions.jsonl``.

    ``provenance`` says how the answers were made; ``picture`` returns a data URI of the frames behind a row, or None.
    """
    entries = {name: entry for name, entry in {**scores["kinds"], "overall": scores["overall"]}.items() if entry}
    # a chart of the headline only: other scores have other scales
    more = scores.get("more", {})
    controls = {
        name: {**control["kinds"], "overall": control["overall"]} for name, control in more.get("controls", {}).items()
    }
    beside = {
        name: [controls[c][name]["value"] if c in controls else None for c in ("blind", "chance")] for name in entries
    }
    bars = [
        (name, entry["value"], entry["ci95"], *beside[name])
        for name, entry in entries.items()
        if 0 <= entry["value"] <= 1
    ]
    examples = {
        title: [(row, picture(row)) for row in _mix_kinds([row for row in rows if _credit(row) == credit])]
        for title, credit in (("Successes", 1.0), ("Failures", 0.0))
    }
    others = {**scores["scores"], **(more.get("calibration") or {})}
    context = {
        "title": f"Dollhouse: {benchmark.title}",
        "benchmark": benchmark,
        "scores": scores,
        "entries": entries | {name: entry for name, entry in scores["credits"].items() if entry},
        "count": len(rows),
        "min_scenes": FEW_SCENES,
        "provenance": provenance,
        "chart": accuracy_chart(bars, f"{scores['headline']}, %"),
        "controls": controls,
        "others": {name: format_figure(value) for name, value in others.items()},
        "examples": {title: shown for title, shown in examples.items() if shown},
    }
    return render_report("benchmark.html.j2", context)


def _credit(row: Row) -> float | None:
    earned = row.get("score", row.get("correct"))
    return None if earned is None else float(earned)


def _mix_kinds(rows: Sequence[Row]) -> list[Row]:
    """Choose at most MAX_EXAMPLES rows, in turn from every kind."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(str(row.get("kind", row.get("family"))), []).append(row)
    in_turn = (row for together in zip_longest(*kinds.values()) for row in together if row is not None)
    return list(islice(in_turn, MAX_EXAMPLES))
