"""The page that shows a probe: one HTML file that needs neither a server nor the net.

Knows the keys of ``probe.json``. All text that comes from scenes, models or users is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from dollhouse.evaluation.probing.accuracy import BASE, OVERALL
from dollhouse.evaluation.probing.pictures import attention_picture, controls_picture, decoding_picture
from dollhouse.evaluation.report.report_style import STYLE

_UNKNOWN = "–"


def probe_page(found: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    title = f"Thinking tokens of {found['model']}"
    thinking, scenes = found["thinking"], found["scenes"]
    passes = "" if thinking["passes"] == 1 else f", gone over {thinking['passes']} times"
    body = [
        f"<header><h1>{escape(title)}</h1><p>{thinking['tokens']} thinking tokens, "
        f"{escape(thinking['placement'].replace('_', ' the '))}{passes}"
        f"{', in a blind student' if thinking['blind'] else ''}; probed on {escape(scenes['source'] or 'scenes')} "
        f"({scenes['n']:,} scenes, {found['questions']:,} questions, seed {found['seed']})</p></header>",
        f"<section><h2>In words</h2><div class=warning>{escape(found['verdict'])}</div></section>",
        _controls_part(found),
        _read_out_part(found["read_out"]),
        _attention_part(found),
        _decoding_part(found),
        _facts_part(found),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'
    )


def _controls_part(found: Mapping[str, Any]) -> str:
    controls = found["controls"]
    groups = list(controls[BASE]["groups"])
    rows = []
    for name, control in controls.items():
        overall = control["groups"].get(OVERALL)
        told = [name] + ([_percent(overall["accuracy"]), _difference(overall), _interval(overall)] if overall else [])
        changed = [_percent(overall["changed"])] if overall else []
        rows.append([*told, *changed, *(_difference(control["groups"][group]) for group in groups if group != OVERALL)])
    known = ["accuracy", "change", "95 %", "other words"] if OVERALL in groups else []
    head = ["", *known, *(group for group in groups if group != OVERALL)]
    sizes = ", ".join(f"{group} {controls[BASE]['groups'][group]['n']:,}" for group in groups)
    says = "".join(f"<dt>{escape(name)}</dt><dd>{escape(one['says'])}</dd>" for name, one in controls.items())
    return (
        "<section><h2>Replacement controls</h2><p>The same questions with something else at the thinking positions, "
        "judged by geometry. Changes are paired, in points; intervals resample scenes. Grey in the picture: changes "
        f"too small to matter here. Questions: {escape(sizes)}.</p>{_picture(controls_picture(found))}"
        f"{_table(head, rows)}<details open><summary>What is replaced</summary><dl>{says}</dl></details></section>"
    )


def _read_out_part(read_out: Mapping[str, Any]) -> str:
    rows = [
        [
            f"thought {number}",
            ", ".join(f"{one['word']} ({one['scenes']:,})" for one in token["argmax"]),
            f"{token['different']:,}",
            ", ".join(f"{one['word']} {one['chance']:.0%}" for one in token["top"]),
        ]
        for number, token in enumerate(read_out["tokens"], 1)
    ]
    examples = "".join(
        f"<h3>{escape(scene)}</h3>"
        + _table(
            ["", "top five"],
            [
                [f"thought {number}", ", ".join(f"{one['word']} {one['chance']:.0%}" for one in token)]
                for number, token in enumerate(tokens, 1)
            ],
        )
        for scene, tokens in read_out["examples"].items()
    )
    return (
        f"<section><h2>The tokens in words: {escape(read_out['title'])}</h2><p>What the vocabulary gives at the "
        "thinking positions, the paper's diagnostic mode. No loss taught these positions to say anything: these are "
        f"words of a part that was never asked to speak. Over {read_out['scenes']:,} scenes.</p>"
        + _table(["", "likeliest word (scenes)", "different ones", "likeliest five, mean chance"], rows)
        + f"<details><summary>Some scenes</summary>{examples}</details></section>"
    )


def _attention_part(found: Mapping[str, Any]) -> str:
    attention = found["attention"]
    if not attention["rows"]:
        return "<section><h2>Attention</h2><p>No question named two objects, so none was looked into.</p></section>"
    groups = list(dict.fromkeys(group for row in attention["rows"].values() for group in row))
    rows = [
        [
            who,
            *(f"{row[group]['mean']:.1%} ({row[group]['even']:.1%})" if group in row else _UNKNOWN for group in groups),
        ]
        for who, row in attention["rows"].items()
    ]
    tables = _picture(attention_picture(found)) + _table(["who looks", *groups], rows)
    return (
        "<section><h2>Attention</h2><p>Shares of attention, mean over heads, blocks and "
        f"{attention['questions']:,} questions; in brackets what looking at all alike would give. For a thinking "
        f"token, “thinking tokens” are those before it.</p>{tables}</section>"
    )


def _decoding_part(found: Mapping[str, Any]) -> str:
    decoding = found["decoding"]
    picture = decoding_picture(found)
    if picture is None:
        return (
            "<section><h2>Linear probe</h2><p>Too few scenes with known objects "
            f"({decoding['scenes']}) to train a probe and to test it on others.</p></section>"
        )
    parts = []
    for name, told in decoding["targets"].items():
        rows = [
            [
                place,
                f"{entry['numbers']:,}",
                f"{entry['score']:.3f}",
                _ends(entry["ci95"]),
                _ends(entry["over_chance_ci95"]),
                _UNKNOWN if entry["counterpart"] is None else _ends(entry["over_counterpart_ci95"]),
            ]
            for place, entry in told["positions"].items()
        ]
        head = ["position", "numbers", told["measure"], "95 %", "over chance, 95 %", "over object slots, 95 %"]
        what = f"chance {told['chance']:.3f}, n {told['n']:,}, after block {told['block']}"
        parts.append(f"<h3>{escape(name)} <small>{what}</small></h3>{_table(head, rows)}")
    return (
        "<section><h2>Linear probe</h2><p>Ridge regression from hidden states, trained on four fifths of the scenes "
        "and tested on the last, in turn. What can be read is there; whether the answers use it, the controls say. "
        f"Thinking tokens are compared with as many numbers from object slots.</p>{_picture(picture)}"
        f"<details><summary>Figures</summary>{''.join(parts)}</details></section>"
    )


def _facts_part(found: Mapping[str, Any]) -> str:
    facts = {
        "command": found["command"],
        "commit": found["commit"],
        "scenes left out": f"{found['scenes']['left_out']:,} without boxes in metres",
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "machine": ", ".join(map(str, found["machine"].values())),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(str(told or _UNKNOWN))}</dd>" for name, told in facts.items())
    return f"<section><h2>How this was made</h2><dl>{lines}</dl></section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"


def _picture(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, facecolor="white")
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<div class=pictures><img alt="" src="data:image/png;base64,{text}"></div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _difference(figure: Mapping[str, Any]) -> str:
    return f"{100 * figure['difference']:+.1f}"


def _interval(figure: Mapping[str, Any]) -> str:
    return (
        _UNKNOWN
        if figure["difference_ci95"] is None
        else "{:+.1f} to {:+.1f}".format(*(100 * end for end in figure["difference_ci95"]))
    )


def _ends(interval: Sequence[float] | None) -> str:
    return _UNKNOWN if interval is None else "{:.3f} to {:.3f}".format(*interval)
