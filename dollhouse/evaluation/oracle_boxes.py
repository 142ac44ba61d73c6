"""The control that tells eyes from mind: a student whose language model reads the true boxes instead of its own.

What it still gets wrong, better eyes would not mend. Depth and boxes stay what the student sees. Knows nothing of
scoring.
"""

from __future__ import annotations

import torch

from dollhouse.data.collator import collate
from dollhouse.data.oracle_objects import gt_objects
from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.inference.session import DollhousePipeline, SceneSession
from dollhouse.scenes.scene import Scene


class OracleBoxesModel:
    """A :class:`~dollhouse.evaluation.protocol.Model` made of a student. Raises ModelError for a blind one."""

    def __init__(self, house: DollhousePipeline) -> None:
        if house.model.config.blind:
            raise ModelError(f"{house.model_id} is a blind student: it reads no boxes")
        self.house = house
        self.model_id = f"true boxes read by {house.model_id}"

    @property
    def image_size(self) -> int:
        return self.house.image_size

    def see(self, scene: Scene) -> SceneSession:
        """See a scene and be told its boxes. Raises SceneError where boxes, poses, depth or instances are missing."""
        seen = self.house.see(scene)
        config = self.house.model.config
        targets = scene_targets(seen.scene, config.image_size, config.labels, config.colours)
        if targets.objects is None:
            raise SceneError(f"scene {scene.name} lacks boxes, poses, depth or instance ids: its boxes cannot be told")
        with torch.inference_mode():
            objects = gt_objects(collate([targets], [[]], config), config)
            prefix = self.house.model.read_objects(objects)
        return SceneSession(self.house, seen.scene, seen.images, prefix, seen.sight)
