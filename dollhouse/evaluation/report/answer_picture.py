"""One picture of a session: the photos, the predicted depth, a plan with boxes, and the answers with confidence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dollhouse.evaluation.report.charts import COLOUR, INK, SOFT
from dollhouse.inference.session import MIN_BOX_SCORE, Answer, SceneSession
from dollhouse.scenes.visualize import draw_plan, draw_views, save_figure

TILE, PLAN = 2.2, 5.2  #: widths of a photo and of the plan, inches
LINE = 0.2  #: height of a line of text, inches
CUT = 0.1  #: points higher than this above the first camera are left out of the plan, metres


def draw_answers(session: SceneSession, answers: Sequence[Answer], out: Path) -> None:
    """Write the picture to ``out``. Raises StorageError where it cannot be written, ModelError for a blind student."""
    depth, images, views = session.depth, session.images, len(session.images)
    width = TILE * views + PLAN
    columns = [round(share * width * 13) for share in (0.46, 0.24)]  # characters that fit
    rows = [(textwrap.wrap(a.question, columns[0]), textwrap.wrap(a.text, columns[1]) or ["–"], a) for a in answers]
    below = 0.35 + LINE * sum(max(len(question), len(text)) + 0.6 for question, text, _ in rows)
    above = max(4.6, 2 * TILE * images.shape[1] / images.shape[2] + 1.2)
    figure = Figure(figsize=(width, above + below), dpi=110, layout="constrained")
    title = f"{session.scene.name}  ·  {views} photo{'s' * (views != 1)}  ·  {session.pipeline.model_id}"
    figure.suptitle(title, color=INK, fontsize=11)
    halves: Any = figure.subfigures(2, 1, height_ratios=[above, below])
    sides: Any = halves[0].subfigures(1, 2, width_ratios=[TILE * views, PLAN])
    titles = [f"view {index}: {view.name}" for index, view in enumerate(session.scene.views, 1)]
    draw_views(
        sides[0],
        list(images),
        titles,
        list(depth),
        views,
        f"predicted depth, m, {session.scale.kind}",
        location="bottom",
    )
    boxes = [box for box in session.boxes if (box.score or 0.0) >= MIN_BOX_SCORE]
    title = f"predicted boxes and cameras from above\n{session.scale}"
    title += "" if boxes else f"; no box has a score of {MIN_BOX_SCORE} or more"
    fovs, cameras = [float(2 * np.arctan(0.5 / focal)) for focal in session.focal], list(session.level_from_camera)
    points, colours = _low_points(session)
    draw_plan(sides[1].subplots(), boxes, cameras, fovs=fovs, points=points, point_colours=colours, title=title)
    if rows:
        _draw_rows(halves[1].subplots(), rows)
    save_figure(figure, out)


def _draw_rows(axes: Axes, rows: Sequence[tuple[list[str], list[str], Answer]]) -> None:
    """Questions, answers in bold, and a bar of confidence, from the top."""
    style: dict[str, Any] = {"va": "top", "fontsize": 10, "linespacing": 1.25}
    for x, name in ((0, "question"), (0.5, "answer"), (0.78, "confidence")):
        axes.text(x, -0.9, name, va="bottom", fontsize=8, color=SOFT)
    y = 0.0
    for question, text, answer in rows:
        axes.axhline(y - 0.75, color=COLOUR["line"], linewidth=0.8)
        axes.text(0, y - 0.4, "\n".join(question), color=INK, **style)
        axes.text(0.5, y - 0.4, "\n".join(text), color=INK, weight="bold", **style)
        axes.barh(y + 0.15, 0.15, 0.5, left=0.78, color=COLOUR["line"])
        axes.barh(y + 0.15, 0.15 * answer.confidence, 0.5, left=0.78, color=COLOUR["model"])
        axes.text(0.94, y - 0.4, f"{answer.confidence:.0%}", color=INK, **style)
        y += max(len(question), len(text)) + 0.6
    axes.set(xlim=(0, 1), ylim=(y - 0.4, -1.8))
    axes.axis("off")


def _low_points(session: SceneSession) -> tuple[Any, Any]:
    """Predicted points (N, 3) below the cut and their colours (N, 3) in [0, 1], every second pixel."""
    points = session.points[:, ::2, ::2].reshape(-1, 3)
    low = points[:, 2] < CUT
    return points[low], session.images[:, ::2, ::2].reshape(-1, 3)[low] / 255
