"""Annotated scenes from photos: boxes of a detector in the geometry of the scene, a model or a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import DollhouseError, TeacherError
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import AS_READ, open_scenes
from dollhouse.scenes.pose_checks import check_poses
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.visualize import draw_scene
from dollhouse.teachers.annotate import SceneFailure, SceneRun
from dollhouse.teachers.detection import DepthEstimator, Detections, Detector, function_provenance, open_function
from dollhouse.teachers.lifting import LiftSettings, lift
from dollhouse.teachers.reconstruction import CameraEstimator, reconstruct
from dollhouse.teachers.registry import Texts, read_settings

DETECTORS = "detect:FOLDER, zero-shot:FOLDER, segment:FOLDER or MODULE:FUNCTION"
DEPTHS = "scene, depth:FOLDER or MODULE:FUNCTION"
CAMERAS = "scene, vggt:PATH, checkpoint:FOLDER (or checkpoint alone: the shipped student) or MODULE:FUNCTION"


@dataclass
class BoxRun(SceneRun):
    """The results of a run that writes annotated scenes."""

    boxes: int = 0  #: in the scenes written


def annotate_scene(
    scene: Scene,
    detector: Detector,
    depth: DepthEstimator | None = None,
    cameras: CameraEstimator | None = None,
    settings: LiftSettings | None = None,
) -> Scene:
    """Return the scene with depth, poses and the boxes of its objects, with scores and provenance.

    Args:
        detector: finds objects in each photo.
        depth, cameras: as in :func:`dollhouse.teachers.reconstruction.reconstruct`.
        settings: of the boxes; None: margin and trim follow from how far depth disagrees between views.

    Raises:
        TeacherError: the scene has no depth, poses or intrinsics, and no source gives them.
    """
    posed = reconstruct(scene, depth, cameras)
    agreement = check_poses(posed) if len(posed.views) > 1 else {}
    if settings is None:
        error = agreement.get("error") or 0.0
        settings = LiftSettings(margin=float(np.clip(2.5 * error, 0.05, 0.3)), trim=float(np.clip(50 * error, 1, 4)))
    detections = [detector(view.image) for view in posed.views]
    if others := {type(found).__name__ for found in detections if not isinstance(found, Detections)}:
        raise TeacherError(f"a detector returned {', '.join(sorted(others))} instead of Detections")
    boxes = lift(detections, replace(posed, metric=True), settings=settings)
    provenance = {
        "detector": function_provenance(detector),
        "depth": "scene" if depth is None else function_provenance(depth),
        "cameras": "scene" if cameras is None else function_provenance(cameras),
        "lifting": asdict(settings),
    }
    metadata = {**posed.metadata, "boxes": provenance, "pose_check": agreement}
    return replace(posed, boxes=boxes, metadata=metadata)


def annotate_boxes(
    scenes: str,
    out: str | Path,
    detector: str,
    *,
    depth: str = "scene",
    cameras: str = "scene",
    views: int | None = None,
    args: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    corrections: Corrections = AS_READ,
    on_scene: Callable[[BoxRun], None] | None = None,
) -> BoxRun:
    """Write annotated scenes to folders of ``out`` by their names, except those that lie there already.

    Args:
        scenes: what :func:`dollhouse.open_scenes` opens.
        detector, depth, cameras: names (:data:`DETECTORS`, :data:`DEPTHS`, :data:`CAMERAS`).
        args: settings, such as ``detector.threshold``, ``depth.output``, ``cameras.width`` or ``boxes.min_score``.
        views: photos a scene at most, spread over it.

    Raises:
        TeacherError: for a name or setting that is not valid. A scene that fails is listed in the result.
    """
    given: dict[str, dict[str, str]] = {"detector": {}, "depth": {}, "cameras": {}, "boxes": {}}
    for key, value in (args or {}).items():
        source, _, setting = key.partition(".")
        if source not in given or not setting:
            raise TeacherError(f"setting {key}: write {', '.join(f'{name}.KEY=VALUE' for name in given)}")
        given[source][setting] = value
    settings = read_settings("boxes", LiftSettings, given["boxes"]) if given["boxes"] else None
    find = open_detector(detector, given["detector"])
    estimate_depth = open_depth(depth, given["depth"])
    estimate_cameras = open_cameras(cameras, given["cameras"])
    opened = open_scenes(scenes, skip_bad=skip_bad, frames=views, corrections=corrections)
    run = BoxRun(len(opened))
    folders: set[Path] = set()  # of this run's scenes
    for number in range(len(opened)):
        name = f"scene {number}"
        try:
            scene = opened[number]
            name = scene.name
            folder = Path(out) / (re.sub(r"[^\w.() -]|^[. ]+", "_", name) or "_")
            if folder in folders:
                raise TeacherError(f"an earlier scene has the folder {folder} too; write this one to another --out")
            folders.add(folder)
            if folder.exists():
                run.existing += 1
            else:
                annotated = annotate_scene(scene, find, estimate_depth, estimate_cameras, settings)
                draw_scene(annotated, save_scene(annotated, folder) / "plan.png")
                run.written += 1
                run.boxes += len(annotated.boxes or ())
        except DollhouseError as error:
            run.failures.append(SceneFailure(name, str(error)))
        except ImportError as error:  # of a detector or a source that loads its libraries when it is called
            raise TeacherError(f"a detector or source cannot be used ({error}); install what it needs") from error
        if on_scene is not None:
            on_scene(run)
    return run


def open_detector(name: str, settings: Texts) -> Detector:
    """Open a detector by name (:data:`DETECTORS`). Raises TeacherError."""
    kind, _, where = name.partition(":")
    if kind in ("detect", "zero-shot", "segment") and where:
        from dollhouse.teachers.vision_pipelines import DetectionSettings, PipelineDetector

        return PipelineDetector(kind, where, read_settings(kind, DetectionSettings, settings))
    return _function(name, settings, "detector", DETECTORS)


def open_depth(name: str, settings: Texts) -> DepthEstimator | None:
    """Open a source of depth by name (:data:`DEPTHS`); None for the scene's own. Raises TeacherError."""
    kind, _, where = name.partition(":")
    if name == "scene":
        return None
    if kind == "depth" and where:
        from dollhouse.teachers.vision_pipelines import DepthEstimationTeacher, DepthSettings

        return DepthEstimationTeacher(where, read_settings(kind, DepthSettings, settings))
    return _function(name, settings, "source of depth", DEPTHS)


def open_cameras(name: str, settings: Texts) -> CameraEstimator | None:
    """Open a source of cameras by name (:data:`CAMERAS`); None for the scene's own. Raises TeacherError."""
    kind, _, where = name.partition(":")
    if name == "scene":
        return None
    if kind == "vggt" and where:
        from dollhouse.teachers.vggt import VggtDepthTeacher, VggtSettings

        return VggtDepthTeacher.from_pretrained(where, read_settings(kind, VggtSettings, settings)).cameras
    if kind == "checkpoint":
        from dollhouse.teachers.dollhouse import DollhouseTeacher, DollhouseTeacherSettings

        student = DollhouseTeacher.from_pretrained(
            where or None, read_settings(kind, DollhouseTeacherSettings, settings)
        )
        return student.cameras
    return _function(name, settings, "source of cameras", CAMERAS, arguments=2)


def _function(name: str, settings: Texts, kind: str, names: str, arguments: int = 1) -> Any:
    if (function := open_function(name, settings, arguments)) is None:
        raise TeacherError(f"no {kind} {name!r}; there are {names}")
    return function
