"""The pictures of a report, as PNG data URIs: views with predicted and true depth, and the plan with both boxes.

Knows nothing of pages or scores. Drawn without pyplot, so nothing global is touched.
"""

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
STRIP = 150  #: pixels, height of a strip of frames
MIN_SCORE = 0.3  #: predicted boxes less sure than this are not drawn
NEAR = 0.6  #: metres between centres, seen from above, at which a prediction plainly means a true box of its class
PREDICTED = "#d6249f"  #: outline of predicted boxes; no furniture has this colour
_FAINT = "#c9ccd3"


def shown_views(exhibit: GalleryScene) -> list[int]:
    """Indices of the views that are drawn: all, or :data:`MAX_VIEWS` spread evenly."""
    count = len(exhibit.images)
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, MAX_VIEWS)).round()})


def views_picture(exhibit: GalleryScene) -> str:
    """Views above predicted depth above true depth, with one colour scale for all depth of the scene."""
    views = shown_views(exhibit)
    truth = exhibit.true_depth
    rows = ["photo", "predicted"] if truth is None else ["photo", "predicted", "true"]
    ends = exhibit.depth[views] if truth is None else truth[views][truth[views] > 0]
    near, far = (float(end) for end in np.percentile(ends, [1, 99])) if ends.size else (0.0, 1.0)
    tall = exhibit.images.shape[1] / exhibit.images.shape[2]
    tight = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0.015, hspace=0.015)
    figure = Figure(figsize=(1.55 * len(views) + 0.9, 1.55 * tall * len(rows) + 0.25), layout=tight)
    grid = figure.subplots(len(rows), len(views), squeeze=False)
    drawn = None
    for column, view in enumerate(views):
        draw_image(grid[0, column], exhibit.images[view], f"view {view + 1}")
        drawn = draw_depth(grid[1, column], exhibit.depth[view], near=near, far=far)
        if truth is not None:
            draw_depth(grid[2, column], truth[view], near=near, far=far)
    for row, name in enumerate(rows[1:], start=1):
        grid[row, 0].set_ylabel(name, fontsize=8)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(grid[1:].flat), aspect=30, pad=0.01, shrink=0.9)
        bar.set_label("depth (m)" if exhibit.depth_alignment == "none" else "depth, scaled by the median", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return _data_uri(figure)


def plan_picture(exhibit: GalleryScene) -> str:
    """The plan from above: true boxes filled, those hardly seen pale, predicted ones as dashed outlines."""
    figure = Figure(figsize=(5.0, 4.8), layout="constrained")
    axes = figure.subplots()
    pale = tuple(replace(box, colour=_FAINT) for box in exhibit.ignored)
    truth = (*pale, *(exhibit.true_boxes or ()))
    draw_plan(axes, truth, exhibit.cameras, exhibit.floor, fovs=exhibit.fovs)
    sure = [box for box in exhibit.boxes if (box.score or 0.0) >= MIN_SCORE]
    draw_plan(axes, [_named_if_wrong(box, truth) for box in sure], (), outline=PREDICTED)
    return _data_uri(figure)


def frame_strip(images: Sequence[NDArray[np.uint8]]) -> str:
    """Frames (H, W, 3) side by side, at most :data:`MAX_VIEWS`, as a JPEG data URI."""
    chosen = [images[place] for place in sorted({*np.linspace(0, len(images) - 1, MAX_VIEWS).round().astype(int)})]
    small = [Image.fromarray(one).resize((round(STRIP * one.shape[1] / one.shape[0]), STRIP)) for one in chosen]
    strip = Image.new("RGB", (sum(one.width for one in small), STRIP))
    for place, one in enumerate(small):
        strip.paste(one, (sum(before.width for before in small[:place]), 0))
    kept = io.BytesIO()
    strip.save(kept, format="jpeg", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode("ascii")


def _named_if_wrong(predicted: Box, truth: Sequence[Box]) -> Box:
    """The box without its label where the true one beside it says the same, so that labels do not lie over labels."""
    near = (
        np.linalg.norm(box.center[:2] - predicted.center[:2]) < NEAR for box in truth if box.label == predicted.label
    )
    return replace(predicted, label="") if any(near) else predicted


def _data_uri(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
