"""The page that shows how a benchmark was answered: one HTML file that needs neither a server nor the net.

Knows a benchmark's definition, its figures as ``report.json`` holds them, and the rows of ``predictions.jsonl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from typing import Any

from dollhouse.evaluation.benchmarks import Benchmark
from dollhouse.evaluation.benchmarks.summary import FEW_SCENES
from dollhouse.evaluation.report.charts import Bar, bars
from dollhouse.evaluation.report.page import UNKNOWN, facts, html_page, many, section, table, tiles

EXAMPLES = 12  #: successes shown, and failures

Row = Mapping[str, Any]


def benchmark_page(
    benchmark: Benchmark,
    scores: Mapping[str, Any],
    rows: Sequence[Row],
    made: Mapping[str, Any],
    picture: Callable[[Row], str | None],
) -> str:
    """The page as HTML text. ``made`` says how the answers came about; ``picture`` gives a row's data URI, or None."""
    overall, headline = scores["overall"], scores["headline"]
    shown = [
        (headline, _figure(overall), f"95 %: {_interval(overall)}"),
        ("answers", f"{len(rows):,}", benchmark.title),
    ]
    few = overall is not None and overall["scenes"] < FEW_SCENES
    warning = (
        f"<p class=warning>Only {many(overall['scenes'], 'scene')}: the intervals are too narrow to lean on.</p>"
        if few and overall
        else ""
    )
    lines = [*scores["kinds"].items(), ("overall", overall), *scores["credits"].items()]
    figures = table(
        [headline, "value", "95 %", "n"],
        ([name, _figure(entry), _interval(entry), f"{entry['n']:,}"] for name, entry in lines if entry),
        ("overall",),
    )
    charted = [  # of the headline only: other scores have other scales
        Bar(name, entry["value"], entry["ci95"])
        for name, entry in (*scores["kinds"].items(), ("overall", overall))
        if entry and 0 <= entry["value"] <= 1
    ]
    others = table(["score", ""], ([name, _told(value)] for name, value in scores["scores"].items()))
    judged = [row for row in rows if _credit(row) is not None]
    successes = _spread([row for row in judged if _credit(row) == 1.0])
    failures = _spread([row for row in judged if _credit(row) == 0.0])
    body = [
        f"<header><h1>{escape(benchmark.title)}</h1><p>{escape(str(made.get('model') or 'answers made elsewhere'))}</p>"
        "</header>",
        tiles(shown),
        section("Answers", warning, f"<div class=pair><div>{bars(charted)}</div><div>{figures}</div></div>"),
        section("Other scores", others) if scores["scores"] else "",
        _examples("Successes", successes, picture),
        _examples("Failures", failures, picture),
        section(
            "How the numbers were made",
            facts(
                [
                    ("version", benchmark.version),
                    ("frames", benchmark.frames.rule),
                    *((f"prompt {name}", text) for name, text in benchmark.prompts.items()),
                    ("scoring", benchmark.scoring),
                    ("intervals", "95 % percentile bootstrap over scenes, 2,000 draws"),
                    *((name, value) for name, value in made.items() if name != "model"),
                ]
            ),
        ),
    ]
    return html_page(f"Dollhouse: {benchmark.title}", body)


def _credit(row: Row) -> float | None:
    earned = row.get("score", row.get("correct"))
    return None if earned is None else float(earned)


def _spread(rows: Sequence[Row]) -> list[Row]:
    """At most EXAMPLES rows, in turn from every kind."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(str(row.get("kind", row.get("family"))), []).append(row)
    in_turn: Iterable[Row] = (row for together in zip_longest(*kinds.values()) for row in together if row is not None)
    return [row for row, _ in zip(in_turn, range(EXAMPLES), strict=False)]


def _examples(title: str, rows: Sequence[Row], picture: Callable[[Row], str | None]) -> str:
    return section(title, *(_example(row, picture(row)) for row in rows)) if rows else ""


def _example(row: Row, picture: str | None) -> str:
    kind = "right" if _credit(row) else "wrong"
    truth = " / ".join(row.get("answers") or [row.get("answer", "")])
    image = f'<div class=pictures><img src="{picture}" alt="what was shown"></div>' if picture else ""
    said = escape(str(row["prediction"])) or "(nothing)"
    return (
        f"<article>{image}<ul class=answers><li class={kind}><span>{escape(str(row['question']))}</span> <b>{said}</b> "
        f"<small>truth: {escape(truth)} · {escape(str(row['id']))}</small></li></ul></article>"
    )


def _figure(entry: Mapping[str, Any] | None) -> str:
    return UNKNOWN if entry is None else f"{entry['value']:.4f}"


def _interval(entry: Mapping[str, Any] | None) -> str:
    return UNKNOWN if entry is None or entry["ci95"] is None else "{:.4f} – {:.4f}".format(*entry["ci95"])


def _told(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"value", "n"}:
        return f"{value['value']:.4f} (n {value['n']:,})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(inner)}" for name, inner in value.items() if inner is not None)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
