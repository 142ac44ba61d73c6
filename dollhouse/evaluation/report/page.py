"""Pieces that every report's page is made of: the page itself, tables, numbers in words.

Knows nothing of what is reported. All text that comes from scenes, models or users is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from dollhouse.evaluation.report.report_style import STYLE

UNKNOWN = "–"


def html_page(title: str, body: Iterable[str]) -> str:
    """A whole page that needs neither a server nor the net; the parts of ``body`` are HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'
    )


def section(title: str, *parts: str) -> str:
    """A card with a heading; ``parts`` are HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], sums: Sequence[str] = ()) -> str:
    """A table; cells are escaped, all but the first column stand to the right; rows named in ``sums`` are bold."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        ("<tr class=sum>" if row[0] in sums else "<tr>") + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"


def tiles(shown: Iterable[tuple[str, str, str]]) -> str:
    """The figures that a page begins with: name, value, note each."""
    cards = "".join(
        f"<div class=tile><span>{escape(name)}</span><strong>{escape(value)}</strong>"
        f"<small>{escape(note)}</small></div>"
        for name, value, note in shown
    )
    return f"<div class=tiles>{cards}</div>"


def listed(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values, one below the other."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def percent(share: float | None, digits: int = 1) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value:.3f}{unit}"


def many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def interval(entry: Mapping[str, Any] | None) -> str:
    """An entry's ``ci95`` in percent."""
    if not entry or not entry["ci95"]:
        return UNKNOWN
    low, high = entry["ci95"]
    return f"{100 * low:.1f} – {100 * high:.1f}"
