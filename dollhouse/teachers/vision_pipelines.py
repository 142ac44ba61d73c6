"""Depth and detections by models of transformers' depth, detection and segmentation pipelines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import ModelError, TeacherError
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.labels import default_labels
from dollhouse.scenes.scene import Scene
from dollhouse.system.text import one_line
from dollhouse.teachers.detection import Detections
from dollhouse.teachers.lifting import lift
from dollhouse.teachers.local_model import default_device, folder_provenance, load_part

#: by config.depth_estimation_type or config.model_type
_OUTPUTS = dict.fromkeys(("metric", "glpn", "zoedepth", "depth_pro"), "metric") | {
    "relative": "inverse",
    "dpt": "inverse",
}

_SEGMENTERS = {  # by the end of the architecture's name
    "ForSemanticSegmentation": transformers.AutoModelForSemanticSegmentation,
    "ForUniversalSegmentation": transformers.AutoModelForUniversalSegmentation,
    "ForInstanceSegmentation": transformers.AutoModelForInstanceSegmentation,
}


@dataclass(frozen=True)
class DepthSettings:
    """``output``: "metric" for metres, "inverse" for inverse depth without a scale; "auto" goes by the model's type."""

    output: Literal["auto", "metric", "inverse"] = "auto"
    licence: str = ""


@dataclass(frozen=True)
class DetectionSettings:
    """``threshold``: the lowest score of a detection that is used; ``labels``: what zero-shot models look for."""

    threshold: float = 0.5
    labels: str = ""  #: separated by commas; by default those of the student
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

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return depth in metres of a photo (H, W, 3). Raises TeacherError for a model of inverse depth."""
        if self.output != "metric":
            raise TeacherError(f"{self.folder}: predicts no metres, which boxes need; name a metric depth model")
        depth = np.asarray(self.pipeline(Image.fromarray(image))["predicted_depth"], dtype=np.float64)
        return depth.reshape(depth.shape[-2:])

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


class PipelineDetector:
    """A :class:`dollhouse.teachers.detection.Detector` of a detection or segmentation model."""

    def __init__(self, kind: str, folder: str | os.PathLike[str], settings: DetectionSettings | None = None) -> None:
        """``kind``: "detect", "zero-shot" or "segment". Raises ModelError where the folder is no such model."""
        self.kind, self.folder = kind, Path(folder)
        self.settings = settings or DetectionSettings()
        if kind == "segment":
            architecture = next(iter(_architectures(self.folder)), "")
            self.semantic = architecture.endswith("ForSemanticSegmentation")
            auto = next((auto for suffix, auto in _SEGMENTERS.items() if architecture.endswith(suffix)), None)
            self.pipeline = _open_pipeline(
                "image-segmentation", auto or transformers.AutoModelForImageSegmentation, self.folder
            )
        elif kind == "zero-shot":
            auto, task = transformers.AutoModelForZeroShotObjectDetection, "zero-shot-object-detection"
            tokenizer = load_part(transformers.AutoTokenizer, self.folder, f"{task} model")
            self.pipeline = _open_pipeline(task, auto, self.folder, tokenizer=tokenizer)
        else:
            self.pipeline = _open_pipeline("object-detection", transformers.AutoModelForObjectDetection, self.folder)

    def provenance(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"threshold": self.settings.threshold}
        if self.kind == "zero-shot":
            settings["labels"] = self._labels()
        return folder_provenance(self.kind, self.folder, self.settings.licence, settings)

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return the objects of a photo (H, W, 3)."""
        photo = Image.fromarray(image)
        if self.kind == "segment":
            entries = self.pipeline(photo, threshold=self.settings.threshold)
            masks = np.array([np.asarray(entry["mask"]) > 127 for entry in entries]).reshape(-1, *image.shape[:2])
            scores = [1.0 if entry["score"] is None else float(entry["score"]) for entry in entries]
            return Detections([entry["label"] for entry in entries], scores, None, masks, self.semantic)
        labels = {"candidate_labels": self._labels()} if self.kind == "zero-shot" else {}
        entries = self.pipeline(photo, threshold=self.settings.threshold, **labels)
        boxes = [[entry["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for entry in entries]
        names, scores = [entry["label"] for entry in entries], [float(entry["score"]) for entry in entries]
        return Detections(names, scores, np.array(boxes, dtype=np.float64).reshape(-1, 4))

    def _labels(self) -> list[str]:
        given = [label.strip() for label in self.settings.labels.split(",") if label.strip()]
        return given or list(default_labels())


class ObjectDetectionTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of a detector, with earlier depth or the sensor's."""

    def __init__(self, folder: str | os.PathLike[str], settings: DetectionSettings | None = None) -> None:
        """Raises ModelError where the folder is no object-detection model."""
        self.detector = PipelineDetector("detect", folder, settings)

    def provenance(self) -> dict[str, Any]:
        return self.detector.provenance()

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return boxes with scores. Raises TeacherError without metric depth or cameras."""
        return SceneGeometry(boxes=lift([self.detector(view.image) for view in scene.views], scene, known))


def _architectures(folder: Path) -> list[str]:
    config = load_part(transformers.AutoConfig, folder, "image-segmentation model")
    return list(config.architectures or [])


def _open_pipeline(task: str, auto_class: Any, folder: Path, **parts: Any) -> Any:
    """Open a pipeline of transformers in float32. Raises ModelError where the folder is no model of the task."""
    # loaded here, since a pipeline accepts a model of another task with no more than a warning in the log
    model = load_part(auto_class, folder, f"{task} model", dtype=torch.float32, use_safetensors=True)
    processor = load_part(transformers.AutoImageProcessor, folder, f"{task} model", backend="pil")
    parts |= {"image_processor": processor, "device": default_device()}
    try:
        return transformers.pipeline(task, model=model.eval(), trust_remote_code=False, **parts)
    except Exception as error:  # transformers raises of every kind
        raise ModelError(f"{folder}: is no {task} model: {one_line(str(error), 200)}") from error
