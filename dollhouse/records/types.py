"""What a teacher gives about one scene: answers, features and geometry.

Axes: T answer tokens, K kept alternatives a token, M places, D width, L labels, V views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box


@dataclass(frozen=True, eq=False)
class TeacherAnswer:
    """What was said to one question. A teacher that shows no tokens or probabilities leaves them None."""

    text: str
    token_ids: NDArray[np.int32] | None = None  #: (T,) in the teacher's own vocabulary, end token included
    top_ids: NDArray[np.int32] | None = None  #: (T, K) the most likely tokens at each place, best first
    top_log_probs: NDArray[np.float32] | None = None  #: (T, K) natural logarithms of their probabilities


@dataclass(frozen=True, eq=False)
class SpatialFeatures:
    """What a teacher knows about places in the scene."""

    features: NDArray[np.float32]  #: (M, D)
    points: Array  #: (M, 3) where each place is, in the scene's world frame
    label_probs: NDArray[np.float32] | None = None  #: (M, L+1) of what is seen there, the last one "no object"
    labels: tuple[str, ...] = ()  #: (L) whose chances those are, lower case

    def __post_init__(self) -> None:
        chances, places = self.label_probs, len(self.features)
        if chances is not None and chances.shape != (places, len(self.labels) + 1):
            raise TeacherError(
                f"a teacher told label chances of shape {chances.shape} for {places} places and "
                f"{len(self.labels)} labels: they must be {(places, len(self.labels) + 1)}, no object last"
            )


@dataclass(frozen=True, eq=False)
class SceneGeometry:
    """Depth and boxes as a geometry teacher sees them."""

    depth: tuple[NDArray[np.float32], ...] | None = None  #: a map a view (H, W), z-depth, 0 unknown
    metric: bool = True  #: whether that depth is in metres
    boxes: tuple[Box, ...] | None = None  #: in the scene's world frame; without poses: the first view's level frame
    instances: tuple[NDArray[np.int32], ...] | None = None  #: a map a view (H, W) of box ids, 0 no object
