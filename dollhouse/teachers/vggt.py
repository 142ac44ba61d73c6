"""Depth, cameras and features by VGGT, metric where the scene's own depth or poses give the scale."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ModelError, TeacherError
from dollhouse.geometry import Array, invert_rigid, transform_points
from dollhouse.inference.points import Points, predict_points
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.system.hashing import files_hash, folder_hash
from dollhouse.system.read_files import read_json
from dollhouse.teachers.local_model import default_device, load_part, model_provenance
from dollhouse.teachers.protocol import Teacher
from dollhouse.teachers.reconstruction import Cameras

_FOCAL_RANGE = (0.25, 20.0)  #: plausible focal lengths over the photo's width


@dataclass(frozen=True)
class VggtSettings:
    """Longer side of the input in pixels, and the confidence (VGGT's own scale) below which depth counts as unknown."""

    width: int = 518
    confidence: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 14 or self.width % 14:
            raise TeacherError(f"settings of vggt: width is {self.width}, must be a multiple of 14")


class VggtDepthTeacher:
    """A :class:`dollhouse.teachers.geometry.GeometryTeacher` of VGGT's camera and depth heads."""

    def __init__(self, model: VggtModel, name: str, weights: str, settings: VggtSettings | None = None) -> None:
        """``name`` and ``weights`` (a hash) go into the provenance. Raises ModelError where a head is missing."""
        if not {"camera", "depth"} <= set(model.config.heads):
            raise ModelError(f"{name}: depth needs VGGT's camera and depth heads; it has {model.config.heads}")
        self.model = model
        self.name = name
        self.weights = weights
        self.settings = settings or VggtSettings()

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], settings: VggtSettings | None = None) -> VggtDepthTeacher:
        """Load the official checkpoint (a file or its folder), or a folder of ``VggtModel.save_pretrained``.

        Raises ModelError where the path is neither.
        """
        place = Path(path)
        if _is_saved_model(place):
            model = load_part(VggtModel, place, "VGGT model", use_safetensors=True)
        else:
            model = VggtModel.from_official(place, VggtConfig(heads=["camera", "depth"]))
        weights = folder_hash(place) if place.is_dir() else files_hash([place])
        return cls(model.to(default_device()), place.resolve().name, weights, settings)

    def provenance(self) -> dict[str, Any]:
        settings = {"width": self.settings.width, "confidence": self.settings.confidence}
        licence = str(getattr(self.model.config, "licence", None) or "as its card says")
        return model_provenance("vggt", self.name, self.weights, licence, settings)

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Return z-depth of every view. Raises SceneError for photos of several shapes."""
        predicted, depth = self._predict(scene)
        return SceneGeometry(depth=depth, metric=predicted.metric)

    def cameras(self, scene: Scene, depth: Sequence[Array] | None) -> Cameras:
        """Return cameras and depth in the first camera's frame; other depth is not used. Raises as :meth:`geometry`."""
        predicted, maps = self._predict(scene)
        assert predicted.intrinsics is not None
        intrinsics = np.array(predicted.intrinsics)
        for pinhole, own, view in zip(intrinsics, maps, scene.views, strict=True):
            height, width = view.image.shape[:2]
            focal = np.clip(pinhole[[0, 1], [0, 1]] / own.shape[1], *_FOCAL_RANGE) * width
            pinhole[:] = [[focal[0], 0, 0.5 * width], [0, focal[1], 0.5 * height], [0, 0, 1]]
        return Cameras(predicted.first_from_camera, intrinsics, maps, predicted.metric)

    def _predict(self, scene: Scene) -> tuple[Points, tuple[NDArray[np.float32], ...]]:
        predicted, confidences = predict_points(self.model.eval(), scene, self.settings.width)
        depth = []
        for points, first_from_camera, confidence in zip(
            predicted.points, predicted.first_from_camera, confidences, strict=True
        ):
            z = transform_points(invert_rigid(first_from_camera), points)[..., 2]
            z = np.where(np.isfinite(z) & (z > 0) & (confidence >= self.settings.confidence), z, 0.0)
            depth.append(z.astype(np.float32))
        return predicted, tuple(depth)


class VggtTeacher(Teacher):
    """A teacher of encoders: VGGT's features and depth, and no answers."""

    def __init__(self, vggt: VggtDepthTeacher) -> None:
        self.vggt = vggt

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], settings: VggtSettings | None = None) -> VggtTeacher:
        """Load as :meth:`VggtDepthTeacher.from_pretrained`."""
        return cls(VggtDepthTeacher.from_pretrained(path, settings))

    def provenance(self) -> dict[str, Any]:
        return self.vggt.provenance()

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return no answers. Raises TeacherError for questions."""
        if questions:
            raise TeacherError("VGGT answers no questions: add --questions none")
        return []

    def features(self, scene: Scene) -> SpatialFeatures:
        """Return the encoder's patch tokens at the patches' predicted places.

        Raises TeacherError for a scene without poses in metres, in whose frame patches have no place.
        """
        if not scene.metric or len(scene.known_poses) != len(scene.views):
            raise TeacherError(f"scene {scene.name}: features of VGGT need poses in metres; or add --no-features")
        predicted, _ = self.vggt._predict(scene)
        assert predicted.features is not None
        patch = self.vggt.model.config.patch_size
        middles = predicted.points[:, patch // 2 :: patch, patch // 2 :: patch].reshape(-1, 3)
        known = np.isfinite(middles).all(-1)
        points = transform_points(np.asarray(scene.known_poses[0]), middles[known])
        return SpatialFeatures(predicted.features.reshape(len(middles), -1)[known], points)

    def geometry(self, scene: Scene) -> SceneGeometry:
        return self.vggt.geometry(scene, SceneGeometry())


def _is_saved_model(place: Path) -> bool:
    if not (place / "config.json").is_file():
        return False
    settings = read_json(place / "config.json", ModelError)
    return isinstance(settings, dict) and settings.get("model_type") == VggtConfig.model_type
