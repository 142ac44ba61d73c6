"""The control that tells eyes from mind: a student whose language model reads the true boxes instead of its own.

What it still gets wrong, better eyes would not mend. Depth and boxes stay what the student sees. Knows nothing of
scoring.
"""

from __future__ import annotations

import torch

from dollhouse.data.collator import collate_batch
from dollhouse.data.oracle_objects import gt_objects
from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import SceneSession
from dollhouse.scenes.scene import Scene


class OracleBoxesModel:
    """A :class:`~dollhouse.evaluation.protocol.Model` made of a student. Raises ModelError for a blind one."""

    def __init__(self, pipeline: DollhousePipeline) -> None:
        if pipeline.model.config.blind:
            raise ModelError(f"{pipeline.model_id} is a blind student: it reads no boxes")
        self.pipeline = pipeline
        self.model_id = f"true boxes read by {pipeline.model_id}"

    @property
    def image_size(self) -> int:
        return self.pipeline.image_size

    def encode_scene(self, scene: Scene) -> SceneSession:
        """See a scene and be told its boxes. Raises SceneError where boxes, poses, depth or instances are missing."""
        seen = self.pipeline.encode_scene(scene)
        config = self.pipeline.model.config
        targets = scene_targets(seen.scene, config.image_size, config.labels, config.colours)
        if targets.objects is None:
            raise SceneError(f"scene {scene.name} lacks boxes, poses, depth or instance ids: its boxes cannot be told")
        with torch.inference_mode():
            objects = gt_objects(collate_batch([targets], [[]], config), config)
            prefix = self.pipeline.model.embed_objects(objects)
        return SceneSession(self.pipeline, seen.scene, seen.images, prefix, seen.perception)
