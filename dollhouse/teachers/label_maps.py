"""Label probabilities and relative depth of photos as geometry, predicted by any function of a photo.

A teacher of your own::

    def predict(image):  # (H, W, 3) RGB, uint8
        return LabelMaps(["chair", "table"], probs)  # (h, w, 3), the last "no object"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.detection import function_provenance, open_function

MAP_TEACHERS = "maps:MODULE:FUNCTION"


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Labels of one photo, on a grid of cells that covers it.

    Raises TeacherError for arrays that do not fit together.
    """

    labels: Sequence[str]  #: L
    #: (h, w, L+1) probabilities, the last of "no object"; they sum to the confidence, 0 where nothing is known
    probs: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None  #: (H', W') z-depth up to scale, 0 unknown, at any size

    def __post_init__(self) -> None:
        probs = np.asarray(self.probs, dtype=np.float32)
        if probs.ndim != 3 or probs.shape[-1] != len(self.labels) + 1:
            raise TeacherError(
                f"label maps of {len(self.labels)} labels have the shape {probs.shape}: they must be "
                f"(h, w, {len(self.labels) + 1}), no object last"
            )
        if not np.isfinite(probs).all() or probs.min(initial=0) < 0 or probs.sum(-1).max(initial=0) > 1.01:
            raise TeacherError("label maps hold values that are no probabilities, or sum to more than 1")
        object.__setattr__(self, "probs", probs)


@dataclass(frozen=True)
class LabelMapTeacher:
    """Geometry teacher that runs a function on every photo of a scene."""

    predict: Callable[[NDArray[np.uint8]], LabelMaps]

    @classmethod
    def from_name(cls, name: str, settings: Mapping[str, str]) -> LabelMapTeacher:
        """Open ``MODULE:FUNCTION``. Raises TeacherError where there is no such function."""
        if (function := open_function(name, settings)) is None:
            raise TeacherError(f"no function {name!r}; write {MAP_TEACHERS}")
        return cls(function)

    def provenance(self) -> dict[str, Any]:
        return {"teacher": "maps", **function_provenance(self.predict)}

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        maps = [self.predict(view.image) for view in scene.views]
        labels = {tuple(each.labels) for each in maps}
        if len(labels) > 1:
            raise TeacherError(f"scene {scene.name}: the label maps of its photos have different labels")
        depth = tuple(np.nan_to_num(each.depth).astype(np.float32) for each in maps if each.depth is not None)
        return SceneGeometry(
            depth=depth if len(depth) == len(maps) else None,
            metric=False,
            label_maps=tuple(each.probs for each in maps),
            labels=labels.pop(),
        )
