"""The scenes shown in a report: those with the highest and the lowest accuracy, selected while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box


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
