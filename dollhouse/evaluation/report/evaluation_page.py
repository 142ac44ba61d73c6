"""The page of an evaluation on scenes: charts and gallery for its template, which reads ``metrics.json`` itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dollhouse.evaluation.report.charts import Bar, accuracy_chart, curve_chart
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.evaluation.report.pictures import MAX_VIEWS, MIN_SCORE, plan_picture, views_picture
from dollhouse.evaluation.report.render import Chart, Table, interval, percent, render_report
from dollhouse.evaluation.report.table import SUMS, accuracy_rows, accuracy_table

MAX_BLIND_GAIN = 0.05  #: a blind control this far above chance: the questions give their answers away


def evaluation_page(metrics: Mapping[str, Any], scenes: Sequence[GalleryScene]) -> str:
    """Render the page; ``metrics`` as in ``metrics.json``, ``scenes`` those of the gallery."""
    return render_report("evaluation.html.j2", evaluation_context(metrics, scenes))


def evaluation_context(metrics: Mapping[str, Any], scenes: Sequence[GalleryScene]) -> dict[str, Any]:
    """Build what ``evaluation.html.j2`` shows."""
    source = metrics["scenes"]["source"] or "a list of scenes"
    bars = [Bar(row[0], row[1]["accuracy"], row[1]["ci95"], *row[2:]) for row in accuracy_rows(metrics)]
    gain = None
    if (blind := (metrics["blind"] or {}).get("overall")) and metrics["chance"]["overall"] is not None:
        gain = blind["accuracy"] - metrics["chance"]["overall"]
    return {
        "title": f"Dollhouse: {metrics['model']} on {source}",
        "source": source,
        "metrics": metrics,
        "blind_gain": gain if gain is not None and gain > MAX_BLIND_GAIN else None,
        "accuracies": accuracy_table(metrics),
        "accuracy_chart": Chart(
            accuracy_chart([bar for bar in bars if bar.name != SUMS[1]]), "accuracy by family of questions"
        ),
        "error_charts": _error_charts(metrics),
        "gallery": _gallery(scenes),
        "min_score": MIN_SCORE,
    }


def _error_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Draw calibration, and errors against distance and number of objects."""
    charts = []
    if calibration := metrics["calibration"]:
        caption = (
            f"Calibration of {calibration['n']:,} yes/no answers. On the dashed line confidence equals accuracy; below "
            f"it the model is overconfident. Expected calibration error {percent(calibration['ece'])}."
        )
        rows = calibration["points"]
        figure = curve_chart(rows, "confidence, %", "right answers, %", x_scale=100, y_top=103, diagonal=True)
        charts.append(Chart(figure, "accuracy against confidence", caption, _values(rows, "confidence")))
    bins = [
        {"middle": (row["from"] + row["to"]) / 2, "value": row["abs_rel"], "ci95": None, "n": row["n"]}
        for row in metrics["depth_by_distance"] or ()
    ]
    wrong, families = "wrong answers, %", "Wrong answers of the four families by the"
    far = f"{families} distance from the nearest camera to the farthest object that the question names."
    for rows, along, across, caption in (
        (metrics["by_distance"], "distance, m", wrong, far),
        (metrics["by_objects"], "objects in view", wrong, f"{families} number of objects in the views."),
        (bins, "true depth, m", "AbsRel, %", "Relative error of depth by true depth, over pixels."),
    ):
        if rows:
            figure = curve_chart(rows, along, across)
            charts.append(Chart(figure, f"{across} against {along}", caption, _values(rows, along)))
    return charts


def _values(rows: Sequence[Mapping[str, Any]], along: str) -> Table:
    cells = [(f"{row['middle']:.2f}", percent(row["value"]), interval(row["ci95"]), f"{row['n']:,}") for row in rows]
    return Table([along, "value", "95 %", "n"], cells)


def _gallery(scenes: Sequence[GalleryScene]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Sort into successes, the best first, failures, the worst first, and scenes without questions."""
    judged = [scene for scene in scenes if scene.accuracy is not None]
    half = (len(judged) + 1) // 2
    failures = [scene for scene in judged[half:] if (scene.accuracy or 0.0) < 1.0][::-1]
    groups = {
        "Successes: highest accuracy": [scene for scene in judged if scene not in failures],
        "Failures: lowest accuracy": failures,
        "Scenes without questions": [scene for scene in scenes if scene.accuracy is None],
    }
    return [(title, [_card(scene) for scene in group]) for title, group in groups.items() if group]


def _card(scene: GalleryScene) -> dict[str, Any]:
    views = len(scene.images)
    return {
        "scene": scene,
        "left_out": f"{MAX_VIEWS} of {views} views shown" if views > MAX_VIEWS else "",
        "views": views_picture(scene),
        "plan": plan_picture(scene) if scene.boxes or scene.true_boxes else None,
        "answers": sorted(scene.answers, key=lambda row: (row["correct"] is None, bool(row["correct"]))),
    }
