"""The results of a probe for the page and the terminal, from ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group
from rich.text import Text

from dollhouse.evaluation.probing import attention, linear_probe
from dollhouse.evaluation.probing.accuracy import BASELINE, MARGIN, OVERALL
from dollhouse.evaluation.report.charts import COLOUR, SOFT, Series, legend_below, new_axes, row_chart
from dollhouse.evaluation.report.render import Table, interval, percent, points, render_report, rich_table
from dollhouse.questions.sampling import FAMILIES

GROUP_COLOURS = {
    attention.OBJECTS: "model", attention.EMPTY: "pale", attention.PREFIX: "pale",
    attention.CELLS: "violet", attention.THINKING: "chance", attention.ITSELF: "sand", attention.QUESTION: "sage",
}  # fmt: skip
POSITION_STYLES = {
    linear_probe.THINKING: ("chance", "-"), linear_probe.ALL_THINKING: ("chance", "--"),
    linear_probe.SLOTS: ("model", "-"), linear_probe.SOME_SLOTS: ("model", "--"),
    linear_probe.LAST_SLOT: ("model", ":"),
    linear_probe.FIRST_WORD: ("sage", ":"), linear_probe.LAST_WORD: ("sage", "-"),
}  # fmt: skip

Result = Mapping[str, Any]


def probe_summary(result: Result) -> Group:
    """Build what the terminal shows of a probe: its tables and the verdict."""
    linear = result["linear_probe"]
    tables = [*_ablation_tables(result), _lens_table(result), _attention_table(result), _linear_table(result)]
    few = f"linear probe: {linear['scenes']} scenes with known objects are too few"
    shown = [rich_table(table) for table in tables if table.rows]
    return Group(*shown, *([] if linear["targets"] else [few]), Text(result["verdict"], style="bold"))


def probe_page(result: Result) -> str:
    """Render the page of a probe; ``result`` as in ``probe.json``."""
    context = {
        "title": f"Thinking tokens of {result['model']}",
        "probe": result,
        "token_names": [f"token {number + 1}" for number in range(result["thinking"]["tokens"])],
        "ablation_tables": _ablation_tables(result),
        "ablation_chart": _ablation_chart(result["ablations"]),
        "lens_table": _lens_table(result),
        "attention_table": _attention_table(result),
        "attention_chart": _attention_chart(result["attention"]["sources"]),
        "linear_charts": {name: _linear_chart(target) for name, target in result["linear_probe"]["targets"].items()},
    }
    return render_report("probe.html.j2", context)


def _ablation_tables(result: Result) -> list[Table]:
    ablations = result["ablations"]
    groups = [group for group in ablations[BASELINE]["groups"] if group != OVERALL]
    rows, by_family = [], []
    for name, ablation in ablations.items():
        if score := ablation["groups"].get(OVERALL):
            change = points(score["difference"]), interval(score["difference_ci95"], form="+.1f")
            rows.append((name, percent(score["accuracy"]), f"{score['n']:,}", *change, percent(score["changed"])))
        changes = [points(ablation["groups"][group]["difference"]) for group in groups]
        ends = [ablation["groups"][group]["difference_ci95"] or (0.0, 0.0) for group in groups]
        stars = ["*" * (low > 0 or high < 0) for low, high in ends]
        by_family.append((name, *map("".join, zip(changes, stars, strict=True))))
    by_family[0] = (BASELINE, *(percent(ablations[BASELINE]["groups"][group]["accuracy"]) for group in groups))
    columns = ["ablation", "accuracy", "n", "change in points", "95 % interval", "other words"]
    return [
        Table(columns, rows, "Ablations: the four families together", bold=(BASELINE,)),
        Table(["ablation", *groups], by_family, "By family: change in points (* interval without 0)", bold=(BASELINE,)),
    ]


def _lens_table(result: Result) -> Table:
    rows = []
    for number, token in enumerate(result["logit_lens"]["tokens"], 1):
        likeliest = ", ".join(f"{entry['token']} ({entry['scenes']:,})" for entry in token["argmax"])
        top = ", ".join(f"{entry['token']} {entry['probability']:.0%}" for entry in token["top"])
        rows.append((str(number), likeliest, f"{token['distinct']:,}", top))
    columns = ["thinking token", "likeliest (scenes)", "distinct", "top five, mean probability"]
    return Table(columns, rows, f"Logit lens: {result['logit_lens']['title']}")


def _attention_table(result: Result) -> Table:
    sources = result["attention"]["sources"]
    groups = list(dict.fromkeys(group for source in sources.values() for group in source))
    rows = [
        (name, *(f"{s[group]['mean']:.1%} ({s[group]['uniform']:.1%})" if group in s else "" for group in groups))
        for name, s in sources.items()
    ]
    return Table(["from", *groups], rows, "Attention (under uniform attention)")


def _linear_table(result: Result) -> Table:
    """Compare the mean thinking token with the mean object slot, a row for each target."""
    rows = []
    for name, target in result["linear_probe"]["targets"].items():
        entries = [target["positions"][place] for place in (linear_probe.THINKING, linear_probe.SLOTS)]
        scores = [f"{entry['score']:.2f}" + "*" * ((entry["over_chance_ci95"] or [0])[0] > 0) for entry in entries]
        rows.append((name, target["metric"], f"{target['chance']:.2f}", *scores))
    columns = ["target", "metric", "chance", "thinking tokens", "object slots"]
    return Table(columns, rows, "Linear probe on unseen scenes (* above chance)")


def _ablation_chart(ablations: Result) -> Figure:
    """Change of accuracy: the four families together, and each by itself."""
    names = [name for name in ablations if name != BASELINE]
    colours = {OVERALL: "ink", **dict(zip(FAMILIES, ("chance", "right", "violet", "wrong"), strict=True))}
    series = []
    for number, (group, colour) in enumerate(colours.items()):
        scores = [ablations[name]["groups"].get(group) or {} for name in names]
        changes, ends = ([score.get(key) for score in scores] for key in ("difference", "difference_ci95"))
        title, size = (group, 3.5) if number else ("the four together", 6)
        series.append(Series(title, changes, colour, "point", size, 0.14 * number - 0.3, intervals=ends))
    label = "change of accuracy, points, with 95 % intervals over scenes"
    return row_chart(names, series, label, margin=MARGIN)


def _attention_chart(sources: Result) -> Figure:
    series = []
    for key, size, offset, opacity in (("mean", 0.46, -0.1, 1.0), ("uniform", 0.18, 0.28, 0.55)):
        starts = np.zeros(len(sources))
        for group, colour in GROUP_COLOURS.items():
            shares = [groups[group][key] if group in groups else 0.0 for groups in sources.values()]
            if any(shares):
                series.append(Series(group, shares, colour, "bar", size, offset, starts.tolist(), (), opacity))
            starts += shares
    return row_chart(list(sources), series, "attention, % (thin bars: uniform attention)", width=7.2)


def _linear_chart(target: Result) -> Figure:
    """Scores after each layer at each position."""
    figure, axes = new_axes(5.6, 3.9, "after layer", target["metric"], "y")
    lowest, layer = target["chance"], target["layer"]
    for place, entry in target["positions"].items():
        colour, style = POSITION_STYLES[place]
        axes.plot(entry["layers"], color=COLOUR[colour], linestyle=style, linewidth=1.5, label=place)
        lowest = min(lowest, *entry["layers"])
    axes.axhline(target["chance"], color=SOFT, linewidth=1, label="chance")
    axes.axvline(layer, color=SOFT, linewidth=0.8, linestyle=":")
    for place, shift in ((linear_probe.THINKING, -0.04), (linear_probe.SLOTS, 0.04)):
        if ends := target["positions"][place]["ci95"]:
            axes.plot([layer + shift] * 2, ends, "_-", color=COLOUR[POSITION_STYLES[place][0]], markersize=5)
    axes.set_ylim(max(lowest, target["chance"] - 0.3) - 0.03, None)  # scores far below chance would squeeze the rest
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes, 2)
    return figure
