"""What a scene holds and lacks, as values for people and programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.scale import Scale
from dollhouse.scenes.scene import Scene

_SAMPLED_VIEWS = 3  #: decoded for sizes and ranges


@dataclass(frozen=True)
class SceneScale(Scale):
    """Scale of a scene's lengths, and their units."""

    units: str


def scene_scale(scene: Scene) -> SceneScale:
    """Return whether a scene's lengths are metric, and by what."""
    if scene.metric:
        default = "depth in metres" if scene.has_depth else "poses in metres"
    else:
        default = "poses of unknown unit" if scene.posed else "photos alone have no scale"
    units = "m" if scene.metric else str(scene.metadata.get("units", "unknown"))
    return SceneScale("metric" if scene.metric else "relative", str(scene.metadata.get("scale_source", default)), units)


def describe_lengths(scene: Scene) -> dict[str, Any]:
    """Return units, scale (kind, source) and frame, a phrase on the axes of the scene's world, for exported files."""
    scale = scene_scale(scene)
    frame = str(scene.metadata.get("frame", "the scene's world: right-handed, z up"))
    return {"units": scale.units, "scale": {"kind": scale.kind, "source": scale.source}, "frame": frame}


def describe_scene(scene: Scene) -> dict[str, Any]:
    """Return what a scene holds as JSON-able values; decodes a few views only.

    Returns:
        name, source, kind; views, image_sizes (width, height); depth (views, size, range, known share), poses (count,
        extent of the cameras), intrinsics (count, focal length over width, horizontal field of view), focal (source of
        the focal length), instances (views), boxes (count by label); missing, a list of these; scale (kind, source),
        check (see :func:`dollhouse.scenes.pose_checks.check_poses`), corrections, notices.
    """
    sample = scene.sample_views(_SAMPLED_VIEWS).views
    notices = list(scene.notices)
    images, depths = [], []
    for view in sample:
        try:
            images.append(view.image.shape[1::-1])
            if (depth := view.depth) is not None:
                depths.append(depth)
        except SceneError as error:
            notices.append(f"warning: {error}")
    poses = scene.known_poses
    instances = sum(view.open_instances is not None for view in scene.views)
    content: dict[str, Any] = {
        "name": scene.name,
        "source": scene.metadata.get("source"),
        "kind": scene.metadata.get("kind"),
        "views": len(scene.views),
        "image_sizes": sorted({(int(width), int(height)) for width, height in images}),
        "depth": _describe_depth(scene, depths),
        "poses": {"views": len(poses), "extent": _extent(poses)} if poses else None,
        "intrinsics": _describe_intrinsics(scene, images[0][0] if images else None),
        "focal": _focal_source(scene),
        "instances": {"views": instances} if instances else None,
        "boxes": None if scene.boxes is None else dict(Counter(box.label for box in scene.boxes).most_common()),
    }
    return content | {
        "missing": [name for name in ("depth", "poses", "intrinsics", "instances", "boxes") if content[name] is None],
        "scale": describe_lengths(scene)["scale"],
        "check": scene.metadata.get("pose_check"),
        "corrections": Corrections(**scene.metadata.get("corrections", {})).options,
        "notices": notices,
    }


def _describe_depth(scene: Scene, depths: list[Any]) -> dict[str, Any] | None:
    count = sum(view.open_depth is not None for view in scene.views)
    if not count:
        return None
    known = np.concatenate([depth[depth > 0] for depth in depths]) if depths else np.empty(0)
    return {
        "views": count,
        "sizes": sorted({depth.shape[::-1] for depth in depths}),
        "range": [round(float(value), 3) for value in np.percentile(known, [1, 99])] if len(known) else None,
        "known": round(len(known) / max(1, sum(depth.size for depth in depths)), 3),
    }


def _extent(poses: list[Any]) -> list[float]:
    return [round(float(size), 3) for size in np.ptp(np.stack(poses)[:, :3, 3], axis=0)]


def _focal_source(scene: Scene) -> str | None:
    if source := scene.metadata.get("focal"):  # of photos
        return str(source)
    return "from the format's calibration" if any(view.intrinsics is not None for view in scene.views) else None


def _describe_intrinsics(scene: Scene, width: int | None) -> dict[str, Any] | None:
    known = [view.intrinsics for view in scene.views if view.intrinsics is not None]
    if not known or width is None:
        return None
    focal = float(np.median([matrix[0, 0] for matrix in known])) / width
    return {
        "views": len(known),
        "focal_over_width": round(focal, 4),
        "horizontal_fov": round(float(np.degrees(2 * np.arctan(0.5 / focal))), 1),
    }
