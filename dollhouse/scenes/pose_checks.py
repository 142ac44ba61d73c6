"""Check of a posed scene: depth of one view reprojected into another, under the mistakes that captures often have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, reduce
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, invert_rigid, project, transform_points
from dollhouse.scenes.corrections import Axis, Corrections, signed_axis
from dollhouse.scenes.scene import Scene, spaced_indices

AGREE = 0.05  #: largest median relative depth error of views that agree
AGREE_ESTIMATED = 0.1  #: the same for depth or cameras that a model estimated (``metadata["estimated"]``)
NO_DEPTH = "the poses are not checked, since the scene has no depth"
_NOISE = 0.01  #: an error below this is never called a mistake
_PAIRS = 6
_TURN = np.radians(15.0)  #: wanted angle between the views of a pair: enough to tell mistakes apart, and they overlap
_SAMPLES = 3_000  #: points of a view
_OVERLAP = 0.1  #: least share of points that must fall on known depth of the other view
#: mistakes in words, and what mends each
_FLIPPED = "camera axes are flipped (OpenGL for OpenCV, or the reverse)"
_INVERTED = "poses are inverted (camera-from-world for world-from-camera, or the reverse)"
_DEPTH_LARGE = "depth is 5 times too large (1/5000 m taken for mm, or the reverse)"
_DEPTH_SMALL = "depth is 5 times too small (mm taken for 1/5000 m, or the reverse)"
_DEPTH_METRES = "depth is in metres, taken for millimetres"
_DEPTH_MILLIMETRES = "depth is in millimetres, taken for metres"
_POSES_MILLIMETRES = "poses are in millimetres"
_REMEDIES = {
    _FLIPPED: Corrections(axes="opengl"),
    _INVERTED: Corrections(poses="camera_from_world"),
    _DEPTH_LARGE: Corrections(depth_scale=0.2),
    _DEPTH_SMALL: Corrections(depth_scale=5.0),
    _DEPTH_METRES: Corrections(depth_scale=1000.0),
    _DEPTH_MILLIMETRES: Corrections(depth_scale=0.001),
    _POSES_MILLIMETRES: Corrections(pose_scale=0.001),
}


class _Sample(NamedTuple):
    """What the check needs of a view."""

    points: Array  #: (N, 3) camera frame, a regular subset of the pixels with depth
    depth: Array  #: (H, W)
    intrinsics: Array
    pose: Array


def check_poses(scene: Scene) -> dict[str, Any]:
    """Compare the depth of a few pairs of views and find the mistake that explains a disagreement.

    Returns:
        ``pairs`` compared; ``error``, the median of abs(z - depth) / depth, and ``agrees``, whether it is at most
        ``AGREE`` (``AGREE_ESTIMATED`` of estimated geometry), both None where too little overlaps; ``mistake`` in
        words, and ``option``, the command's options that mend it, both None where none is found; ``summary``, all of
        it in a line.
    """
    poses = np.stack(scene.known_poses)
    pairs = list(_sample_pairs(scene, poses)) if scene.has_depth and len(poses) == len(scene.views) else []
    as_read, mistakes = _error(pairs), []
    if pairs and as_read > _NOISE:
        # A reader may have turned the world; inverted poses have to be inverted before that.
        world_from_source = np.array(scene.metadata.get("world_from_source", np.eye(4)))
        ratios = _depth_ratios(pairs, poses)
        readings = sorted(product(("", _FLIPPED), ("", _INVERTED), ratios), key=lambda reading: sum(map(bool, reading)))
        errors = {
            reading: _error(pairs, bool(reading[0]), world_from_source if reading[1] else None, ratios[reading[2]])
            for reading in readings
        }
        best = min(errors.values())
        if best < min(0.5 * as_read, AGREE):  # the simplest reading that is about as good as the best
            simplest = next(reading for reading, error in errors.items() if error <= 1.2 * best + 0.002)
            mistakes = [mistake for mistake in simplest if mistake]
    estimated = " and ".join(scene.metadata.get("estimated") or ())
    agrees = (
        bool(as_read <= (AGREE_ESTIMATED if estimated else AGREE) and not mistakes)
        if np.isfinite(as_read) or mistakes
        else None
    )
    remedy = reduce(Corrections.then, (_REMEDIES[mistake] for mistake in mistakes), Corrections())
    corrected = np.stack(remedy.apply(scene).known_poses)
    if up := _up_axis(corrected):
        mistakes.append(f"the world's up is {up}, not z")
        remedy = remedy.then(Corrections(up=up))
    applied = Corrections(**scene.metadata.get("corrections", {}))
    check: dict[str, Any] = {
        "pairs": len(pairs),
        "error": round(as_read, 5) if np.isfinite(as_read) else None,
        "agrees": agrees,
        "mistake": " and ".join(mistakes) or None,
        "option": applied.then(remedy).options if mistakes else None,
    }
    return check | {"summary": _summary(check, estimated) if scene.has_depth or check["mistake"] else NO_DEPTH}


def _summary(check: Mapping[str, Any], estimated: str) -> str:
    over = f"over {check['pairs']} pair{'s' * (check['pairs'] != 1)} of views"
    found = over if check["error"] is None else f"median error {check['error']:.1%} {over}"
    verdict = {True: f"depth and poses agree ({found})", False: f"depth and poses disagree ({found})"}
    text = verdict.get(check["agrees"], "depth and poses are not compared: too little overlap, or no depth")
    if estimated and check["agrees"] is not None:
        text += f"; {estimated} estimated: {AGREE_ESTIMATED:.0%} is allowed"
    if check["mistake"]:
        return f"{text}; {check['mistake']}; mend it with {check['option'] or 'no corrections'}"
    hint = "; no common mistake explains it: check poses, intrinsics and the unit of depth"
    return text + (hint if check["agrees"] is False else "")


def require_consistent(scene: Scene) -> None:
    """Check the poses of a scene that is to give targets; synthetic rooms are exact and pass unchecked.

    A scene of an index was checked with all its views when it was indexed (``metadata["pose_check"]``). Raises
    SceneError where depth and poses disagree, or a common mistake explains the poses.
    """
    if not scene.posed or scene.metadata.get("source") in ("rooms", "homes"):
        return
    check = scene.metadata.get("pose_check") or check_poses(scene)
    if check["agrees"] is False or check["mistake"]:
        raise SceneError(f"scene {scene.name} cannot give targets: {check['summary']}")


def _depth_ratios(pairs: list[tuple[_Sample, _Sample]], poses: Array) -> dict[str, float]:
    """List what depth over translations may have to be multiplied by, as far as their sizes leave it possible."""
    ratios = {"": 1.0, _DEPTH_LARGE: 0.2, _DEPTH_SMALL: 5.0}
    typical_depth = np.median(np.concatenate([source.points[:, 2] for source, _ in pairs]))
    if typical_depth < 0.02:
        ratios[_DEPTH_METRES] = 1000.0
    elif np.ptp(poses[:, :3, 3], axis=0).max() > 30.0:
        ratios[_POSES_MILLIMETRES] = 1000.0
    if typical_depth > 100.0:
        ratios[_DEPTH_MILLIMETRES] = 0.001
    return ratios


def _sample_pairs(scene: Scene, poses: Array) -> Iterator[tuple[_Sample, _Sample]]:
    """Pair evenly spaced views with those turned by about ``_TURN``, an angle that no mistake changes."""

    @cache
    def sample(index: int) -> _Sample | None:
        view = scene.views[index]
        intrinsics = view.intrinsics_of_depth
        try:
            depth = view.depth
        except SceneError:
            return None
        if depth is None or intrinsics is None or not (depth > 0).any():
            return None
        points = back_project(depth, intrinsics)[depth > 0]
        return _Sample(points[:: int(np.ceil(len(points) / _SAMPLES))], depth, intrinsics, poses[index])

    rotations = poses[:, :3, :3]
    for first in spaced_indices(len(poses), _PAIRS) if len(poses) > 1 else []:
        cosines = (np.einsum("nij,ij->n", rotations, rotations[first]) - 1.0) / 2.0
        distance = np.abs(np.arccos(np.clip(cosines, -1.0, 1.0)) - _TURN)
        distance[first] = np.inf
        source, target = sample(first), sample(int(distance.argmin()))
        if source is not None and target is not None:
            yield source, target


def _error(
    pairs: list[tuple[_Sample, _Sample]], flipped: bool = False, inverted_in: Array | None = None, ratio: float = 1.0
) -> float:
    """Compute the median relative depth error of all pairs under a reading; infinite where too little overlaps."""
    errors = [np.empty(0)]
    for source, target in pairs:
        pose_a, pose_b = source.pose, target.pose
        if inverted_in is not None:
            pose_a, pose_b = (invert_rigid(pose) @ inverted_in for pose in (pose_a, pose_b))
        b_from_a = invert_rigid(pose_b) @ pose_a
        if flipped:  # of both cameras
            b_from_a *= np.outer([1, -1, -1, 1], [1, -1, -1, 1])
        b_from_a[:3, 3] /= ratio  # the same as depth times the ratio
        pixels, z = project(transform_points(b_from_a, source.points), target.intrinsics)
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < target.depth.shape[::-1]).all(-1)
        column, row = pixels[inside].astype(int).T
        other = target.depth[row, column]
        errors.append(np.abs(z[inside] - other)[other > 0] / other[other > 0])
    pooled = np.concatenate(errors)
    return float(np.median(pooled)) if len(pooled) > _OVERLAP * sum(len(s.points) for s, _ in pairs) else float("inf")


def _up_axis(poses: Array) -> Axis | None:
    """Find the world axis that is up instead of z, by the image axes of cameras that are held level."""
    image_x, image_up, forward = poses[:, :3, :3].mean(0).T * [[1], [-1], [1]]
    axis = int(np.abs(image_up).argmax())
    if abs(image_up[axis]) < 0.6 or (axis == 2 and image_up[2] > 0):
        return None
    if axis != 2 and (abs(image_up[2]) > 0.35 or max(abs(image_x[2]), abs(forward[2])) > 0.85):
        return None  # the cameras may roll, be turned to portrait, or look down
    return signed_axis(axis, image_up[axis] < 0)
