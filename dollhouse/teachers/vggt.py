"""VGGT's own depth head as a geometry teacher.

Knows the student's encoder, which is VGGT; imported only when asked for. Lengths are in metres where the scene's depth
or poses say how long a metre is, else relative.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from dollhouse.errors import ModelError, TeacherError
from dollhouse.geometry import invert_rigid, transform_points
from dollhouse.inference.points import predict_points
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.system.hashing import files_hash, folder_hash
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import pad_to_photo


@dataclass(frozen=True)
class VggtSettings:
    """``width`` of the photos in pixels; ``confidence`` below which a pixel's depth is unknown (VGGT's own scale)."""

    width: int = 518
    confidence: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 14 or self.width % 14:
            raise TeacherError(f"settings of vggt: width is {self.width}, must be a multiple of 14")


class VggtDepth:
    """Depth by VGGT: :class:`dollhouse.teachers.geometry.GeometryTeacher`."""

    def __init__(self, model: VggtModel, name: str, weights: str, settings: VggtSettings | None = None) -> None:
        """``model`` needs a camera and a depth head; ``name`` and ``weights`` (a hash) say where it came from."""
        if not {"camera", "depth"} <= set(model.config.heads):
            raise ModelError(f"{name}: VGGT tells depth with its camera and depth heads; it has {model.config.heads}")
        self.model = model
        self.name = name
        self.weights = weights
        self.settings = settings or VggtSettings()

    @classmethod
    def open(cls, path: str | os.PathLike[str], settings: VggtSettings | None = None) -> VggtDepth:
        """VGGT from the official checkpoint (a file, or the folder that holds it), or as ``save_pretrained`` wrote it.

        Raises ModelError where nothing fits.
        """
        place = Path(path)
        if _is_ours(place):
            try:
                model = VggtModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
            except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
                raise ModelError(f"{place}: VGGT cannot be read: {' '.join(str(error).split())[:200]}") from error
        else:
            model = VggtModel.from_official(place, VggtConfig(heads=["camera", "depth"]))
        weights = folder_hash(place) if place.is_dir() else files_hash([place])
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"), place.resolve().name, weights, settings)

    def provenance(self) -> dict[str, Any]:
        return {
            "teacher": "vggt",
            "name": self.name,
            "weights": self.weights,
            "licence": str(getattr(self.model.config, "licence", None) or "as its card says"),
            "settings": {"width": self.settings.width, "confidence": self.settings.confidence},
            "software": {"torch": torch.__version__},
        }

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """z-depth of every view at ``settings.width``; views must have one shape (SceneError)."""
        told, confidence = predict_points(self.model.eval(), scene, self.settings.width)
        depth = []
        for points, first_from_camera, sure, view in zip(
            told.points, told.first_from_camera, confidence, scene.views, strict=True
        ):
            z = transform_points(invert_rigid(first_from_camera), points)[..., 2]
            z = np.where(np.isfinite(z) & (z > 0) & (sure >= self.settings.confidence), z, 0.0)
            depth.append(pad_to_photo(z.astype(np.float32), view))
        return SceneGeometry(depth=tuple(depth), metric=told.metric)


def _is_ours(place: Path) -> bool:
    try:
        settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("model_type") == VggtConfig.model_type
