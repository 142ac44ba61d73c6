"""The few scenes that a report shows: the best and the worst answered, kept while the others go by.

Knows nothing of how they are drawn. Holds at most twice ``size`` scenes in memory, whatever number it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box


@dataclass(frozen=True, eq=False)
class GalleryScene:
    """What a report shows of one scene; boxes, cameras and floor are in the level frame of the first view."""

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
    """Keeps the exhibits of the best and the worst scenes of a run."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self._judged: list[GalleryScene] = []
        self._unjudged: list[GalleryScene] = []

    def add(self, exhibit: GalleryScene) -> None:
        """Keep the exhibit if it is among the best or the worst so far; earlier ones win ties."""
        if exhibit.accuracy is None:
            self._unjudged = [*self._unjudged, exhibit][: self.size]
            return
        ranked = sorted([*self._judged, exhibit], key=lambda kept: -(kept.accuracy or 0.0))
        if len(ranked) > self.size:
            del ranked[(self.size + 1) // 2]
        self._judged = ranked

    def scenes(self) -> list[GalleryScene]:
        """At most ``size`` exhibits, the best answered first; scenes without questions fill free places."""
        return [*self._judged, *self._unjudged][: self.size]
