"""The scenes shown in a report, selected while the run goes on, and pictures of them as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box, spaced_indices
from dollhouse.scenes.visualize import draw_depth, draw_image, draw_plan, plain_text

MAX_VIEWS = 6  #: shown of a scene, so that a page stays small
STRIP = 150  #: height of a strip of frames, pixels
MIN_SCORE = 0.3  #: predicted boxes with a lower score are not drawn
NEAR = 0.6  #: distance of centres from above at which a prediction plainly matches a true box of its label, metres
PREDICTED = "#d6249f"  #: outline of predicted boxes; no furniture has this colour
_FAINT = "#c9ccd3"


@dataclass(frozen=True, eq=False)
class GalleryScene:
    """One scene of a report; boxes, cameras and floor are in the level frame of the first view."""

    scene: str
    accuracy: float | None  #: over the scene's judged questions; None if there were none
    images: NDArray[np.uint8]  #: (V, H, W, 3)
    depth: Array  #: (V, H, W) predicted, aligned as ``depth_alignment`` says
    true_depth: Array | None  #: (V, H, W), 0 where unknown
    depth_alignment: str
    depth_abs_rel: float | None
    boxes: tuple[Box, ...]  #: predicted
    true_boxes: tuple[Box, ...] | None  #: those visible in the views
    ignored: tuple[Box, ...]  #: true boxes that neither count nor hurt
    cameras: tuple[Array, ...]  #: (4, 4) level_from_camera, true ones where known
    fovs: tuple[float, ...] | None  #: horizontal fields of view in radians
    floor: Array | None  #: (N, 2) outline of the floor
    answers: tuple[Mapping[str, object], ...]  #: rows of predictions.jsonl


class Gallery:
    """Stores the scenes with the highest and the lowest accuracy, at most twice ``size``."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self._judged: list[GalleryScene] = []
        self._unjudged: list[GalleryScene] = []

    def add(self, scene: GalleryScene) -> None:
        """Store the scene if it is among the best or the worst so far; earlier ones win ties."""
        if scene.accuracy is None:
            self._unjudged = [*self._unjudged, scene][: self.size]
            return
        self._judged = sorted([*self._judged, scene], key=lambda stored: -(stored.accuracy or 0.0))
        if len(self._judged) > self.size:
            del self._judged[(self.size + 1) // 2]

    def scenes(self) -> list[GalleryScene]:
        """Return at most ``size`` scenes, the best first; scenes without questions fill free places."""
        return [*self._judged, *self._unjudged][: self.size]


def views_picture(scene: GalleryScene) -> str:
    """Draw views, predicted depth and true depth in rows, with one colour scale for all depth of the scene."""
    views, truth = spaced_indices(len(scene.images), MAX_VIEWS), scene.true_depth
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
    return _data_uri(figure)


def plan_picture(scene: GalleryScene) -> str:
    """Draw the plan: true boxes filled, ignored ones pale, predicted ones as dashed outlines."""
    figure = Figure(figsize=(5.0, 4.8), layout="constrained")
    axes = figure.subplots()
    truth = (*(replace(box, colour=_FAINT) for box in scene.ignored), *(scene.true_boxes or ()))
    draw_plan(axes, truth, scene.cameras, scene.floor, fovs=scene.fovs)
    predicted = []
    for box in scene.boxes:
        near = (other.label for other in truth if np.linalg.norm(other.center[:2] - box.center[:2]) < NEAR)
        if (box.score or 0.0) >= MIN_SCORE:  # the same label twice would overlap
            predicted.append(replace(box, label="") if box.label in near else box)
    draw_plan(axes, predicted, (), outline=PREDICTED)
    return _data_uri(figure)


def frame_strip(images: Sequence[NDArray[np.uint8]]) -> str:
    """Put at most MAX_VIEWS frames (H, W, 3) side by side, as a JPEG data URI."""
    frames = [Image.fromarray(images[place]) for place in spaced_indices(len(images), MAX_VIEWS)]
    small = [np.asarray(frame.resize((round(STRIP * frame.width / frame.height), STRIP))) for frame in frames]
    return _data_uri(Image.fromarray(np.concatenate(small, axis=1)))


def _data_uri(picture: Figure | Image.Image) -> str:
    """Encode a figure as PNG, a photo as JPEG."""
    file, kind = io.BytesIO(), "png" if isinstance(picture, Figure) else "jpeg"
    if isinstance(picture, Figure):
        plain_text(picture)
        picture.savefig(file, format=kind, dpi=110, facecolor="white")
    else:
        picture.save(file, format=kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
