"""transformers' pipelines as geometry teachers: depth estimation, and object detection lifted to 3D.

Knows which model tells metres and which only what is nearer; how 2D boxes become 3D is
:mod:`dollhouse.teachers.lifting`'s business. Models are folders on this machine; nothing is downloaded and no code
that comes with a model is run.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError

from dollhouse.errors import ModelError, TeacherError
from dollhouse.system.hashing import folder_hash
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.lifting import Detection, lift

Told = Literal["auto", "metric", "inverse"]
UNREADABLE = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
)  #: what transformers raises for folders that it cannot use
_LOADERS = {
    "depth-estimation": transformers.AutoModelForDepthEstimation,
    "object-detection": transformers.AutoModelForObjectDetection,
}
_METRIC = {"glpn", "zoedepth", "depth_pro"}
_INVERSE = {"dpt"}


@dataclass(frozen=True)
class DepthSettings:
    """``tells``: "metric" for metres, "inverse" for nearness without a scale; "auto" goes by the kind of model."""

    tells: Told = "auto"
    licence: str = ""


@dataclass(frozen=True)
class DetectionSettings:
    """``threshold``: score from which a detection counts."""

    threshold: float = 0.5
    licence: str = ""


class DepthPipeline:
    """A model of the depth-estimation pipeline: :class:`dollhouse.teachers.geometry.GeometryTeacher`."""

    def __init__(self, folder: str | os.PathLike[str], settings: DepthSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model, TeacherError where nobody knows what it tells."""
        self.folder = Path(folder)
        self.settings = settings or DepthSettings()
        self.pipeline = _open("depth-estimation", self.folder)
        self.tells = self.settings.tells if self.settings.tells != "auto" else self._by_kind()

    @cached_property
    def _hash(self) -> str:
        return folder_hash(self.folder)

    def provenance(self) -> dict[str, Any]:
        return {
            "teacher": "depth",
            "name": self.folder.resolve().name,
            "weights": self._hash,
            "licence": self.settings.licence or "as the model's card says",
            "settings": {"tells": self.tells},
            "software": _software(),
        }

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """A map a view, of the photo's size. Nearness is turned over, and its median made 1: not metric."""
        maps = [np.asarray(self.pipeline(_photo(view))["predicted_depth"], dtype=np.float64) for view in scene.views]
        maps = [np.nan_to_num(one.reshape(one.shape[-2:]), nan=0.0, posinf=0.0, neginf=0.0) for one in maps]
        if self.tells == "inverse":
            maps = [np.where(one > 0, 1 / np.where(one > 0, one, 1.0), 0.0) for one in maps]
            known_pixels = np.concatenate([one[one > 0] for one in maps])
            maps = [one / np.median(known_pixels) for one in maps] if len(known_pixels) else maps
        return SceneGeometry(
            depth=tuple(np.maximum(one, 0).astype(np.float32) for one in maps), metric=self.tells == "metric"
        )

    def _by_kind(self) -> Told:
        config = self.pipeline.model.config
        kind = getattr(config, "depth_estimation_type", None)
        if kind == "metric" or config.model_type in _METRIC:
            return "metric"
        if kind == "relative" or config.model_type in _INVERSE:
            return "inverse"
        raise TeacherError(
            f"{self.folder}: whether a {config.model_type} tells metres is not known; set tells=metric or tells=inverse"
        )


class DetectionPipeline:
    """A model of the object-detection pipeline, lifted to 3D by the depth told before it, or by the sensor's."""

    def __init__(self, folder: str | os.PathLike[str], settings: DetectionSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model."""
        self.folder = Path(folder)
        self.settings = settings or DetectionSettings()
        self.pipeline = _open("object-detection", self.folder)

    @cached_property
    def _hash(self) -> str:
        return folder_hash(self.folder)

    def provenance(self) -> dict[str, Any]:
        settings = asdict(self.settings)
        licence = settings.pop("licence") or "as the model's card says"
        return {
            "teacher": "detect",
            "name": self.folder.resolve().name,
            "weights": self._hash,
            "licence": licence,
            "settings": settings,
            "software": _software(),
        }

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry:
        """Boxes with scores. Raises TeacherError without metric depth or cameras."""
        found = [
            Detection(
                label=one["label"].strip().lower(),
                score=float(one["score"]),
                left=one["box"]["xmin"],
                top=one["box"]["ymin"],
                right=one["box"]["xmax"],
                bottom=one["box"]["ymax"],
                view=number,
            )
            for number, view in enumerate(scene.views)
            for one in self.pipeline(_photo(view), threshold=self.settings.threshold)
        ]
        return SceneGeometry(boxes=lift(found, scene, known))


def _open(task: str, folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no model is there (config.json); download it first with `hf download`")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
        # loaded here, since a pipeline takes a model of another task with no more than a word in the log
        model = _LOADERS[task].from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return transformers.pipeline(task, model=model.eval(), image_processor=processor, device=device)
    except UNREADABLE as error:
        raise ModelError(f"{folder}: is no {task} model: {' '.join(str(error).split())[:200]}") from error


def _photo(view: View) -> Image.Image:
    return Image.fromarray(view.image)


def _software() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__}
