"""The results of a probe as tables for the page and the terminal, from ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL
from dollhouse.evaluation.probing.linear_probe import SLOTS, THINKING
from dollhouse.evaluation.report.render import Table, interval, percent, points
from dollhouse.evaluation.report.table import rich_table


def probe_summary(result: Mapping[str, Any]) -> Group:
    """Build what the terminal shows of a probe: its tables and the verdict."""
    tables = [table for table in probe_tables(result) if not table.caption.startswith("Linear probe")]
    parts: list[RenderableType] = [rich_table(table) for table in tables]
    if targets := result["linear_probe"]["targets"]:
        parts.append(rich_table(_linear_summary(targets)))
    else:
        parts.append(f"linear probe: {result['linear_probe']['scenes']} scenes with known objects are too few")
    return Group(*parts, Text(result["verdict"], style="bold"))


def probe_tables(result: Mapping[str, Any]) -> list[Table]:
    """Build the tables of ablations, logit lens, attention and linear probes."""
    tables = [
        *_ablation_tables(result["ablations"]),
        _lens_table(result["logit_lens"]),
        _attention_table(result["attention"]["sources"]),
        *(_linear_table(name, target) for name, target in result["linear_probe"]["targets"].items()),
    ]
    return [table for table in tables if table.rows]


def _ablation_tables(ablations: Mapping[str, Any]) -> list[Table]:
    groups = [group for group in ablations[BASELINE]["groups"] if group != OVERALL]
    rows = [
        (
            name,
            percent(score["accuracy"]),
            f"{score['n']:,}",
            points(score["difference"]),
            interval(score["difference_ci95"], form="+.1f"),
            percent(score["changed"]),
        )
        for name, ablation in ablations.items()
        if (score := ablation["groups"].get(OVERALL))
    ]
    by_family = [
        (name, *(_change(ablation["groups"][group], name == BASELINE) for group in groups))
        for name, ablation in ablations.items()
    ]
    columns = ["ablation", "accuracy", "n", "change in points", "95 % interval", "other words"]
    return [
        Table(columns, rows, "Ablations: the four families together", bold=(BASELINE,)),
        Table(["ablation", *groups], by_family, "By family: change in points (* interval without 0)", bold=(BASELINE,)),
    ]


def _change(score: Mapping[str, Any], baseline: bool) -> str:
    low, high = score["difference_ci95"] or (0.0, 0.0)
    star = "*" if low > 0 or high < 0 else ""
    return percent(score["accuracy"]) if baseline else points(score["difference"]) + star


def _lens_table(lens: Mapping[str, Any]) -> Table:
    rows = [
        (
            str(number),
            ", ".join(f"{entry['token']} ({entry['scenes']:,})" for entry in token["argmax"]),
            f"{token['distinct']:,}",
            tokens_text(token["top"]),
        )
        for number, token in enumerate(lens["tokens"], 1)
    ]
    columns = ["thinking token", "likeliest (scenes)", "distinct", "top five, mean probability"]
    return Table(columns, rows, f"Logit lens: {lens['title']}")


def tokens_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """Format tokens with their probabilities."""
    return ", ".join(f"{entry['token']} {entry['probability']:.0%}" for entry in entries)


def _attention_table(sources: Mapping[str, Any]) -> Table:
    groups = list(dict.fromkeys(group for source in sources.values() for group in source))
    rows = [
        (name, *(f"{s[group]['mean']:.1%} ({s[group]['uniform']:.1%})" if group in s else "" for group in groups))
        for name, s in sources.items()
    ]
    return Table(["from", *groups], rows, "Attention (under uniform attention)")


def _linear_table(name: str, target: Mapping[str, Any]) -> Table:
    rows = [
        (
            place,
            f"{entry['features']:,}",
            f"{entry['score']:.3f}",
            *(interval(entry[key], 1, ".3f") for key in ("ci95", "over_chance_ci95", "over_counterpart_ci95")),
        )
        for place, entry in target["positions"].items()
    ]
    columns = ["position", "features", target["metric"], "95 %", "over chance, 95 %", "over object slots, 95 %"]
    caption = f"Linear probe: {name} (chance {target['chance']:.3f}, n {target['n']:,}, after layer {target['layer']})"
    return Table(columns, rows, caption)


def _linear_summary(targets: Mapping[str, Any]) -> Table:
    """One row a target with the mean thinking token beside the mean object slot."""
    rows = []
    for name, target in targets.items():
        entries = [target["positions"][place] for place in (THINKING, SLOTS)]
        stars = ["*" if entry["over_chance_ci95"] and entry["over_chance_ci95"][0] > 0 else "" for entry in entries]
        scores = [f"{entry['score']:.2f}{star}" for entry, star in zip(entries, stars, strict=True)]
        rows.append((name, target["metric"], f"{target['chance']:.2f}", *scores))
    columns = ["target", "metric", "chance", "thinking tokens", "object slots"]
    return Table(columns, rows, "Linear probe on unseen scenes (* above chance)")
