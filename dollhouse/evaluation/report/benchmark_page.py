"""The page of a benchmark: its template's context, from the scores of ``report.json`` and ``predictions.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

from dollhouse.evaluation.benchmarks import Benchmark
from dollhouse.evaluation.benchmarks.summary import FEW_SCENES
from dollhouse.evaluation.report.charts import Bar, accuracy_chart
from dollhouse.evaluation.report.render import Chart, Table, decimal, interval, render_report

MAX_EXAMPLES = 12  #: successes shown, and failures

Row = Mapping[str, Any]


def benchmark_page(
    benchmark: Benchmark,
    scores: Mapping[str, Any],
    rows: Sequence[Row],
    provenance: Mapping[str, Any],
    picture: Callable[[Row], str | None],
) -> str:
    """Render the page.

    Args:
        benchmark: definition of the benchmark.
        scores: as in ``report.json``.
        rows: as in ``predictions.jsonl``.
        provenance: how the answers were made (model, seed, command).
        picture: returns a data URI of the frames behind a row, or None.
    """
    overall, headline = scores["overall"], scores["headline"]
    entries = [*scores["kinds"].items(), ("overall", overall)]
    bars = [  # of the headline only: other scores have other scales
        Bar(name, entry["value"], entry["ci95"]) for name, entry in entries if entry and 0 <= entry["value"] <= 1
    ]
    examples = {
        title: [
            (_truth(row), row, picture(row)) for row in _mixed_kinds([row for row in rows if _credit(row) == credit])
        ]
        for title, credit in (("Successes", 1.0), ("Failures", 0.0))
    }
    context = {
        "title": f"Dollhouse: {benchmark.title}",
        "benchmark": benchmark,
        "model": provenance.get("model") or "answers from a file",
        "tiles": [
            (headline, decimal(overall and overall["value"], digits=4), f"95 %: {_interval(overall)}"),
            ("answers", f"{len(rows):,}", benchmark.title),
        ],
        "few_scenes": overall["scenes"] if overall is not None and overall["scenes"] < FEW_SCENES else None,
        "chart": Chart(accuracy_chart(bars, f"{headline}, %"), f"{headline} by kind") if bars else None,
        "figures": Table(
            [headline, "value", "95 %", "n"],
            [
                (name, decimal(entry["value"], digits=4), _interval(entry), f"{entry['n']:,}")
                for name, entry in (*entries, *scores["credits"].items())
                if entry
            ],
            bold=("overall",),
        ),
        "scores": Table(["score", ""], [(name, _score(value)) for name, value in scores["scores"].items()]),
        "examples": {title: shown for title, shown in examples.items() if shown},
        "facts": {
            "version": benchmark.version,
            "frames": benchmark.frames.rule,
            **{f"prompt {name}": text for name, text in benchmark.prompts.items()},
            "scoring": benchmark.scoring,
            "intervals": "95 % percentile bootstrap over scenes, 2,000 draws",
            **{name: value for name, value in provenance.items() if name != "model"},
        },
    }
    return render_report("benchmark.html.j2", context)


def _credit(row: Row) -> float | None:
    earned = row.get("score", row.get("correct"))
    return None if earned is None else float(earned)


def _truth(row: Row) -> str:
    return " / ".join(row.get("answers") or [row.get("answer", "")])


def _mixed_kinds(rows: Sequence[Row]) -> list[Row]:
    """Choose at most MAX_EXAMPLES rows, in turn from every kind."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(str(row.get("kind", row.get("family"))), []).append(row)
    in_turn = (row for together in zip_longest(*kinds.values()) for row in together if row is not None)
    return list(islice(in_turn, MAX_EXAMPLES))


def _interval(entry: Mapping[str, Any] | None) -> str:
    return interval(entry["ci95"] if entry else None, 1, ".4f")


def _score(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"value", "n"}:
        return f"{value['value']:.4f} (n {value['n']:,})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_score(inner)}" for name, inner in value.items() if inner is not None)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
