"""The oracle-box control: the language model reads the true boxes instead of the predicted ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from dollhouse.data.collator import collate_batch
from dollhouse.data.oracle_objects import gt_objects
from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession, torch_session
from dollhouse.scenes.scene import Scene


class OracleBoxesModel:
    """An :class:`~dollhouse.evaluation.protocol.EvaluableModel` whose prefix holds the true boxes.

    The remaining errors are those of the language model; depth and boxes stay the student's predictions. Raises
    ModelError where the student is blind.
    """

    def __init__(self, pipeline: DollhousePipeline) -> None:
        if pipeline.model.config.blind:
            raise ModelError(f"{pipeline.model_id} is a blind student: it has no box inputs")
        self.pipeline = pipeline
        self.model_id = f"oracle boxes, {pipeline.model_id}"

    @property
    def image_size(self) -> int:
        return self.pipeline.image_size

    @property
    def num_views(self) -> int:
        return self.pipeline.num_views

    @property
    def labels(self) -> tuple[str, ...]:
        return self.pipeline.labels

    def encode_scene(self, scene: Scene) -> TorchSession:
        """Encode a scene with its true boxes; raises SceneError where boxes, poses, depth or instances are missing."""
        session = torch_session(self.pipeline.encode_scene(scene))
        config = self.pipeline.model.config
        targets = scene_targets(session.scene, config.image_size, config.labels, config.colours)
        if targets.objects is None:
            raise SceneError(f"scene {scene.name} lacks boxes, poses, depth or instance ids: no oracle boxes")
        with torch.inference_mode():
            objects = gt_objects(collate_batch([targets], [[]], config), config)
            prefix = self.pipeline.model.embed_scene(replace(session.require_perception(), objects=objects))
        return session.with_prefix(prefix)
