"""Load a student with its processor, and encode scenes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from dollhouse.errors import ModelError, SceneError
from dollhouse.inference.generation import Decoder
from dollhouse.inference.known_scale import apply_known_lengths
from dollhouse.inference.neox_decoder import select_decoder
from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.scenes.scale import ESTIMATED, ESTIMATED_WITH_FOCAL, MEASURED_DEPTH, NOTHING_KNOWN, KnownScale
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_preprocessing import rgbd_arrays
from dollhouse.system.malloc import keep_freed_memory


class DollhousePipeline:
    """A student with its processor; :meth:`encode_scene` returns a session that answers questions.

    Args:
        model: the student; it is put into evaluation mode.
        processor: its image processor and tokenizer.
        model_id: a name with a hash of the weights, for reports.
    """

    def __init__(self, model: DollhouseForConditionalGeneration, processor: DollhouseProcessor, model_id: str) -> None:
        self.model = model.eval()
        self.processor = processor
        self.model_id = model_id
        self._decoder: Decoder | None = None

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, device: str | None = None, retain_freed_memory: bool = False
    ) -> DollhousePipeline:
        """Load a student in float32.

        Args:
            model: "nano" or None for the student shipped with the package, else a model folder.
            device: a torch device; by default CUDA where there is one, else the CPU.
            retain_freed_memory: change glibc's malloc settings for the whole process, so that it reuses up to 64 MB
                of freed memory instead of returning it to the system; the first answer about a scene then takes about
                a tenth less time on a CPU. No effect with other C libraries.

        Raises:
            ModelError: if the folder is missing, incomplete or not a Dollhouse model.
        """
        student, processor, model_id = load_student(model)
        if retain_freed_memory:
            keep_freed_memory()
        return cls(student.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor, model_id)

    @property
    def decoder(self) -> Decoder:
        """The fastest decoder of the language model, made anew after a change of its weights."""
        self._decoder = select_decoder(self.model, self._decoder)
        return self._decoder

    @property
    def image_size(self) -> int:
        """Width in pixels to which photos are resized."""
        return int(self.model.config.image_size)

    @property
    def num_views(self) -> int:
        """Number of photos of a scene that are encoded by default."""
        return int(self.model.config.num_views)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the boxes that it predicts."""
        return tuple(self.model.config.labels)

    def encode_scene(
        self,
        scene: Scene | str | Path,
        views: int | None = None,
        skip_bad: bool = False,
        known: KnownScale = NOTHING_KNOWN,
    ) -> SceneSession:
        """Encode the photos of a scene.

        Args:
            scene: a scene, or what :func:`dollhouse.open_scene` opens; what is left out or not used is logged. Its
                depth and poses are used only by models with ``config.use_rgbd``.
            views: at most so many photos, spread over the scene; by default ``config.num_views``.
            skip_bad: leave out photos that cannot be read; always so for a scene that is opened here.
            known: focal length, camera height or length of an object, known to the user. Without it, the model's own
                estimates are used, even where the photos' EXIF data has a focal length.

        Raises:
            SceneError: for a scene without views, with photos of several shapes, or, with ``config.use_rgbd``,
                without depth or poses; and for ``known`` that fixes no scale.
            ModelError: for ``known`` with a blind student.
        """
        if not isinstance(scene, Scene):
            from dollhouse.scenes.open import open_scene

            skip_bad, scene = True, open_scene(scene, skip_bad=True)
            for notice in scene.notices:
                logging.getLogger(__name__).warning("%s: %s", scene.name, notice)
        count = views or self.model.config.num_views
        scene, images = scene.read_sample(count, skip_bad)
        if not images:
            raise SceneError(f"scene {scene.name} has no views to encode")
        try:
            pixels = self.processor.image_processor(images)["pixel_values"]
        except ValueError as error:
            raise SceneError(f"scene {scene.name}: {error}; put photos of one shape together") from error
        pixel_values = torch.from_numpy(np.asarray(pixels)).to(self.model.device)
        config = self.model.config
        if known != NOTHING_KNOWN and (config.blind or config.use_rgbd):
            kind = "is a blind student" if config.blind else "takes its scale from measured depth"
            raise ModelError(f"{self.model_id} {kind}: leave out known focal length, camera height and length")
        with torch.inference_mode():
            if config.blind:
                return SceneSession(self, scene, pixel_values, self.model.get_image_features(pixel_values), None)
            rgbd = self._rgbd_inputs(scene) if config.use_rgbd else None
            focal = None
            if known.focal is not None:
                focal = pixel_values.new_tensor(known.focal_over_width(scene, images))[None]
            perception = self.model.encode_scene(pixel_values, rgbd=rgbd, refine_poses=True, focal=focal)
            prefix = self.model.embed_objects(perception.objects)
        scale = ESTIMATED if focal is None else ESTIMATED_WITH_FOCAL
        if rgbd is not None and scene.metric:
            scale = MEASURED_DEPTH
        return apply_known_lengths(SceneSession(self, scene, pixel_values, prefix, perception, rgbd, scale), known)

    def _rgbd_inputs(self, scene: Scene) -> RGBDInputs:
        arrays = rgbd_arrays(scene, self.image_size)
        return RGBDInputs.from_poses(*(torch.from_numpy(array).float()[None].to(self.model.device) for array in arrays))
