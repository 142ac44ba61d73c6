"""What a teacher returns for one scene: answers, features and geometry.

Axes: T answer tokens, K alternatives stored per token, M points, D feature width, L labels, V views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box

_TOKEN_DTYPES = {"token_ids": np.int32, "top_ids": np.int32, "top_log_probs": np.float32}


@dataclass(frozen=True, eq=False)
class TeacherAnswer:
    """One answer; tokens and probabilities are None for a teacher that does not return them."""

    text: str
    token_ids: NDArray[np.int32] | None = None  #: (T,) in the teacher's own vocabulary, end token included
    top_ids: NDArray[np.int32] | None = None  #: (T, K) the most likely tokens at each position, best first
    top_log_probs: NDArray[np.float32] | None = None  #: (T, K) their natural log probabilities
    #: (T, K) what each of ``top_ids`` adds to the text, by which other tokenizers learn: None ends the answer, "" is
    #: part of a character or a special token
    top_texts: list[list[str | None]] | None = None
    failure: str | None = None  #: why ``text`` is empty: "refused: ...", "cut off: ..."; None for an answer

    def token_lists(self) -> dict[str, list[Any] | None]:
        """Return ``token_ids``, ``top_ids``, ``top_log_probs`` and ``top_texts`` as lists."""
        arrays = {name: getattr(self, name) for name in _TOKEN_DTYPES}
        lists = {name: None if array is None else array.tolist() for name, array in arrays.items()}
        return lists | {"top_texts": self.top_texts}

    @classmethod
    def from_lists(cls, text: str, lists: Mapping[str, Any]) -> TeacherAnswer:
        """Build an answer from a mapping that :meth:`token_lists` returned; other keys are ignored."""
        arrays: dict[str, Any] = {
            name: np.array(lists[name], dtype) for name, dtype in _TOKEN_DTYPES.items() if lists.get(name) is not None
        }
        return cls(text, **arrays, top_texts=lists.get("top_texts"), failure=lists.get("failure"))


@dataclass(frozen=True, eq=False)
class SpatialFeatures:
    """Features of points in the scene, and the label probabilities there."""

    features: NDArray[np.float32]  #: (M, D)
    points: Array  #: (M, 3) in the scene's world frame
    label_probs: NDArray[np.float32] | None = None  #: (M, L+1), the last column "no object"
    labels: tuple[str, ...] = ()  #: (L) names of the columns, lower case

    def __post_init__(self) -> None:
        expected = (len(self.features), len(self.labels) + 1)
        if self.label_probs is not None and self.label_probs.shape != expected:
            raise TeacherError(
                f"a teacher returned label probabilities of shape {self.label_probs.shape} for {expected[0]} points "
                f"and {len(self.labels)} labels: they must be {expected}, no object last"
            )


@dataclass(frozen=True, eq=False)
class SceneGeometry:
    """Depth, boxes and instance maps, each None where not estimated."""

    depth: tuple[NDArray[np.float32], ...] | None = None  #: one map per view (H, W), z-depth, 0 unknown
    metric: bool = True  #: whether that depth is in metres
    boxes: tuple[Box, ...] | None = None  #: in the scene's world frame; without poses: the first view's level frame
    instances: tuple[NDArray[np.int32], ...] | None = None  #: one map per view (H, W) of box ids, 0 no object
    #: one map per view (h, w, L+1) of probabilities of ``labels``, the last of "no object", on cells that cover the
    #: photo; their sum is the confidence, 0 where nothing is known
    label_maps: tuple[NDArray[np.float32], ...] | None = None
    labels: tuple[str, ...] = ()  #: (L) names of the columns of ``label_maps``, lower case
