"""The page of a reproduction: every table and figure with the paper's beside ours, in one file.

Also writes each result's JSON, markdown and picture. Knows results, nothing of how they came about; all text is
escaped.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dollhouse.system.atomic_io import write_text
from experiments.paper.paper import PAPER, PaperTable
from experiments.paper.report_style import STYLE
from experiments.paper.table import Result

_INTERVAL = re.compile(r"\S+ to \S+\)")
MORE_STYLE = """
body { max-width: 1560px; } td small { display: block; color: var(--soft); font-size: 11.5px; white-space: nowrap; }
.sides { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 1fr); gap: 22px; align-items: start; }
@media (max-width: 900px) { .sides { grid-template-columns: minmax(0, 1fr); } }
.sides td { white-space: normal; vertical-align: top; } .sides th { white-space: normal; }
.paper { border-left: 3px solid var(--line); padding-left: 16px; }
h4 { margin: 0 0 6px; font-size: 13px; font-weight: 600; color: var(--soft); }
.sides img { background: #fff; border-radius: 6px; max-width: min(100%, 1100px); height: auto; margin-top: 12px; }
section p.said { color: var(--ink); margin: 4px 0; } .method { font-size: 13px; }
nav { margin: 14px 0; } nav a { margin-right: 14px; color: var(--model); }
"""


def file_name(key: str) -> str:
    """The name of a result's files: ``table-II``, ``fig-3``, ``text``."""
    return f"fig-{key[3:]}" if key.startswith("fig") else f"table-{key}" if key.isupper() else key


def write_results(results: Sequence[Result], about: Mapping[str, Any], folder: Path) -> Path:
    """Write every result's files and the page into ``folder``; the page's path. Raises StorageError."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Path] = {}
    for result in results:
        name = file_name(result.key)
        if result.picture is not None:
            pictures[result.key] = folder / f"{name}.png"
            result.picture(pictures[result.key])
        shown = f"{name}.png" if result.key in pictures else None
        write_text(folder / f"{name}.json", json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n")
        write_text(folder / f"{name}.md", result.as_markdown(shown))
    write_text(folder / "about.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "report.html", page(results, about, pictures))
    return folder / "report.html"


def page(results: Sequence[Result], about: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The page as HTML text."""
    title = "The paper's tables, made again at nano size"
    links = "".join(f'<a href="#{escape(one.key)}">{escape(one.title)}</a>' for one in results)
    body = [
        f"<header><h1>{title}</h1><p>{escape(PAPER)}: its figures on the right, ours on the left. Intervals are 95 % "
        f"bootstrap intervals over rooms.</p></header><nav>{links}</nav>",
        *(_section(result, pictures.get(result.key)) for result in results),
        _left_out(about),
        _facts(about),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    style = f"<style>{STYLE}{MORE_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{"".join(body)}</body></html>\n'


def _section(result: Result, picture: Path | None) -> str:
    ours = [f'<p class="said">{escape(sentence)}</p>' for sentence in result.sentences]
    if result.columns and result.rows:
        ours.append(_table(*result.cells()))
    if any(row.differences for row in result.rows):
        changes = _table(*result.change_cells())
        ours.append(f"<details open><summary>Differences, paired by room</summary>{changes}</details>")
    if picture is not None:
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        ours.append(f'<img src="data:image/png;base64,{data}" alt="{escape(result.title)}">')
    ours += [f'<p class="method">{escape(line)}</p>' for line in result.method]
    if result.left_out:
        ours.append(f'<p class="warning">Left out here: {escape("; ".join(result.left_out))}.</p>')
    return (
        f'<section id="{escape(result.key)}"><h2>{escape(result.title)}</h2><div class="sides">'
        f"<div>{''.join(ours)}</div>{_paper(result.paper)}</div></section>"
    )


def _paper(table: PaperTable) -> str:
    rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in table.rows]
    return (
        f'<div class="paper"><h4>The paper</h4>{_table(list(table.columns), rows)}'
        f'<p class="method">Comparable? {escape(table.comparable)}</p></div>'
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    lines = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(text: str) -> str:
    """A figure with its interval below it, smaller."""
    value, bracket, interval = text.partition(" (")
    if not bracket or not _INTERVAL.fullmatch(interval):
        return escape(text)
    return f"{escape(value)}<small>{escape(interval[:-1])}</small>"


def _left_out(about: Mapping[str, Any]) -> str:
    if not about["left_out"]:
        return ""
    lines = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in about["left_out"].items())
    return f"<section><h2>Left out</h2><ul>{lines}</ul></section>"


def _facts(about: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in about.items() if key not in ("left_out", "jobs")}
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value if isinstance(value, str) else json.dumps(value))}</dd>"
        for key, value in facts.items()
    )
    return f"<section><h2>This reproduction</h2><dl>{rows}</dl></section>"
