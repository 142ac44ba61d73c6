"""One picture of what a student made of photos: the views, the depth it predicts, the plan, and its answers.

Knows the model only by what :class:`dollhouse.inference.session.SceneSession` offers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dollhouse.geometry import back_project, intrinsics_from_fov, transform_points
from dollhouse.inference.session import MIN_BOX_SCORE, Answer, SceneSession
from dollhouse.scenes.visualize import INK, draw_depth, draw_image, draw_plan, save_figure


def draw_answers(memory: SceneSession, answers: Sequence[Answer], out: Path) -> None:
    """Write the picture to ``out``. Raises StorageError where it cannot be written, ModelError for a blind student."""
    depth, images = memory.depth, memory.images
    views = len(images)
    boxes = [box for box in memory.boxes if (box.score or 0.0) >= MIN_BOX_SCORE]
    lines = [f"{answer.question}\n   {answer.text}  ({answer.confidence:.0%} sure)" for answer in answers]
    tall = max(4.6, 2 * 2.2 * images.shape[1] / images.shape[2] + 1.2)  # inches: photos, depth under them, colour bar
    figure = Figure(figsize=(2.2 * views + 5.2, tall + 0.38 * len(lines)), dpi=110, layout="constrained")
    figure.suptitle(
        f"{memory.scene.name}, as {memory.pipeline.model_id} sees it from {views} photos", color=INK, fontsize=11
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=[tall, 0.15 + 0.38 * len(lines)])
    above, below = halves
    sides: Any = above.subfigures(1, 2, width_ratios=[2.2 * views, 5.2])
    left, right = sides
    grid: Any = left.subplots(2, views, squeeze=False)
    near, far = (float(value) for value in np.percentile(depth, [2, 98]))
    for index in range(views):
        draw_image(grid[0, index], images[index], f"view {index + 1}: {memory.scene.views[index].name}")
        drawn = draw_depth(grid[1, index], depth[index], near=near, far=far)
        grid[0, index].set_anchor("S")
        grid[1, index].set_anchor("N")
    bar = left.colorbar(drawn, ax=grid, shrink=0.5, aspect=30, pad=0.01, location="bottom")
    bar.set_label("predicted depth in metres", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    cameras, fovs, points, colours = _seen(memory)
    title = "predicted plan (first camera at 0, 0)" if boxes else "predicted plan: no object found with certainty"
    draw_plan(right.subplots(), boxes, cameras, fovs=fovs, points=points, point_colours=colours, title=title)
    for row, line in enumerate(lines):
        text = textwrap.fill(line, 130, subsequent_indent="   ", replace_whitespace=False)
        below.text(0.01, 1 - (row + 0.1) / max(len(lines), 1), text, va="top", fontsize=9, color=INK)
    save_figure(figure, out)


def _seen(memory: SceneSession) -> tuple[list[Any], list[float], Any, Any]:
    """Predicted cameras, their fields of view, and the predicted points below eye height with their colours."""
    cameras = list(memory.level_from_camera)
    fovs, points, colours = [], [], []
    for camera, depth, image, focal in zip(cameras, memory.depth, memory.images, memory.focal, strict=True):
        fovs.append(float(2 * np.arctan(0.5 / focal)))
        height, width = depth.shape
        cloud = back_project(depth, intrinsics_from_fov(fovs[-1], width, height))[::2, ::2].reshape(-1, 3)
        cloud = transform_points(camera, cloud)
        low = cloud[:, 2] < 0.1
        points.append(cloud[low])
        colours.append(image[::2, ::2].reshape(-1, 3)[low] / 255)
    return cameras, fovs, np.concatenate(points), np.concatenate(colours)
