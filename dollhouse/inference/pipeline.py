"""Load a student with its processor and encode scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dollhouse.errors import SceneError
from dollhouse.inference.generation import Decoder
from dollhouse.inference.neox_decoder import select_decoder
from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.checkpoint import load_student
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_preprocessing import rgbd_arrays
from dollhouse.system.malloc import keep_freed_memory


class DollhousePipeline:
    """A student ready to be asked. ``DollhousePipeline.from_pretrained()`` is the one that comes with the package."""

    def __init__(self, model: DollhouseForConditionalGeneration, processor: DollhouseProcessor, model_id: str) -> None:
        self.model = model.eval()
        self.processor = processor
        self.model_id = model_id
        self._decoder: Decoder | None = None

    @property
    def decoder(self) -> Decoder:
        """What speaks for the language model as it is now."""
        self._decoder = select_decoder(self.model, self._decoder)
        return self._decoder

    @classmethod
    def from_pretrained(cls, model: str | Path | None = None, device: str | None = None) -> DollhousePipeline:
        """Load a student in float32.

        Args:
            model: "nano" or None for the student shipped with the package, else a model folder.
            device: a torch device; by default CUDA where there is one, else the CPU.

        Raises:
            ModelError: where the folder is missing, incomplete or not a Dollhouse model.
        """
        student, processor, model_id = load_student(model)
        keep_freed_memory()
        return cls(student.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor, model_id)

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    def encode_scene(self, scene: Scene | str | Path, views: int | None = None) -> SceneSession:
        """Look at a scene (or at what :func:`dollhouse.open_scene` opens), ``views`` photos of it at most.

        Only the photos are looked at; depth and poses, where the scene has them, are not - but by a teacher with
        ``config.use_rgbd``, which raises SceneError where the scene lacks them.
        """
        if not isinstance(scene, Scene):
            from dollhouse.scenes.open import open_scene

            scene = open_scene(scene)
        scene = scene.sample_views(views or self.model.config.num_views)
        if not scene.views:
            raise SceneError(f"scene {scene.name} has no views to look at")
        photos = [view.image for view in scene.views]
        try:
            pixels = self.processor.image_processor(photos)["pixel_values"]
        except ValueError as error:
            raise SceneError(f"scene {scene.name}: {error}; put photos of one shape together") from error
        pixel_values = torch.from_numpy(np.asarray(pixels)).to(self.model.device)
        images = (pixel_values[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        with torch.inference_mode():
            if self.model.config.blind:
                return SceneSession(self, scene, images, self.model.get_image_features(pixel_values), None)
            rgbd = self._rgbd_inputs(scene) if self.model.config.use_rgbd else None
            perception = self.model.encode_scene(pixel_values, rgbd=rgbd)
            return SceneSession(self, scene, images, self.model.embed_objects(perception.objects), perception)

    def _rgbd_inputs(self, scene: Scene) -> RGBDInputs:
        """The scene's own depth and poses on the pixels that the model looks at."""
        told = rgbd_arrays(scene, self.image_size)
        return RGBDInputs.of(*(torch.from_numpy(array).float()[None].to(self.model.device) for array in told))
