"""Pictures of a report as data URIs: views with depth, the plan with true and predicted boxes, and video frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.scenes.scene import Box
from dollhouse.scenes.visualize import draw_depth, draw_image, draw_plan

MAX_VIEWS = 6  #: shown of a scene, so that a page stays small
STRIP = 150  #: height of a strip of frames, pixels
MIN_SCORE = 0.3  #: predicted boxes with a lower score are not drawn
NEAR = 0.6  #: distance of centres from above at which a prediction plainly matches a true box of its label, metres
PREDICTED = "#d6249f"  #: outline of predicted boxes; no furniture has this colour
_FAINT = "#c9ccd3"


def views_picture(scene: GalleryScene) -> str:
    """Draw views, predicted depth and true depth in rows, with one colour scale for all depth of the scene."""
    views, truth = _spread(len(scene.images)), scene.true_depth
    rows = ["photo", "predicted"] if truth is None else ["photo", "predicted", "true"]
    ends = scene.depth[views] if truth is None else truth[views][truth[views] > 0]
    near, far = (float(end) for end in np.percentile(ends, [1, 99])) if ends.size else (0.0, 1.0)
    tall = scene.images.shape[1] / scene.images.shape[2]
    tight = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0.015, hspace=0.015)
    figure = Figure(figsize=(1.55 * len(views) + 0.9, 1.55 * tall * len(rows) + 0.25), layout=tight)
    grid = figure.subplots(len(rows), len(views), squeeze=False)
    for column, view in enumerate(views):
        draw_image(grid[0, column], scene.images[view], f"view {view + 1}")
        drawn = draw_depth(grid[1, column], scene.depth[view], near=near, far=far)
        if truth is not None:
            draw_depth(grid[2, column], truth[view], near=near, far=far)
    for row, name in enumerate(rows[1:], start=1):
        grid[row, 0].set_ylabel(name, fontsize=8)
    bar = figure.colorbar(drawn, ax=list(grid[1:].flat), aspect=30, pad=0.01, shrink=0.9)
    bar.set_label("depth (m)" if scene.depth_alignment == "none" else "depth, scaled by the median", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return _png_uri(figure)


def plan_picture(scene: GalleryScene) -> str:
    """Draw the plan: true boxes filled, ignored ones pale, predicted ones as dashed outlines."""
    figure = Figure(figsize=(5.0, 4.8), layout="constrained")
    axes = figure.subplots()
    truth = (*(replace(box, colour=_FAINT) for box in scene.ignored), *(scene.true_boxes or ()))
    draw_plan(axes, truth, scene.cameras, scene.floor, fovs=scene.fovs)
    predicted = [_without_repeated_label(box, truth) for box in scene.boxes if (box.score or 0.0) >= MIN_SCORE]
    draw_plan(axes, predicted, (), outline=PREDICTED)
    return _png_uri(figure)


def frame_strip(images: Sequence[NDArray[np.uint8]]) -> str:
    """Put at most MAX_VIEWS frames (H, W, 3) side by side, as a JPEG data URI."""
    frames = [Image.fromarray(images[place]) for place in _spread(len(images))]
    small = [np.asarray(frame.resize((round(STRIP * frame.width / frame.height), STRIP))) for frame in frames]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(small, axis=1)).save(file, format="jpeg", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _spread(count: int) -> list[int]:
    """Indices of at most MAX_VIEWS of ``count`` views, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, MAX_VIEWS)).round()})


def _without_repeated_label(predicted: Box, truth: Sequence[Box]) -> Box:
    """Drop the label where a true box nearby has the same, so that labels do not overlap."""
    alike = (box for box in truth if box.label == predicted.label)
    near = any(np.linalg.norm(box.center[:2] - predicted.center[:2]) < NEAR for box in alike)
    return replace(predicted, label="") if near else predicted


def _png_uri(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
