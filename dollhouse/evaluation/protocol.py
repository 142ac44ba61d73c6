"""What an evaluation asks of a model: that it sees scenes and answers questions. Any object that does will do.

Knows nothing of how models are built; the student fulfils these protocols without importing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box, Scene


class Seen(Protocol):
    """A scene after a model has seen it: V views of H x W pixels."""

    @property
    def scene(self) -> Scene:
        """The scene, with the views that were used."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """(V, H, W, 3) as the model saw them."""

    @property
    def depth(self) -> Array:
        """(V, H, W) predicted, in metres."""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted, with scores, in the level frame of the first view (``geometry.level_from_world``)."""

    @property
    def level_from_camera(self) -> Array:
        """(V, 4, 4) predicted poses in that frame."""

    def ask(self, questions: Sequence[str]) -> list[str]:
        """One answer a question."""


class Told(Protocol):
    """An answer of a model that says how sure it is."""

    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float:
        """The probability that it gives its answer."""


@runtime_checkable
class Confident(Protocol):
    """A :class:`Seen` may also be this; then its answers are checked for calibration."""

    def answer(self, questions: Sequence[str]) -> Sequence[Told]:
        """One answer a question, the same as ``ask`` gives."""


class Model(Protocol):
    """Something that can be evaluated."""

    @property
    def model_id(self) -> str:
        """Name or folder, and hash."""

    @property
    def image_size(self) -> int:
        """Width in pixels at which it sees views."""

    def encode_scene(self, scene: Scene) -> Seen:
        """Look at a scene once, to ask it many times."""
