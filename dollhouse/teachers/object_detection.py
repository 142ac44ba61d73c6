"""Boxes by models of transformers' object-detection pipeline, lifted to 3D."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import transformers
from PIL import Image

from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.system.hashing import folder_hash
from dollhouse.teachers.depth_estimation import open_pipeline
from dollhouse.teachers.lifting import Detection, lift
from dollhouse.teachers.local_model import model_provenance


@dataclass(frozen=True)
class DetectionSettings:
    """``threshold``: the lowest score of a detection that is used."""

    threshold: float = 0.5
    licence: str = ""


class ObjectDetectionTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of a detector, with earlier depth or the sensor's."""

    def __init__(self, folder: str | os.PathLike[str], settings: DetectionSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model."""
        self.folder = Path(folder)
        self.settings = settings or DetectionSettings()
        self.pipeline = open_pipeline("object-detection", transformers.AutoModelForObjectDetection, self.folder)

    @cached_property
    def _weights(self) -> str:
        return folder_hash(self.folder)

    def provenance(self) -> dict[str, Any]:
        settings = {"threshold": self.settings.threshold}
        return model_provenance("detect", self.folder.resolve().name, self._weights, self.settings.licence, settings)

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return boxes with scores. Raises TeacherError without metric depth or cameras."""
        detections = [
            Detection(
                label=entry["label"].strip().lower(),
                score=float(entry["score"]),
                left=entry["box"]["xmin"],
                top=entry["box"]["ymin"],
                right=entry["box"]["xmax"],
                bottom=entry["box"]["ymax"],
                view=number,
            )
            for number, view in enumerate(scene.views)
            for entry in self.pipeline(Image.fromarray(view.image), threshold=self.settings.threshold)
        ]
        return SceneGeometry(boxes=lift(detections, scene, known))
