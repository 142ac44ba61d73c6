"""The page that shows an evaluation: one HTML file that needs neither a server nor the net.

Knows nothing of how the numbers came about beyond saying it; it reads the metrics as ``metrics.json`` holds them. All
text that comes from scenes, models or users is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dollhouse.evaluation.report.charts import Bar, bars, curve
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.evaluation.report.page import (
    facts,
    html_page,
    interval,
    listed,
    many,
    number,
    percent,
    section,
    table,
    tiles,
)
from dollhouse.evaluation.report.pictures import MOST_VIEWS, SHOWN_SCORE, plan_picture, views_picture

UNBALANCED = 0.05  #: a blind student this far above chance means that the questions give their answers away
SUMS = ("all four", "mean of four")  #: rows over all questions of the four families (micro), and over families (macro)


def evaluation_page(metrics: Mapping[str, Any], exhibits: Sequence[GalleryScene]) -> str:
    """The page as HTML text; ``metrics`` as in ``metrics.json``, ``exhibits`` the scenes of the gallery."""
    source = metrics["scenes"]["source"] or "a list of scenes"
    title = f"Dollhouse: {metrics['model']} on {source}"
    body = [
        f"<header><h1>{escape(str(metrics['model']))}</h1>",
        f"<p>evaluated on {escape(source)} ({many(metrics['scenes']['n'], 'scene')}, "
        f"{many(metrics['questions']['n'], 'question')}, seed {metrics['seed']})</p></header>",
        _headlines(metrics),
        _answers_part(metrics),
        f"<div class=pair>{_depth_part(metrics)}{_boxes_part(metrics)}</div>",
        _curves_part(metrics),
        _gallery_part(exhibits),
        _how_part(metrics),
        _facts_part(metrics),
    ]
    return html_page(title, body)


def _accuracy(entry: Mapping[str, Any] | None) -> float | None:
    return entry["accuracy"] if entry else None


def _headlines(metrics: Mapping[str, Any]) -> str:
    overall, blind, depth, boxes = metrics["overall"], metrics["blind"], metrics["depth"], metrics["boxes"]
    shown = []
    if overall:
        note = f"95 %: {interval(overall)}" if overall["ci95"] else "one scene, so no interval"
        shown.append(("accuracy, four families", percent(overall["accuracy"]), note))
        if blind:
            shown.append(("the same, blind", percent(_accuracy(blind["overall"])), "no image seen"))
        shown.append(("chance", percent(metrics["chance"]["overall"]), "guessing among the choices"))
    if depth:
        aligned = "no alignment" if depth["alignment"] == "none" else f"aligned by {depth['alignment']}"
        shown.append(("depth AbsRel", number(depth["abs_rel"]), aligned))
    if boxes:
        shown.append(("boxes mAP@0.25", number(boxes["map_25"]), f"@0.5: {number(boxes['map_50'])}"))
    return tiles(shown)


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
    shown = [
        Bar(name, entry["accuracy"], entry["ci95"], _accuracy(beside), guess)
        for name, entry, beside, guess in rows
        if name != SUMS[1]
    ]
    distance = metrics["distance"]
    note = ""
    if distance["n"]:
        note = f"<p>Distances: mean absolute error {number(distance['mae'], ' m')} over {distance['n']:,} answers"
        note += f", {distance['unread']:,} of which named no distance.</p>" if distance["unread"] else ".</p>"
    forms = table(
        ["form", "accuracy", "95 %", "n"],
        ([name, percent(e["accuracy"]), interval(e), f"{e['n']:,}"] for name, e in metrics["forms"].items()),
    )
    families = table(
        ["family", "accuracy", "95 %", "blind", "chance", "n"],
        (
            [name, percent(e["accuracy"]), interval(e), percent(_accuracy(b)), percent(c), f"{e['n']:,}"]
            for name, e, b, c in rows
        ),
        SUMS,
    )
    return (
        f"<section><h2>Answers</h2>{_balance_warning(metrics)}<div class=pair><div>{bars(shown)}</div>"
        f"<div>{families}{note}</div></div><details><summary>By form of question</summary>{forms}</details></section>"
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


def _depth_part(metrics: Mapping[str, Any]) -> str:
    if not metrics["depth"]:
        return "<section><h2>Depth</h2><p>No scene had depth to compare with.</p></section>"
    tables = []
    for depth in (metrics["depth"], metrics.get("depth_aligned")):
        if depth:
            unit = " m" if depth["alignment"] == "none" else ""
            rows = [
                ("AbsRel", number(depth["abs_rel"])),
                ("SqRel", number(depth["sq_rel"])),
                ("RMSE", number(depth["rmse"], unit)),
                ("MAE", number(depth["mae"], unit)),
                ("RMSE (log)", number(depth["rmse_log"])),
                ("SI log", number(depth["si_log"])),
                *((f"δ < 1.25{power}", percent(depth[f"delta_{n}"])) for n, power in enumerate(("", "²", "³"), 1)),
                ("alignment", depth["alignment"]),
                ("views", f"{depth['n']:,}"),
            ]
            tables.append(table(["error", ""], rows))
    return f"<section><h2>Depth</h2>{''.join(tables)}</section>"


def _boxes_part(metrics: Mapping[str, Any]) -> str:
    boxes = metrics["boxes"]
    if not boxes:
        return "<section><h2>Boxes</h2><p>No scene had boxes to compare with.</p></section>"
    rows = [
        ("mAP", number(boxes["map_25"]), number(boxes["map_50"])),
        ("recall", percent(boxes["recall_25"]), percent(boxes["recall_50"])),
    ]
    classes = table(
        ["class", "AP@0.25", "AP@0.5", "n"],
        ([name, number(c["ap_25"]), number(c["ap_50"]), f"{c['n']:,}"] for name, c in boxes["classes"].items()),
    )
    error = f"; half of the centres lie within {number(boxes['center_error'], ' m')}" if boxes["center_error"] else ""
    note = f"{boxes['n']:,} objects, {boxes['predicted']:,} predictions{error}."
    totals = table(["", "IoU 0.25", "IoU 0.5"], rows)
    by_class = f"<details><summary>By class</summary>{classes}</details>"
    return f"<section><h2>Boxes</h2>{totals}<p>{note}</p>{by_class}</section>"


def _curves_part(metrics: Mapping[str, Any]) -> str:
    """Whether the model knows when it is wrong, and what makes it wrong."""
    charts = []
    if calibration := metrics["calibration"]:
        points = calibration["points"]
        start = min(0.5, math.floor(10 * points[0]["middle"]) / 10)
        drawn = curve(
            points, "confidence, %", "right answers, %", x_ends=(start, 1.02), y_top=1.0, percent=True, diagonal=True
        )
        told = (
            f"Calibration of {calibration['n']:,} yes/no answers: on the dashed line, confidence is accuracy; below "
            f"it, the model is too sure. Expected calibration error {percent(calibration['ece'])}."
        )
        charts.append((drawn, told))
    wrong = "wrong answers, %"
    if metrics["by_distance"]:
        drawn = curve(metrics["by_distance"], "distance, m", wrong)
        charts.append((drawn, "Wrong answers of the four families by the distance from the nearest camera to the "
                              "farthest object that the question names."))  # fmt: skip
    if metrics["by_objects"]:
        drawn = curve(metrics["by_objects"], "objects in view", wrong)
        charts.append((drawn, "Wrong answers of the four families by how many objects the views of the scene show."))
    if metrics["depth_by_distance"]:
        points = [
            {"middle": (bin["from"] + bin["to"]) / 2, "value": bin["abs_rel"], "ci95": None, "n": bin["n"]}
            for bin in metrics["depth_by_distance"]
        ]
        drawn = curve(points, "true depth, m", "AbsRel, %")
        charts.append((drawn, "Relative error of depth by true depth, over pixels."))
    figures = "".join(f"<figure>{drawn}<figcaption>{escape(told)}</figcaption></figure>" for drawn, told in charts)
    note = "<p>Whiskers are 95 % intervals over scenes; a point without one is a single scene, or all of one kind.</p>"
    return section("When it errs", f"{note}<div class=charts>{figures}</div>") if charts else ""


def _gallery_part(exhibits: Sequence[GalleryScene]) -> str:
    """Successes, the best first, then failures, the worst first, then scenes that were not asked about."""
    judged = [exhibit for exhibit in exhibits if exhibit.accuracy is not None]
    half = (len(judged) + 1) // 2
    failures = [exhibit for exhibit in judged[half:] if (exhibit.accuracy or 0.0) < 1.0][::-1]
    successes = [exhibit for exhibit in judged if exhibit not in failures]
    others = [exhibit for exhibit in exhibits if exhibit.accuracy is None]
    intro = (
        "In the plan, filled boxes are true (pale ones are hardly seen and do not "
        f"count), dashed ones are predicted with a score of {SHOWN_SCORE} or more, and named where no such thing is "
        "near; the first camera looks up the page."
    )
    groups = (("Successes: answered best", successes), ("Failures: answered worst", failures), ("Scenes", others))
    return "".join(section(title, f"<p>{escape(intro)}</p>", *map(_exhibit, shown)) for title, shown in groups if shown)


def _exhibit(exhibit: GalleryScene) -> str:
    told = []
    if exhibit.accuracy is not None:
        told.append(f"{percent(exhibit.accuracy, 0)} right")
    if exhibit.depth_abs_rel is not None:
        told.append(f"depth AbsRel {number(exhibit.depth_abs_rel)}")
    if len(exhibit.images) > MOST_VIEWS:
        told.append(f"{MOST_VIEWS} of {len(exhibit.images)} views shown")
    name = escape(exhibit.scene)
    pictures = f'<img src="{views_picture(exhibit)}" alt="views and depth of {name}">'
    if exhibit.boxes or exhibit.true_boxes:
        pictures += f'<img src="{plan_picture(exhibit)}" alt="plan of {name}">'
    wrong_first = sorted(exhibit.answers, key=lambda row: (row["correct"] is None, bool(row["correct"])))
    answers = "".join(map(_answer, wrong_first))
    asked = f"<details open><summary>Questions</summary><ul class=answers>{answers}</ul></details>" if answers else ""
    return (
        f"<article><h3>{name} <small>{escape(' · '.join(told))}</small></h3><div class=pictures>{pictures}</div>"
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
    if metrics["questions"]["balanced"] == "by kind":
        lines.append(
            "These scenes are too few to balance answers by the categories that a question names, so they are balanced "
            "by kind of question only. What is larger by its name alone is given away: the blind student tells how "
            "much."
        )
    lines += [
        f"{part.capitalize()}: {many(count, 'scene')} left out ({reason})."
        for part, reasons in metrics["left_out"].items()
        for reason, count in reasons.items()
    ]
    return section("How the numbers were made", listed(lines))


def _facts_part(metrics: Mapping[str, Any]) -> str:
    told = [
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
    return section("This run", facts(told))
