"""Protocols of what can be evaluated; :class:`~dollhouse.inference.pipeline.DollhousePipeline` fulfils them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.inference.session import Answer
from dollhouse.scenes.scene import Box, Scene


class SceneSessionLike(Protocol):
    """An encoded scene of V views of H x W pixels."""

    @property
    def scene(self) -> Scene:
        """The scene, with the views that were used."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """The model's input images (V, H, W, 3)."""

    @property
    def depth(self) -> Array:
        """Predicted depth (V, H, W), in metres."""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted boxes with scores, in the level frame of the first view (``geometry.level_from_world``)."""

    @property
    def level_from_camera(self) -> Array:
        """Predicted poses (V, 4, 4) in that frame."""

    def ask(self, questions: Sequence[str]) -> list[str]:
        """Answer each question."""


@runtime_checkable
class ConfidentSession(Protocol):
    """A session whose answers carry probabilities, so that calibration is measured too."""

    def answer(self, questions: Sequence[str]) -> Sequence[Answer]:
        """Answer each question as ``ask`` does, with its probability."""


@runtime_checkable
class LabelledModel(Protocol):
    """A model with a fixed list of labels; objects that it has no label for are not counted against it."""

    @property
    def labels(self) -> Sequence[str]:
        """Labels of the boxes that it predicts."""


class EvaluableModel(Protocol):
    """A model that encodes scenes and answers questions about them."""

    @property
    def model_id(self) -> str:
        """Name or folder, and hash."""

    @property
    def image_size(self) -> int:
        """Width of the input images in pixels."""

    def encode_scene(self, scene: Scene) -> SceneSessionLike:
        """Encode a scene once for many questions."""
