"""The scenes shown in a report, selected while the run goes on, and pictures of them as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.geometry import Array
from dollhouse.scenes.drawing import stack
from dollhouse.scenes.plan import draw_plan
from dollhouse.scenes.scene import Box, spaced_indices
from dollhouse.scenes.visualize import draw_views

MAX_VIEWS = 6  #: shown of a scene, so that a page stays small
STRIP = 150  #: height of a strip of frames, pixels
MIN_SCORE = 0.3  #: predicted boxes with a lower score are not drawn
NEAR = 0.6  #: distance of centres from above at which a prediction plainly matches a true box of its label, metres
TILE = 170  #: width of a view, pixels
_FAINT = "lightgrey"


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
    views = spaced_indices(len(scene.images), MAX_VIEWS)
    scale = "metres" if scene.depth_alignment == "none" else "scaled by the median"
    maps = {f"predicted depth, {scale}": scene.depth, "true depth, metres": scene.true_depth}
    depths = {name: [depth[view] for view in views] for name, depth in maps.items() if depth is not None}
    names = [f"view {view + 1}" for view in views]
    picture = draw_views([scene.images[view] for view in views], names, depths, columns=len(views), tile=TILE)
    return _data_uri(picture, "png")


def plan_picture(scene: GalleryScene) -> str:
    """Draw the plan: true boxes filled, ignored ones pale, predicted ones as dashed outlines."""
    truth = (*(replace(box, colour=_FAINT) for box in scene.ignored), *(scene.true_boxes or ()))
    predicted = []
    for box in scene.boxes:
        near = (other.label for other in truth if np.linalg.norm(other.center[:2] - box.center[:2]) < NEAR)
        if (box.score or 0.0) >= MIN_SCORE:  # the same label twice would crowd the plan
            predicted.append(replace(box, label="") if box.label in near else box)
    return _data_uri(draw_plan(truth, scene.cameras, scene.floor, predicted=predicted, fovs=scene.fovs), "png")


def frame_strip(images: Sequence[NDArray[np.uint8]]) -> str:
    """Put at most MAX_VIEWS frames (H, W, 3) side by side, as a JPEG data URI."""
    frames = [Image.fromarray(images[place]) for place in spaced_indices(len(images), MAX_VIEWS)]
    small = [frame.resize((round(STRIP * frame.width / frame.height), STRIP)) for frame in frames]
    return _data_uri(stack(small, 0, down=False), "jpeg")


def _data_uri(picture: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    picture.save(file, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
