"""Depth by models of transformers' depth-estimation pipeline."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from PIL import Image

from dollhouse.errors import ModelError, TeacherError
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.system.hashing import folder_hash
from dollhouse.teachers.local_model import LOADING_ERRORS, default_device, load_pretrained, model_provenance, one_line

DepthOutput = Literal["auto", "metric", "inverse"]
_METRIC = {"glpn", "zoedepth", "depth_pro"}  # config.model_type
_INVERSE = {"dpt"}


@dataclass(frozen=True)
class DepthSettings:
    """``output``: "metric" for metres, "inverse" for inverse depth without a scale; "auto" goes by the model's type."""

    output: DepthOutput = "auto"
    licence: str = ""


class DepthEstimationTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of a depth-estimation model."""

    def __init__(self, folder: str | os.PathLike[str], settings: DepthSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model, TeacherError where its output is not known."""
        self.folder = Path(folder)
        self.settings = settings or DepthSettings()
        self.pipeline = open_pipeline("depth-estimation", transformers.AutoModelForDepthEstimation, self.folder)
        self.output = self.settings.output if self.settings.output != "auto" else self._output_by_type()

    @cached_property
    def _weights(self) -> str:
        return folder_hash(self.folder)

    def provenance(self) -> dict[str, Any]:
        settings = {"tells": self.output}  # the key is part of record ids
        return model_provenance("depth", self.folder.resolve().name, self._weights, self.settings.licence, settings)

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return one map per view, of the photo's size. Inverse depth is inverted and scaled to a median of 1."""
        photos = [Image.fromarray(view.image) for view in scene.views]
        maps = [np.asarray(self.pipeline(photo)["predicted_depth"], dtype=np.float64) for photo in photos]
        maps = [np.nan_to_num(depth.reshape(depth.shape[-2:]), nan=0.0, posinf=0.0, neginf=0.0) for depth in maps]
        if self.output == "inverse":
            maps = [np.where(depth > 0, 1 / np.where(depth > 0, depth, 1.0), 0.0) for depth in maps]
            positive = np.concatenate([depth[depth > 0] for depth in maps])
            maps = [depth / np.median(positive) for depth in maps] if len(positive) else maps
        depths = tuple(np.maximum(depth, 0).astype(np.float32) for depth in maps)
        return SceneGeometry(depths, metric=self.output == "metric")

    def _output_by_type(self) -> DepthOutput:
        config = self.pipeline.model.config
        kind = getattr(config, "depth_estimation_type", None)
        if kind == "metric" or config.model_type in _METRIC:
            return "metric"
        if kind == "relative" or config.model_type in _INVERSE:
            return "inverse"
        raise TeacherError(
            f"{self.folder}: whether a {config.model_type} predicts metres is not known; set output=metric or "
            "output=inverse"
        )


def open_pipeline(task: str, auto_class: Any, folder: Path) -> Any:
    """Open a pipeline of transformers in float32. Raises ModelError where the folder is no model of the task."""
    # loaded here, since a pipeline accepts a model of another task with no more than a warning in the log
    model = load_pretrained(auto_class, folder, f"{task} model", dtype=torch.float32, use_safetensors=True)
    processor = load_pretrained(transformers.AutoImageProcessor, folder, f"{task} model", backend="pil")
    try:
        return transformers.pipeline(task, model=model.eval(), image_processor=processor, device=default_device())
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder}: is no {task} model: {one_line(error)}") from error
