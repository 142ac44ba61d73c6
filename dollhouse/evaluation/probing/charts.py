"""The page of a probe: its charts and its template's context, from ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL
from dollhouse.evaluation.probing.attention import ANSWER, EMPTY, ITSELF, OBJECTS, PREFIX, QUESTION, THINKING
from dollhouse.evaluation.probing.linear_probe import ALL_THINKING, FIRST_WORD, LAST_SLOT, LAST_WORD, SLOTS, SOME_SLOTS
from dollhouse.evaluation.probing.linear_probe import THINKING as MEAN_THINKING
from dollhouse.evaluation.probing.tables import probe_tables
from dollhouse.evaluation.probing.verdict import MARGIN
from dollhouse.evaluation.report.charts import COLOUR, INK, SOFT, interval_chart, legend_below, new_axes
from dollhouse.evaluation.report.render import Chart, render_report
from dollhouse.questions.sampling import FAMILIES

FAMILY_COLOURS = dict(zip(FAMILIES, ("chance", "right", "violet", "wrong"), strict=True))
GROUP_COLOURS = {
    OBJECTS: COLOUR["model"],
    EMPTY: COLOUR["pale"],
    PREFIX: COLOUR["pale"],
    THINKING: COLOUR["chance"],
    ITSELF: COLOUR["sand"],
    QUESTION: COLOUR["sage"],
}
POSITION_STYLES = {
    MEAN_THINKING: (COLOUR["chance"], "-"),
    ALL_THINKING: (COLOUR["chance"], "--"),
    SLOTS: (COLOUR["model"], "-"),
    SOME_SLOTS: (COLOUR["model"], "--"),
    LAST_SLOT: (COLOUR["model"], ":"),
    FIRST_WORD: (COLOUR["sage"], ":"),
    LAST_WORD: (COLOUR["sage"], "-"),
}
KINDS = ("Ablations", "By family", "Logit lens", "Attention", "Linear probe")  #: how captions of tables begin
MAX_LABELS = 24  #: labels shown, those in most slots


def probe_page(result: Mapping[str, Any]) -> str:
    """Render the page of a probe; ``result`` as in ``probe.json``."""
    return render_report("probe.html.j2", probe_context(result))


def probe_context(result: Mapping[str, Any]) -> dict[str, Any]:
    """Build what ``probe.html.j2`` shows."""
    attention, targets = result["attention"], result["linear_probe"]["targets"]
    charts = []
    if sources := attention["sources"]:
        charts = [
            Chart(_attention_chart(sources), "attention by kind of position", wide=True),
            Chart(_answer_attention_chart(sources), "attention of the answer token by layer"),
        ]
    if attention["labels"]:
        charts.append(Chart(_label_chart(attention["labels"]), "attention by label of the slot", wide=True))
    return {
        "title": f"Thinking tokens of {result['model']}",
        "probe": result,
        "tables": {kind: [t for t in probe_tables(result) if t.caption.startswith(kind)] for kind in KINDS},
        "ablation_chart": Chart(_ablation_chart(result["ablations"]), "change of accuracy under each ablation"),
        "attention_charts": charts,
        "probe_charts": [
            Chart(_probe_chart(target), f"linear probe: {name}", f"{name} ({target['metric']}, n {target['n']:,})")
            for name, target in targets.items()
        ],
    }


def _ablation_chart(ablations: Mapping[str, Any]) -> Figure:
    """Change of accuracy: the four families together, and each by itself."""
    names = [name for name in ablations if name != BASELINE]
    series = {OVERALL: ("the four together", INK), **{f: (f, COLOUR[colour]) for f, colour in FAMILY_COLOURS.items()}}
    values: dict[str, list[tuple[float, Any] | None]] = {}
    for group, (title, _) in series.items():
        scores = [ablations[name]["groups"].get(group) for name in names]
        if any(scores):
            values[title] = [score and (score["difference"], score["difference_ci95"]) for score in scores]
    label = "change of accuracy, points, with 95 % intervals over scenes"
    return interval_chart(names, values, label, dict(series.values()), margin=MARGIN)


def _attention_chart(sources: Mapping[str, Any]) -> Figure:
    figure, axes = new_axes(7.2, 1.1 + 0.42 * len(sources), "attention, % (thin bars: uniform attention)")
    for height, groups in enumerate(sources.values()):
        for key, thick, place, alpha in (("mean", 0.46, height - 0.1, 1.0), ("uniform", 0.18, height + 0.28, 0.55)):
            start = 0.0
            for group, colour in GROUP_COLOURS.items():
                if group in groups:
                    share = 100 * groups[group][key]
                    axes.barh(place, share, thick, left=start, color=colour, alpha=alpha, label=group)
                    start += share
    axes.set_yticks(range(len(sources)), list(sources))
    axes.set_ylim(len(sources) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    legend_below(figure, axes, 6)
    return figure


def _answer_attention_chart(sources: Mapping[str, Any]) -> Figure:
    figure, axes = new_axes(5.6, 3.3, "layer", "attention of the answer token, %", "y")
    for group, colour in GROUP_COLOURS.items():
        if group in sources[ANSWER]:
            shares = 100 * np.array(sources[ANSWER][group]["layers"])
            width = 2.2 if group == THINKING else 1.3
            axes.plot(range(1, len(shares) + 1), shares, color=colour, linewidth=width, label=group)
    if THINKING in sources[ANSWER]:
        uniform, colour = 100 * sources[ANSWER][THINKING]["uniform"], GROUP_COLOURS[THINKING]
        axes.axhline(uniform, color=colour, linestyle=":", linewidth=1, label="thinking tokens, uniform")
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes, 3)
    return figure


def _label_chart(labels: Mapping[str, Any]) -> Figure:
    """Log2 of the attention ratio for each thinking token and label."""
    chosen = sorted(labels, key=lambda label: -labels[label]["slots"])[:MAX_LABELS]
    ratio = np.log2(np.maximum(np.array([labels[label]["ratio"] for label in chosen]).T, 1e-3))
    reach = max(1.0, float(np.abs(ratio).clip(max=3).max()))
    figure, axes = new_axes(8.0, 1.8 + 0.28 * len(ratio), "label of the slot")
    drawn = axes.pcolormesh(ratio, cmap="RdBu_r", vmin=-reach, vmax=reach)
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(ratio)) + 0.5, [f"thinking token {row + 1}" for row in range(len(ratio))])
    axes.set_xticks(np.arange(len(chosen)) + 0.5, chosen, rotation=60, ha="right")
    ticks = [tick for tick in (-3, -2, -1, 0, 1, 2, 3) if abs(tick) <= reach]
    bar = figure.colorbar(drawn, ax=axes, ticks=ticks, pad=0.01, aspect=12)
    bar.ax.set_yticklabels([f"{2.0**tick:g} ×" for tick in ticks], fontsize=8, color=INK)
    bar.set_label("attention to a mean slot", fontsize=8, color=SOFT)
    return figure


def _probe_chart(target: Mapping[str, Any]) -> Figure:
    """Scores after each layer at each position."""
    figure, axes = new_axes(5.6, 3.9, "after layer", target["metric"], "y")
    lowest = target["chance"]
    for place, entry in target["positions"].items():
        colour, style = POSITION_STYLES[place]
        axes.plot(entry["layers"], color=colour, linestyle=style, linewidth=1.5, label=place)
        lowest = min(lowest, *entry["layers"])
        if place in (MEAN_THINKING, SLOTS) and entry["ci95"]:
            shift = 0.04 if place == SLOTS else -0.04
            axes.plot([target["layer"] + shift] * 2, entry["ci95"], "_-", color=colour, linewidth=1.2, markersize=5)
    axes.axhline(target["chance"], color=SOFT, linewidth=1, label="chance")
    axes.axvline(target["layer"], color=SOFT, linewidth=0.8, linestyle=":")
    axes.set_ylim(max(lowest, target["chance"] - 0.3) - 0.03, None)  # scores far below chance would squeeze the rest
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes, 2)
    return figure
