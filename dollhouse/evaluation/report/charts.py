"""The charts of a report as inline SVG, drawn in the page's own colours: bars, and curves with intervals.

Knows nothing of what is charted; values are shares of 1 and shown in percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 460, 270  #: of a curve, in SVG units
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44  #: margins of a curve
STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  #: between ticks
MOST_TICKS = 7


@dataclass(frozen=True)
class Bar:
    """One line of :func:`bars`."""

    name: str
    value: float
    ci95: Sequence[float] | None
    blind: float | None = None  #: a thin bar below
    chance: float | None = None  #: a tick across both


def bars(rows: Sequence[Bar]) -> str:
    """Bars of accuracy with their intervals, a thin bar for the blind student and a tick at chance."""
    left, width, step = 150, 350, 34
    height = step * len(rows) + 30
    parts = []
    for share in (0, 25, 50, 75, 100):
        x = left + width * share / 100
        parts.append(f'<line class=grid x1="{x}" x2="{x}" y1="4" y2="{height - 22}"/>')
        parts.append(f'<text x="{x}" y="{height - 6}" text-anchor=middle>{share}</text>')
    for index, row in enumerate(rows):
        y = 8 + step * index
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor=end>{escape(row.name)}</text>')
        parts.append(_bar("model", left, y, width * row.value, 14))
        if row.blind is not None:
            parts.append(_bar("blind", left, y + 16, width * row.blind, 6))
        if row.ci95:
            low, high = (left + width * end for end in row.ci95)
            parts.append(
                f'<path class=whisker d="M{low:.1f} {y + 7}H{high:.1f}M{low:.1f} {y + 3}v8M{high:.1f} {y + 3}v8"/>'
            )
        if row.chance is not None:
            x = left + width * row.chance
            parts.append(f'<line class=chance x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + 25}"/>')
    shown = [("model", "model, with 95 % interval")]
    shown += [("blind", "blind")] if any(row.blind is not None for row in rows) else []
    shown += [("chance", "chance")] if any(row.chance is not None for row in rows) else []
    legend = "".join(f"<i class={kind}></i>{label}" for kind, label in shown)
    frame = f'viewBox="0 0 {left + width + 20} {height}" role=img aria-label="accuracy in percent"'
    return f"<svg {frame}>{''.join(parts)}</svg><p class=legend>{legend}</p>"


def curve(
    points: Sequence[Mapping[str, Any]],
    along: str,
    across: str,
    *,
    x_ends: tuple[float, float] | None = None,
    y_top: float | None = None,
    percent: bool = False,
    diagonal: bool = False,
) -> str:
    """Points ``{middle, value, ci95, n}`` with whiskers, joined by a line.

    ``along`` and ``across`` name the axes; ``percent`` means that what goes along is a share too; ``diagonal`` draws
    where value equals middle. Resting on a point with the mouse tells its figures.
    """
    middles = [float(point["middle"]) for point in points]
    start, end = x_ends or _roomy(min(middles), max(middles))
    highest = max(point["ci95"][1] if point["ci95"] else point["value"] for point in points)
    top = y_top or min(1.0, math.ceil(10 * highest + 0.3) / 10)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - start) / (end - start)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = []
    for tick in ticks(0.0, 100 * top):
        at = y(tick / 100)
        parts.append(f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor=end>{tick:g}</text>')
    for tick in ticks(*((100 * start, 100 * end) if percent else (start, end))):
        at = x(tick / 100 if percent else tick)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor=middle>{tick:g}</text>')
    if diagonal:
        parts.append(f'<path class=diagonal d="M{x(start):.1f} {y(start):.1f}L{x(end):.1f} {y(end):.1f}"/>')
    path = "L".join(f"{x(middle):.1f} {y(point['value']):.1f}" for middle, point in zip(middles, points, strict=True))
    parts.append(f'<path class=line d="M{path}"/>')
    for middle, point in zip(middles, points, strict=True):
        at = x(middle)
        if point["ci95"]:
            low, high = (y(min(value, top)) for value in point["ci95"])
            parts.append(
                f'<path class=whisker d="M{at:.1f} {low:.1f}V{high:.1f}'
                f'M{at - 3:.1f} {low:.1f}h6m-6 {high - low:.1f}h6"/>'
            )
        told = f"{_told(middle, percent)}: {100 * point['value']:.1f} % of {point['n']:,}"
        parts.append(
            f'<circle class=model cx="{at:.1f}" cy="{y(point["value"]):.1f}" r="4.5"><title>{told}</title></circle>'
        )
    parts.append(
        f'<text class=axis x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor=middle>{escape(along)}</text>'
    )
    middle_y = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class=axis transform="translate(13 {middle_y}) rotate(-90)" text-anchor=middle>{escape(across)}</text>'
    )
    label = escape(f"{across} against {along}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{label}">{"".join(parts)}</svg>'


def ticks(start: float, end: float) -> list[float]:
    """Round numbers from ``start`` to ``end``, at most MOST_TICKS."""
    step = next((step for step in STEPS if (end - start) / step <= MOST_TICKS - 1), end - start or 1.0)
    first = math.ceil(start / step - 1e-9)
    return [round(place * step, 6) for place in range(first, math.floor(end / step + 1e-9) + 1)]


def _roomy(low: float, high: float) -> tuple[float, float]:
    """A range with some room on both sides."""
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _told(middle: float, percent: bool) -> str:
    return f"{100 * middle:.0f} %" if percent else f"{middle:.2f}"


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class={kind} x="{x}" y="{y}" width="{width:.1f}" height="{height}" rx="2"/>'
