"""The page of an evaluation on scenes: its template's context, from ``metrics.json`` and the scenes of the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dollhouse.evaluation.report.charts import Bar, accuracy_chart, curve_chart
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.evaluation.report.pictures import MAX_VIEWS, MIN_SCORE, plan_picture, views_picture
from dollhouse.evaluation.report.render import (
    Chart,
    Table,
    decimal,
    interval,
    percent,
    render_report,
)
from dollhouse.evaluation.report.table import SUMS, accuracy_rows, accuracy_table

MAX_BLIND_GAIN = 0.05  #: a blind control this far above chance: the questions give their answers away
CORRECTNESS = {True: "right", False: "wrong", None: "unjudged"}


def evaluation_page(metrics: Mapping[str, Any], scenes: Sequence[GalleryScene]) -> str:
    """Render the page; ``metrics`` as in ``metrics.json``, ``scenes`` those of the gallery."""
    return render_report("evaluation.html.j2", evaluation_context(metrics, scenes))


def evaluation_context(metrics: Mapping[str, Any], scenes: Sequence[GalleryScene]) -> dict[str, Any]:
    """Build what ``evaluation.html.j2`` shows."""
    source = metrics["scenes"]["source"] or "a list of scenes"
    return {
        "title": f"Dollhouse: {metrics['model']} on {source}",
        "source": source,
        "metrics": metrics,
        "tiles": _tiles(metrics),
        "answers": _answers(metrics),
        "depth": [_depth_table(depth) for depth in (metrics["depth"], metrics.get("depth_aligned")) if depth],
        "error_charts": _error_charts(metrics),
        "gallery": _gallery(scenes),
        "min_score": MIN_SCORE,
        "facts": {
            "model": metrics["model"],
            "blind control": metrics["blind"]["model"] if metrics["blind"] else "none",
            "scenes": f"{source} ({metrics['scenes']['n']:,})",
            "questions": f"{metrics['questions']['n']:,}, sha256 {metrics['questions']['sha256']}",
            "seed": metrics["seed"],
            "commit": metrics["commit"],
            "command": metrics["command"],
            "versions": ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()),
            "seconds": metrics["seconds"],
        },
    }


def _tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    overall, blind, depth, boxes = metrics["overall"], metrics["blind"], metrics["depth"], metrics["boxes"]
    tiles = []
    if overall:
        note = f"95 %: {interval(overall['ci95'])}" if overall["ci95"] else "one scene, so no interval"
        tiles.append(("accuracy, four families", percent(overall["accuracy"]), note))
        if blind:
            tiles.append(
                (
                    "blind control",
                    percent(blind["overall"]["accuracy"] if blind["overall"] else None),
                    "same questions, no images",
                )
            )
        tiles.append(("chance", percent(metrics["chance"]["overall"]), "a random choice"))
    if depth:
        aligned = "no alignment" if depth["alignment"] == "none" else f"aligned by {depth['alignment']}"
        tiles.append(("depth AbsRel", decimal(depth["abs_rel"]), aligned))
    if boxes:
        tiles.append(("boxes mAP@0.25", decimal(boxes["map_25"]), f"@0.5: {decimal(boxes['map_50'])}"))
    return tiles


def _answers(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """The chart and the tables of answers; None where no scene had questions."""
    if not metrics["families"] and not metrics["others"]:
        return None
    chance, blind, gain = metrics["chance"], metrics["blind"], None
    if blind and blind["overall"] and chance["overall"] is not None:
        gain = 100 * (blind["overall"]["accuracy"] - chance["overall"])
    bars = [
        Bar(name, entry["accuracy"], entry["ci95"], beside, guess)
        for name, entry, beside, guess in accuracy_rows(metrics)
        if name != SUMS[1]
    ]
    return {
        "blind_gain": gain if gain is not None and gain > 100 * MAX_BLIND_GAIN else None,
        "chart": Chart(accuracy_chart(bars), "accuracy by family of questions"),
        "families": accuracy_table(metrics),
        "forms": Table(
            ["form", "accuracy", "95 %", "n"],
            [
                (name, percent(e["accuracy"]), interval(e["ci95"]), f"{e['n']:,}")
                for name, e in metrics["forms"].items()
            ],
        ),
    }


def _depth_table(depth: Mapping[str, Any]) -> Table:
    unit = " m" if depth["alignment"] == "none" else ""
    rows = [
        ("AbsRel", decimal(depth["abs_rel"])),
        ("SqRel", decimal(depth["sq_rel"])),
        ("RMSE", decimal(depth["rmse"], unit)),
        ("MAE", decimal(depth["mae"], unit)),
        ("RMSE (log)", decimal(depth["rmse_log"])),
        ("SI log", decimal(depth["si_log"])),
        *((f"δ < 1.25{power}", percent(depth[f"delta_{n}"])) for n, power in enumerate(("", "²", "³"), 1)),
        ("alignment", depth["alignment"]),
        ("views", f"{depth['n']:,}"),
    ]
    return Table(["error", ""], rows)


def _error_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Calibration, and errors against distance and number of objects."""
    charts = []
    if calibration := metrics["calibration"]:
        rows = calibration["points"]
        figure = curve_chart(rows, "confidence, %", "right answers, %", x_scale=100, y_top=103, diagonal=True)
        caption = (
            f"Calibration of {calibration['n']:,} yes/no answers. On the dashed line confidence equals accuracy; below "
            f"it the model is overconfident. Expected calibration error {percent(calibration['ece'])}."
        )
        charts.append(Chart(figure, "accuracy against confidence", caption, _values(rows, "confidence")))
    along_captions = {
        "by_distance": "distance, m|Wrong answers of the four families by the distance from the nearest camera to the "
        "farthest object that the question names.",
        "by_objects": "objects in view|Wrong answers of the four families by the number of objects in the views.",
    }
    for key, described in along_captions.items():
        if rows := metrics[key]:
            along, caption = described.split("|")
            figure = curve_chart(rows, along, "wrong answers, %")
            charts.append(Chart(figure, f"wrong answers against {along}", caption, _values(rows, along)))
    if bins := metrics["depth_by_distance"]:
        rows = [
            {"middle": (bin["from"] + bin["to"]) / 2, "value": bin["abs_rel"], "ci95": None, "n": bin["n"]}
            for bin in bins
        ]
        figure = curve_chart(rows, "true depth, m", "AbsRel, %")
        caption = "Relative error of depth by true depth, over pixels."
        charts.append(Chart(figure, "depth error against true depth", caption, _values(rows, "true depth, m")))
    return charts


def _values(rows: Sequence[Mapping[str, Any]], along: str) -> Table:
    return Table(
        [along, "value", "95 %", "n"],
        [(f"{row['middle']:.2f}", percent(row["value"]), interval(row["ci95"]), f"{row['n']:,}") for row in rows],
    )


def _gallery(scenes: Sequence[GalleryScene]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Successes, the best first, then failures, the worst first, then scenes without questions."""
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
    notes = []
    if scene.accuracy is not None:
        notes.append(f"{percent(scene.accuracy, 0)} right")
    if scene.depth_abs_rel is not None:
        notes.append(f"depth AbsRel {decimal(scene.depth_abs_rel)}")
    if len(scene.images) > MAX_VIEWS:
        notes.append(f"{MAX_VIEWS} of {len(scene.images)} views shown")
    wrong_first = sorted(scene.answers, key=lambda row: (row["correct"] is None, bool(row["correct"])))
    return {
        "name": scene.scene,
        "notes": " · ".join(notes),
        "views": views_picture(scene),
        "plan": plan_picture(scene) if scene.boxes or scene.true_boxes else None,
        "answers": [(CORRECTNESS[row["correct"]], row) for row in wrong_first],  # type: ignore[index]
    }
