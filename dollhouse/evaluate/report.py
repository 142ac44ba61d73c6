"""The page that shows an evaluation: one HTML file that needs neither a server nor the net.

Knows nothing of how the numbers came about beyond saying it; it reads the metrics as ``metrics.json`` holds them. All
text that comes from scenes, models or users is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from dollhouse.evaluate.gallery import Exhibit
from dollhouse.evaluate.pictures import MOST_VIEWS, SHOWN_SCORE, plan_picture, views_picture
from dollhouse.evaluate.report_style import STYLE

UNBALANCED = 0.05  #: a blind student this far above chance means that the questions give their answers away
SUMS = ("all four", "mean of four")  #: rows over all questions of the four families (micro), and over families (macro)
_UNKNOWN = "–"


def report_page(metrics: Mapping[str, Any], exhibits: Sequence[Exhibit]) -> str:
    """The page as HTML text; ``metrics`` as in ``metrics.json``, ``exhibits`` the scenes of the gallery."""
    source = metrics["scenes"]["source"] or "a list of scenes"
    title = f"Dollhouse: {metrics['model']} on {source}"
    body = [
        f"<header><h1>{escape(str(metrics['model']))}</h1>",
        f"<p>evaluated on {escape(source)} ({_many(metrics['scenes']['n'], 'scene')}, "
        f"{_many(metrics['questions']['n'], 'question')}, seed {metrics['seed']})</p></header>",
        _headlines(metrics),
        _answers_part(metrics),
        f"<div class=pair>{_depth_part(metrics)}{_boxes_part(metrics)}</div>",
        _gallery_part(exhibits),
        _how_part(metrics),
        _facts_part(metrics),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'
    )


def _percent(share: float | None, digits: int = 1) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def _number(value: float | None, unit: str = "") -> str:
    return _UNKNOWN if value is None else f"{value:.3f}{unit}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _interval(entry: Mapping[str, Any] | None) -> str:
    if not entry or not entry["ci95"]:
        return _UNKNOWN
    low, high = entry["ci95"]
    return f"{100 * low:.1f} – {100 * high:.1f}"


def _accuracy(entry: Mapping[str, Any] | None) -> float | None:
    return entry["accuracy"] if entry else None


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped, all but the first column stand to the right."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        ("<tr class=sum>" if row[0] in SUMS else "<tr>") + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"


def _headlines(metrics: Mapping[str, Any]) -> str:
    overall, blind, depth, boxes = metrics["overall"], metrics["blind"], metrics["depth"], metrics["boxes"]
    tiles = []
    if overall:
        interval = f"95 %: {_interval(overall)}" if overall["ci95"] else "one scene, so no interval"
        tiles.append(("accuracy, four families", _percent(overall["accuracy"]), interval))
        if blind:
            tiles.append(("the same, blind", _percent(_accuracy(blind["overall"])), "no image seen"))
        tiles.append(("chance", _percent(metrics["chance"]["overall"]), "guessing among the choices"))
    if depth:
        aligned = "no alignment" if depth["alignment"] == "none" else f"aligned by {depth['alignment']}"
        tiles.append(("depth AbsRel", _number(depth["abs_rel"]), aligned))
    if boxes:
        tiles.append(("boxes mAP@0.25", _number(boxes["map_25"]), f"@0.5: {_number(boxes['map_50'])}"))
    shown = "".join(
        f"<div class=tile><span>{escape(name)}</span><strong>{escape(value)}</strong>"
        f"<small>{escape(note)}</small></div>"
        for name, value, note in tiles
    )
    return f"<div class=tiles>{shown}</div>"


def _answers_part(metrics: Mapping[str, Any]) -> str:
    if not metrics["families"] and not metrics["others"]:
        return "<section><h2>Answers</h2><p>No scene had boxes to ask about.</p></section>"
    blind, chance = (
        metrics["blind"] or {"families": {}, "others": {}, "overall": None, "macro": None},
        metrics["chance"],
    )
    rows: list[tuple[str, Any, Any, float | None]] = [
        (name, entry, blind[group].get(name), chance[group].get(name))
        for group in ("families", "others")
        for name, entry in metrics[group].items()
    ]
    count = len(metrics["families"])
    if metrics["overall"]:
        rows.insert(count, (SUMS[0], metrics["overall"], blind["overall"], chance["overall"]))
        rows.insert(count + 1, (SUMS[1], metrics["macro"], blind["macro"], None))
    bars = [row for row in rows if row[0] != SUMS[1]]
    distance = metrics["distance"]
    note = ""
    if distance["n"]:
        note = f"<p>Distances: mean absolute error {_number(distance['mae'], ' m')} over {distance['n']:,} answers"
        note += f", {distance['unread']:,} of which named no distance.</p>" if distance["unread"] else ".</p>"
    forms = _table(
        ["form", "accuracy", "95 %", "n"],
        ([name, _percent(e["accuracy"]), _interval(e), f"{e['n']:,}"] for name, e in metrics["forms"].items()),
    )
    table = _table(
        ["family", "accuracy", "95 %", "blind", "chance", "n"],
        (
            [name, _percent(e["accuracy"]), _interval(e), _percent(_accuracy(b)), _percent(c), f"{e['n']:,}"]
            for name, e, b, c in rows
        ),
    )
    return (
        f"<section><h2>Answers</h2>{_balance_warning(metrics)}<div class=pair><div>{_bars(bars)}</div>"
        f"<div>{table}{note}</div></div><details><summary>By form of question</summary>{forms}</details></section>"
    )


def _balance_warning(metrics: Mapping[str, Any]) -> str:
    blind, chance = metrics["blind"], metrics["chance"]["overall"]
    if not blind or not blind["overall"] or chance is None or blind["overall"]["accuracy"] <= chance + UNBALANCED:
        return ""
    above = 100 * (blind["overall"]["accuracy"] - chance)
    return (
        f"<p class=warning>The blind student stands {above:.1f} points above chance: the questions give some of their "
        "answers away, and accuracies here say less than they seem to.</p>"
    )


def _bars(rows: Sequence[tuple[str, Any, Any, float | None]]) -> str:
    """Bars (SVG) of accuracy with its interval, a thin bar for the blind student and a tick at chance."""
    left, width, step = 130, 350, 34
    height = step * len(rows) + 30
    parts = []
    for percent in (0, 25, 50, 75, 100):
        x = left + width * percent / 100
        parts.append(f'<line class=grid x1="{x}" x2="{x}" y1="4" y2="{height - 22}"/>')
        parts.append(f'<text x="{x}" y="{height - 6}" text-anchor=middle>{percent}</text>')
    for index, (name, entry, blind, chance) in enumerate(rows):
        y = 8 + step * index
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor=end>{escape(name)}</text>')
        parts.append(_bar("model", left, y, width * entry["accuracy"], 14))
        if blind:
            parts.append(_bar("blind", left, y + 16, width * blind["accuracy"], 6))
        if entry["ci95"]:
            low, high = (left + width * end for end in entry["ci95"])
            parts.append(
                f'<path class=whisker d="M{low:.1f} {y + 7}H{high:.1f}M{low:.1f} {y + 3}v8M{high:.1f} {y + 3}v8"/>'
            )
        if chance is not None:
            x = left + width * chance
            parts.append(f'<line class=chance x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + 25}"/>')
    labels = (("model", "model, with 95 % interval"), ("blind", "blind"), ("chance", "chance"))
    legend = "".join(f"<i class={kind}></i>{label}" for kind, label in labels)
    frame = f'viewBox="0 0 {left + width + 20} {height}" role=img aria-label="accuracy in percent"'
    return f"<svg {frame}>{''.join(parts)}</svg><p class=legend>{legend}</p>"


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class={kind} x="{x}" y="{y}" width="{width:.1f}" height="{height}" rx="2"/>'


def _depth_part(metrics: Mapping[str, Any]) -> str:
    if not metrics["depth"]:
        return "<section><h2>Depth</h2><p>No scene had depth to compare with.</p></section>"
    tables = []
    for depth in (metrics["depth"], metrics.get("depth_aligned")):
        if depth:
            unit = " m" if depth["alignment"] == "none" else ""
            rows = [
                ("AbsRel", _number(depth["abs_rel"])),
                ("SqRel", _number(depth["sq_rel"])),
                ("RMSE", _number(depth["rmse"], unit)),
                ("MAE", _number(depth["mae"], unit)),
                ("RMSE (log)", _number(depth["rmse_log"])),
                ("SI log", _number(depth["si_log"])),
                *((f"δ < 1.25{power}", _percent(depth[f"delta_{n}"])) for n, power in enumerate(("", "²", "³"), 1)),
                ("alignment", depth["alignment"]),
                ("views", f"{depth['n']:,}"),
            ]
            tables.append(_table(["error", ""], rows))
    return f"<section><h2>Depth</h2>{''.join(tables)}</section>"


def _boxes_part(metrics: Mapping[str, Any]) -> str:
    boxes = metrics["boxes"]
    if not boxes:
        return "<section><h2>Boxes</h2><p>No scene had boxes to compare with.</p></section>"
    rows = [
        ("mAP", _number(boxes["map_25"]), _number(boxes["map_50"])),
        ("recall", _percent(boxes["recall_25"]), _percent(boxes["recall_50"])),
    ]
    classes = _table(
        ["class", "AP@0.25", "AP@0.5", "n"],
        ([name, _number(c["ap_25"]), _number(c["ap_50"]), f"{c['n']:,}"] for name, c in boxes["classes"].items()),
    )
    error = f"; half of the centres lie within {_number(boxes['center_error'], ' m')}" if boxes["center_error"] else ""
    note = f"{boxes['n']:,} objects, {boxes['predicted']:,} predictions{error}."
    table = _table(["", "IoU 0.25", "IoU 0.5"], rows)
    by_class = f"<details><summary>By class</summary>{classes}</details>"
    return f"<section><h2>Boxes</h2>{table}<p>{note}</p>{by_class}</section>"


def _gallery_part(exhibits: Sequence[Exhibit]) -> str:
    if not exhibits:
        return ""
    intro = (
        "Best answered first, worst last. In the plan, filled boxes are true (pale ones are hardly seen and do not "
        f"count), dashed ones are predicted with a score of {SHOWN_SCORE} or more, and named where no such thing is "
        "near; the first camera looks up the page."
    )
    return f"<section><h2>Scenes</h2><p>{intro}</p>{''.join(_exhibit(exhibit) for exhibit in exhibits)}</section>"


def _exhibit(exhibit: Exhibit) -> str:
    facts = []
    if exhibit.accuracy is not None:
        facts.append(f"{_percent(exhibit.accuracy, 0)} right")
    if exhibit.depth_abs_rel is not None:
        facts.append(f"depth AbsRel {_number(exhibit.depth_abs_rel)}")
    if len(exhibit.images) > MOST_VIEWS:
        facts.append(f"{MOST_VIEWS} of {len(exhibit.images)} views shown")
    name = escape(exhibit.scene)
    pictures = f'<img src="{views_picture(exhibit)}" alt="views and depth of {name}">'
    if exhibit.boxes or exhibit.true_boxes:
        pictures += f'<img src="{plan_picture(exhibit)}" alt="plan of {name}">'
    answers = "".join(_answer(row) for row in exhibit.answers)
    asked = f"<details open><summary>Questions</summary><ul class=answers>{answers}</ul></details>" if answers else ""
    return (
        f"<article><h3>{name} <small>{escape(' · '.join(facts))}</small></h3><div class=pictures>{pictures}</div>"
        f"{asked}</article>"
    )


def _answer(row: Mapping[str, Any]) -> str:
    kind = {True: "right", False: "wrong", None: "unjudged"}[row["correct"]]
    said = escape(str(row["prediction"])) or "(nothing)"
    truth = "" if row["correct"] else f" <small>truth: {escape(str(row['answer']))}</small>"
    return f"<li class={kind}><span>{escape(str(row['question']))}</span> <b>{said}</b>{truth}</li>"


def _how_part(metrics: Mapping[str, Any]) -> str:
    lines = [
        "Questions and their true answers are read off each scene's geometry, from what the views show; ambiguous "
        "cases are not asked. Chance is the mean of one over the number of choices.",
        "An answer is right if its words are those of the true answer, without regard to case, punctuation, articles "
        "and the spelling of numbers; a distance may be 0.25 m off. Descriptions are not judged.",
        "“All four” counts every question of the four families once, “mean of four” every family once. "
        "Intervals are 95 % percentile bootstrap intervals over 2,000 resamples of whole scenes, since questions about "
        "one room are not independent.",
        "The blind student is the same student without image tokens, asked the same questions.",
        "Depth errors are means over the valid pixels of a view, then over views; δ is the share of pixels within a "
        "factor. Alignment “none” compares metres as they are, “median” scales each scene by one factor.",
        "mAP is the mean over classes of the area under the precision-recall curve (VOC since 2010), with the exact "
        "overlap of turned boxes; an object counts if it covers 0.35 % of some view, and hardly visible ones neither "
        "help nor hurt. Recall is over all objects.",
    ]
    lines += [
        f"{part.capitalize()}: {_many(count, 'scene')} left out ({reason})."
        for part, reasons in metrics["left_out"].items()
        for reason, count in reasons.items()
    ]
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>How the numbers were made</h2><ul>{listed}</ul></section>"


def _facts_part(metrics: Mapping[str, Any]) -> str:
    facts = [
        ("model", metrics["model"]),
        ("blind student", metrics["blind"]["model"] if metrics["blind"] else "none"),
        ("scenes", f"{metrics['scenes']['source'] or 'a list'} ({metrics['scenes']['n']:,})"),
        ("questions", f"{metrics['questions']['n']:,}, sha256 {metrics['questions']['sha256']}"),
        ("seed", metrics["seed"]),
        ("commit", metrics["commit"] or "not given"),
        ("command", metrics["command"] or "not given"),
        ("versions", ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())),
        ("seconds", metrics["seconds"]),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    return f"<section><h2>This run</h2><dl>{rows}</dl></section>"
