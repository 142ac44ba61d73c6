"""Sessions of the ONNX engine; no torch is imported.

Axes: V views, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.inference.session import ObjectArrays, SceneSession
from dollhouse.runtime.student import OnnxStudent, SceneState
from dollhouse.scenes.scale import Scale
from dollhouse.scenes.scene import Scene

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline


class OnnxSession(SceneSession):
    """A session on exported graphs."""

    def __init__(
        self, pipeline: DollhousePipeline, scene: Scene, student: OnnxStudent, state: SceneState, scale: Scale
    ) -> None:
        super().__init__(pipeline, scene, scale)
        self.student, self.state = student, state

    def _rescale(self, factor: float) -> None:
        cameras, boxes, log = self.state.cameras, dict(self.state.boxes), np.float32(math.log(factor))
        boxes["box_center"] = boxes["box_center"] * np.float32(factor)
        boxes["box_log_size"] = boxes["box_log_size"] + log
        offset = np.zeros_like(cameras.focal) if self.state.depth_offset is None else self.state.depth_offset
        cameras = replace(cameras, position=cameras.position * np.float32(factor))
        self.state = replace(self.state, cameras=cameras, boxes=boxes, depth_offset=offset + log)

    @property
    def images(self) -> NDArray[np.uint8]:
        return np.round(self.state.pixels[0].transpose(0, 2, 3, 1) * 255).astype(np.uint8)

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        return np.exp(self.student.log_depth(self.state))

    @property
    def level_from_camera(self) -> Array:
        return self.state.cameras.level_from_camera

    @property
    def focal(self) -> Array:
        return self.state.cameras.focal.astype(np.float64)

    def _objects(self) -> ObjectArrays:
        boxes = self.state.boxes
        slots = np.flatnonzero(boxes["present"])
        labels, colours = boxes["labels"][slots], boxes["colours"][slots]
        front, axis = (np.arctan2(*boxes[name][slots].T[::-1]) for name in ("box_front", "box_axis"))
        return ObjectArrays(
            slots,
            labels.argmax(-1),
            1.0 / (1.0 + np.exp(-labels.max(-1))),
            colours.argmax(-1) if colours.shape[-1] else slots,
            boxes["box_center"][slots].astype(np.float64),
            np.exp(boxes["box_log_size"][slots].astype(np.float64)).clip(0.01, 20),
            front,
            axis,
        )

    @property
    def words_cache(self) -> Any:
        return self.state.cache

    def _generate_texts(self, ids: Sequence[list[int]], max_new_tokens: int) -> list[tuple[str, float]]:
        generated = self.student.generate(self.state, ids, max_new_tokens)
        return [(self.pipeline.decode(text.token_ids), text.confidence) for text in generated]
