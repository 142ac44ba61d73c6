"""The page of an evaluation on scenes, whose template reads ``metrics.json`` itself, and its summary for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dollhouse.evaluation.report.charts import accuracy_chart, curve_chart
from dollhouse.evaluation.report.gallery import MAX_VIEWS, MIN_SCORE, GalleryScene, plan_picture, views_picture
from dollhouse.evaluation.report.render import Table, interval, percent, render_report, rich_table
from dollhouse.scenes.labels import list_counts

SUMS = ("all four", "mean of four")  #: micro average over the questions of the four families, macro over families
MAX_BLIND_GAIN = 0.05  #: a blind control this far above chance: the questions give their answers away


def evaluation_page(metrics: Mapping[str, Any], scenes: Sequence[GalleryScene]) -> str:
    """Render the page; ``metrics`` as in ``metrics.json``, ``scenes`` those of the gallery."""
    source = metrics["scenes"]["source"] or "a list of scenes"
    bars = [(row[0], row[1]["accuracy"], row[1]["ci95"], *row[2:]) for row in accuracy_rows(metrics)]
    blind, chance = (metrics["blind"] or {}).get("overall"), metrics["chance"]["overall"]
    gain = blind["accuracy"] - chance if blind and chance is not None else 0.0
    context = {
        "title": f"Dollhouse: {metrics['model']} on {source}",
        "source": source,
        "metrics": metrics,
        "blind_gain": gain if gain > MAX_BLIND_GAIN else None,
        "accuracies": accuracy_table(metrics),
        "accuracy_chart": accuracy_chart([bar for bar in bars if bar[0] != SUMS[1]]),
        "curves": _curves(metrics),
        "gallery": _gallery(scenes),
        "min_score": MIN_SCORE,
        "max_views": MAX_VIEWS,
        "views_picture": views_picture,
        "plan_picture": plan_picture,
        "ignored_labels": list_counts(metrics.get("ignored_labels") or {}),
    }
    return render_report("evaluation.html.j2", context)


def _curves(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Draw calibration, and errors against distance and number of objects: name -> chart and its values."""
    depth = [
        {"middle": (row["from"] + row["to"]) / 2, "value": row["abs_rel"], "ci95": None, "n": row["n"]}
        for row in metrics["depth_by_distance"] or ()
    ]
    curves = {
        "calibration": ((metrics["calibration"] or {}).get("points"), "confidence, %", "right answers, %"),
        "by_distance": (metrics["by_distance"], "distance, m", "wrong answers, %"),
        "by_objects": (metrics["by_objects"], "objects in view", "wrong answers, %"),
        "depth": (depth, "true depth, m", "AbsRel, %"),
    }
    drawn = {}
    for name, (points, along, across) in curves.items():
        if points:
            cells = [(f"{p['middle']:.2f}", percent(p["value"]), interval(p["ci95"]), f"{p['n']:,}") for p in points]
            chart = curve_chart(points, along, across, calibration=name == "calibration")
            table = Table([along, "value", "95 %", "n"], cells)
            drawn[name] = {"chart": chart, "description": f"{across} against {along}", "table": table}
    return drawn


def _gallery(scenes: Sequence[GalleryScene]) -> list[tuple[str, list[GalleryScene]]]:
    """Sort into successes, the best first, failures, the worst first, and scenes without questions."""
    judged = [scene for scene in scenes if scene.accuracy is not None]
    failures = [scene for scene in judged[(len(judged) + 1) // 2 :] if (scene.accuracy or 0.0) < 1.0][::-1]
    groups = {
        "Successes: highest accuracy": [scene for scene in judged if scene not in failures],
        "Failures: lowest accuracy": failures,
        "Scenes without questions": [scene for scene in scenes if scene.accuracy is None],
    }
    return [(title, group) for title, group in groups.items() if group]


def accuracy_rows(metrics: Mapping[str, Any]) -> list[tuple[str, Any, float | None, float | None]]:
    """List each group of questions with its entry, the blind control's accuracy and chance; sums after the four."""
    blind, chance = metrics.get("blind") or {}, metrics.get("chance") or {}
    rows: list[tuple[str, Any, Any, float | None]] = []
    for kind in ("families", "others"):
        controls, guesses = blind.get(kind) or {}, chance.get(kind) or {}
        rows += [(name, e, controls.get(name), guesses.get(name)) for name, e in (metrics.get(kind) or {}).items()]
        if kind == "families" and metrics.get("overall"):
            rows.append((SUMS[0], metrics["overall"], blind.get("overall"), chance.get("overall")))
            rows.append((SUMS[1], metrics["macro"], blind.get("macro"), None))
    return [(name, entry, beside["accuracy"] if beside else None, guess) for name, entry, beside, guess in rows]


def accuracy_table(metrics: Mapping[str, Any]) -> Table:
    """Build the table of accuracy by family beside the blind control and chance."""
    rows = [
        (name, percent(entry["accuracy"]), interval(entry["ci95"]), percent(blind), percent(chance), f"{entry['n']:,}")
        for name, entry, blind, chance in accuracy_rows(metrics)
    ]
    return Table(["family", "accuracy", "95 %", "blind", "chance", "n"], rows, bold=SUMS)


def metrics_summary(metrics: Mapping[str, Any]) -> Group:
    """Build what the terminal shows of an evaluation: accuracies, depth, boxes, and what was left out."""
    scenes, table = metrics["scenes"], accuracy_table(metrics)
    parts: list[RenderableType] = [f"{metrics['model']} on {scenes['source'] or 'scenes'} ({scenes['n']})"]
    if table.rows:
        parts.append(rich_table(table))
    if depth := metrics.get("depth"):
        parts.append(
            f"depth, alignment {depth['alignment']}: AbsRel {depth['abs_rel']:.3f}, RMSE {depth['rmse']:.3f}, "
            f"MAE {depth['mae']:.3f}, delta<1.25 {depth['delta_1']:.1%} ({depth['n']} views)"
        )
    if boxes := metrics.get("boxes"):
        parts.append(f"boxes: mAP@0.25 {boxes['map_25']:.3f}, mAP@0.5 {boxes['map_50']:.3f} ({boxes['n']} objects)")
    if (metrics.get("questions") or {}).get("balanced") == "by kind":
        parts.append("few scenes: answers are balanced by kind of question only, not by the categories named")
    if ignored := metrics.get("ignored_labels"):
        parts.append(f"objects without a label, not counted: {list_counts(ignored)}")
    parts += [
        f"{part} left out for {count} scene(s): {reason}"
        for part, reasons in (metrics.get("left_out") or {}).items()
        for reason, count in reasons.items()
    ]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))
