"""Depth and boxes by models of transformers' depth-estimation and object-detection pipelines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from PIL import Image

from dollhouse.errors import ModelError, TeacherError
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.lifting import Detection, lift
from dollhouse.teachers.local_model import (
    LOADING_ERRORS,
    default_device,
    folder_provenance,
    load_pretrained,
    one_line,
)

#: by config.depth_estimation_type or config.model_type
_OUTPUTS = dict.fromkeys(("metric", "glpn", "zoedepth", "depth_pro"), "metric") | {
    "relative": "inverse",
    "dpt": "inverse",
}


@dataclass(frozen=True)
class DepthSettings:
    """``output``: "metric" for metres, "inverse" for inverse depth without a scale; "auto" goes by the model's type."""

    output: Literal["auto", "metric", "inverse"] = "auto"
    licence: str = ""


@dataclass(frozen=True)
class DetectionSettings:
    """``threshold``: the lowest score of a detection that is used."""

    threshold: float = 0.5
    licence: str = ""


class DepthEstimationTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of a depth-estimation model."""

    def __init__(self, folder: str | os.PathLike[str], settings: DepthSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model, TeacherError where its output is not known."""
        self.folder = Path(folder)
        self.settings = settings or DepthSettings()
        self.pipeline = _open_pipeline("depth-estimation", transformers.AutoModelForDepthEstimation, self.folder)
        config = self.pipeline.model.config
        by_type = _OUTPUTS.get(getattr(config, "depth_estimation_type", "")) or _OUTPUTS.get(config.model_type)
        self.output = by_type if self.settings.output == "auto" else self.settings.output
        if self.output is None:
            raise TeacherError(
                f"{self.folder}: whether a {config.model_type} predicts metres is not known; set output=metric or "
                "output=inverse"
            )

    def provenance(self) -> dict[str, Any]:
        settings = {"tells": self.output}  # the key is part of record ids
        return folder_provenance("depth", self.folder, self.settings.licence, settings)

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return one map per view, of the photo's size. Inverse depth is inverted and scaled to a median of 1."""
        photos = [Image.fromarray(view.image) for view in scene.views]
        maps = [np.asarray(self.pipeline(photo)["predicted_depth"], dtype=np.float64) for photo in photos]
        maps = [np.nan_to_num(depth.reshape(depth.shape[-2:]), nan=0.0, posinf=0.0, neginf=0.0) for depth in maps]
        if self.output == "inverse":
            maps = [np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0) for depth in maps]
            positive = np.concatenate([depth[depth > 0] for depth in maps])
            maps = [depth / np.median(positive) for depth in maps] if len(positive) else maps
        depths = tuple(np.maximum(depth, 0).astype(np.float32) for depth in maps)
        return SceneGeometry(depths, metric=self.output == "metric")


class ObjectDetectionTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of a detector, with earlier depth or the sensor's."""

    def __init__(self, folder: str | os.PathLike[str], settings: DetectionSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model."""
        self.folder = Path(folder)
        self.settings = settings or DetectionSettings()
        self.pipeline = _open_pipeline("object-detection", transformers.AutoModelForObjectDetection, self.folder)

    def provenance(self) -> dict[str, Any]:
        settings = {"threshold": self.settings.threshold}
        return folder_provenance("detect", self.folder, self.settings.licence, settings)

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return boxes with scores. Raises TeacherError without metric depth or cameras."""
        detections = []
        for number, view in enumerate(scene.views):
            for entry in self.pipeline(Image.fromarray(view.image), threshold=self.settings.threshold):
                box, label = entry["box"], entry["label"].strip().lower()
                rectangle = box["xmin"], box["ymin"], box["xmax"], box["ymax"]
                detections.append(Detection(label, float(entry["score"]), *rectangle, number))
        return SceneGeometry(boxes=lift(detections, scene, known))


def _open_pipeline(task: str, auto_class: Any, folder: Path) -> Any:
    """Open a pipeline of transformers in float32. Raises ModelError where the folder is no model of the task."""
    # loaded here, since a pipeline accepts a model of another task with no more than a warning in the log
    model = load_pretrained(auto_class, folder, f"{task} model", dtype=torch.float32, use_safetensors=True)
    processor = load_pretrained(transformers.AutoImageProcessor, folder, f"{task} model", backend="pil")
    try:
        return transformers.pipeline(task, model=model.eval(), image_processor=processor, device=default_device())
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder}: is no {task} model: {one_line(error)}") from error
