"""Pictures of a probe. Knows the keys of ``probe.json``; no pyplot, hence no global state.

Every function returns a figure; :mod:`dollhouse.evaluation.probing.report` puts them on the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dollhouse.evaluation.probing.accuracy import BASE, OVERALL
from dollhouse.evaluation.probing.attention import ANSWER, EMPTY, ITSELF, OBJECTS, PREFIX, QUESTION, THOUGHTS
from dollhouse.evaluation.probing.linear_probe import (
    ALL_THINKING,
    FIRST_WORD,
    LAST_SLOT,
    LAST_WORD,
    SLOTS,
    SOME_SLOTS,
    THINKING,
)
from dollhouse.evaluation.probing.verdict import MARGIN
from dollhouse.questions.sampling import FAMILIES

INK, SOFT, STRONG = "#2b2b33", "#9a9fab", "#2f6fb2"
FAMILY_COLOURS = dict(zip(FAMILIES, ("#d97706", "#17803d", "#8b5cf6", "#c02626"), strict=True))
GROUP_COLOURS = {
    OBJECTS: "#2f6fb2",
    EMPTY: "#b9d2ea",
    PREFIX: "#b9d2ea",
    THOUGHTS: "#d97706",
    ITSELF: "#f6d9ad",
    QUESTION: "#6b8f71",
}
PLACE_STYLES = {
    THINKING: ("#d97706", "-"),
    ALL_THINKING: ("#d97706", "--"),
    SLOTS: ("#2f6fb2", "-"),
    SOME_SLOTS: ("#2f6fb2", "--"),
    LAST_SLOT: ("#7fb2e0", ":"),
    FIRST_WORD: ("#6b8f71", ":"),
    LAST_WORD: ("#6b8f71", "-"),
}
MOST_LABELS = 24  #: labels shown, those in most slots


def controls_picture(found: Mapping[str, Any]) -> Figure:
    """What every control changes, in points: the four families together with their interval, and each by itself."""
    names = [name for name in found["controls"] if name != BASE]
    figure = Figure(figsize=(8.6, 1.5 + 0.52 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#f0efec", zorder=0)
    axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
    for row, name in enumerate(names):
        groups = found["controls"][name]["groups"]
        for step, (family, colour) in enumerate(FAMILY_COLOURS.items()):
            if family in groups:
                label = family if row == 0 else None
                height = row + 0.12 * (step - 1.5) + 0.1
                _whisker(axes, groups[family], height, colour, label, wide=0.8, size=3.5)
        if OVERALL in groups:
            _whisker(axes, groups[OVERALL], row - 0.26, INK, "the four together" if row == 0 else None, 1.8, 6)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlabel("change of accuracy in points, 95 % intervals over scenes", color=INK, fontsize=9)
    axes.set_title("Replacing the thinking tokens of the trained student", loc="left", color=INK, fontsize=11)
    figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    _plain(axes)
    return figure


def attention_picture(found: Mapping[str, Any]) -> Figure:
    """Who looks at what; below, block by block, how much the answer looks at the thinking tokens; and by label."""
    attention = found["attention"]
    rows, labels = attention["rows"], attention["labels"]
    figure = Figure(figsize=(11.5, 5.4 + (0.28 * len(rows) + 0.8 if labels else 0)), layout="constrained")
    below = 0.28 * len(rows) + 1.4
    parts: Any = figure.subfigures(2, 1, height_ratios=[5.0, below]) if labels else [figure]
    above = parts[0]
    bars, lines = above.subplots(1, 2, width_ratios=[1.5, 1])
    _draw_bars(bars, rows)
    _draw_blocks(lines, rows)
    if labels:
        _draw_labels(parts[1].subplots(), labels)
    return figure


def decoding_picture(found: Mapping[str, Any]) -> Figure | None:
    """What the same probe reads after each block at each position; None where nothing was probed."""
    targets = found["decoding"]["targets"]
    if not targets:
        return None
    figure = Figure(figsize=(11.5, 3.1 * -(-len(targets) // 3) + 0.5), layout="constrained")
    grid: Any = figure.subplots(-(-len(targets) // 3), min(len(targets), 3), squeeze=False)
    for axes, (name, told) in zip(grid.flat, targets.items(), strict=False):
        lowest = told["chance"]
        for place, entry in told["positions"].items():
            colour, style = PLACE_STYLES[place]
            axes.plot(entry["blocks"], color=colour, linestyle=style, linewidth=1.5, label=place)
            lowest = min(lowest, *entry["blocks"])
        axes.axhline(told["chance"], color=SOFT, linewidth=1, label="chance")
        axes.axvline(told["block"], color=SOFT, linewidth=0.8, linestyle=":")
        axes.set_ylim(max(lowest, told["chance"] - 0.3) - 0.03, None)  # far below chance says no more than below it
        axes.set_title(f"{name} ({told['measure']}, n {told['n']:,})", fontsize=9, loc="left", color=INK)
        axes.set_xlabel("after block", fontsize=8, color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _plain(axes)
    for axes in list(grid.flat)[len(targets) :]:
        axes.axis("off")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _draw_bars(axes: Any, rows: Mapping[str, Any]) -> None:
    named = set()
    for height, groups in enumerate(rows.values()):
        for key, thick, place, alpha in (("mean", 0.46, height - 0.1, 1.0), ("even", 0.18, height + 0.28, 0.55)):
            start = 0.0
            for group, colour in GROUP_COLOURS.items():
                if group not in groups:
                    continue
                label = group if group not in named else None
                named.add(group)
                axes.barh(place, groups[group][key], thick, left=start, color=colour, alpha=alpha, label=label)
                if key == "mean" and groups[group][key] > 0.06:
                    middle = start + 0.5 * groups[group][key]
                    axes.text(middle, place, f"{groups[group][key]:.0%}", ha="center", va="center", fontsize=7.5)
                start += groups[group][key]
    axes.set_yticks(range(len(rows)), list(rows), color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title("what each looks at (thin: if it looked at all alike)", fontsize=10, loc="left", color=INK)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=3, fontsize=8, frameon=False)
    _plain(axes)


def _draw_blocks(axes: Any, rows: Mapping[str, Any]) -> None:
    answer = rows[ANSWER]
    for group, colour in GROUP_COLOURS.items():
        if group in answer:
            blocks = answer[group]["blocks"]
            axes.plot(range(1, len(blocks) + 1), blocks, color=colour, linewidth=2 if group == THOUGHTS else 1.2)
    if THOUGHTS in answer:
        axes.axhline(answer[THOUGHTS]["even"], color=GROUP_COLOURS[THOUGHTS], linestyle=":", linewidth=1)
        axes.text(0.98, answer[THOUGHTS]["even"], "thinking tokens, if even ", fontsize=7, ha="right", va="bottom",
                  transform=axes.get_yaxis_transform(), color=GROUP_COLOURS[THOUGHTS])  # fmt: skip
    axes.set_ylim(0, 1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("block", fontsize=8, color=INK)
    axes.set_title("where the answer looks, block by block", fontsize=10, loc="left", color=INK)
    _plain(axes)


def _draw_labels(axes: Any, labels: Mapping[str, Any]) -> None:
    chosen = sorted(labels, key=lambda label: -labels[label]["slots"])[:MOST_LABELS]
    times = np.array([labels[label]["times"] for label in chosen]).T
    reach = max(1.0, float(np.abs(np.log2(np.maximum(times, 1e-3))).clip(max=3).max()))
    drawn = axes.imshow(np.log2(np.maximum(times, 1e-3)), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    axes.set_yticks(range(len(times)), [f"thought {row + 1}" for row in range(len(times))], color=INK, fontsize=8)
    axes.set_xticks(range(len(chosen)), chosen, rotation=60, ha="right", fontsize=8, color=INK)
    axes.set_title("how much a slot is looked at, by what the student sees in it", fontsize=10, loc="left", color=INK)
    ticks = [tick for tick in (-3, -2, -1, 0, 1, 2, 3) if abs(tick) <= reach]
    bar = axes.figure.colorbar(drawn, ax=axes, ticks=ticks, pad=0.01, aspect=12)
    bar.ax.set_yticklabels([f"{2.0**tick:g} x" for tick in ticks], fontsize=7)


def _whisker(
    axes: Any, figure: Mapping[str, Any], height: float, colour: str, label: str | None, wide: float, size: float
) -> None:
    if figure["difference_ci95"] is not None:
        axes.plot([100 * end for end in figure["difference_ci95"]], [height, height], color=colour, linewidth=wide)
    axes.plot([100 * figure["difference"]], [height], "o", color=colour, markersize=size, label=label)


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
