"""Points from VGGT's depth and cameras, and their metric scale.

VGGT's depth and cameras share one unknown scale; known depth, poses or one length fix it, else points are "relative".

Axes: V views, H rows, W columns; pixel centres are at half-integers, unlike in the official unprojection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, invert_rigid, transform_points
from dollhouse.models.vggt.camera_head import cameras_from_pose_encoding
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.scenes.scale import MEASURED_DEPTH, Scale
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_preprocessing import preprocess_view

Pixel = tuple[int, int, int]  #: view, row, column


@dataclass(frozen=True)
class KnownLength:
    """Known distance between the points of two pixels, of one view or two."""

    start: Pixel
    end: Pixel
    metres: float


@dataclass(frozen=True, eq=False)
class Points:
    """Point of every pixel in the frame of the first camera (x right, y down, z forward)."""

    points: Array  #: (V, H, W, 3); NaN where unknown
    first_from_camera: Array  #: (V, 4, 4)
    scale: Scale
    factor: float  #: applied to predicted lengths
    intrinsics: Array | None = None  #: (V, 3, 3) as predicted, in pixels of the maps
    features: NDArray[np.float32] | None = None  #: (V, P, D) the encoder's last patch tokens, row by row

    @property
    def metric(self) -> bool:
        """Whether lengths are in metres."""
        return self.scale.kind == "metric"


def place_points(depth: Array, intrinsics: Array, camera_from_world: Array) -> tuple[Array, Array]:
    """Return points (V, H, W, 3) in the first camera's frame, and ``first_from_camera`` (V, 4, 4).

    ``depth`` (V, H, W) is z-depth in the unit of the poses, 0 where unknown (the points are NaN there);
    ``intrinsics`` (V, 3, 3) are in pixels; ``camera_from_world`` is (V, 3, 4) or (V, 4, 4).
    """
    extrinsics = np.tile(np.eye(4), (len(depth), 1, 1))
    extrinsics[:, :3] = np.asarray(camera_from_world, dtype=np.float64)[:, :3]
    first_from_camera = extrinsics[0] @ invert_rigid(extrinsics)
    views = zip(np.asarray(depth, dtype=np.float64), intrinsics, first_from_camera, strict=True)
    points = np.stack([transform_points(pose, back_project(own, pinhole)) for own, pinhole, pose in views])
    points[~(np.asarray(depth) > 0)] = np.nan
    return points, first_from_camera


def fix_scale(
    points: Array,
    first_from_camera: Array,
    depth: Array,
    known_depth: Array | None = None,
    known_poses: Array | None = None,
    known_length: KnownLength | None = None,
) -> Points:
    """Scale points to metres by a known length, else by depth, else by poses; else leave them relative.

    Args:
        points, first_from_camera: from :func:`place_points`.
        depth: (V, H, W) predicted depth.
        known_depth: (V, H, W) metres, 0 where unknown; the factor is the median ratio.
        known_poses: ``world_from_camera`` (V, 4, 4) in metres; the factor is that of the distances between cameras.
        known_length: known to the user.

    Raises:
        SceneError: if the known values do not fix a scale: no pixel with both depths, all cameras at one position,
            two pixels of one point or none, a length that is not positive.
    """
    scale, factor = Scale("relative", "unknown"), 1.0
    if known_length is not None:
        scale, factor = Scale("metric", "known length"), _factor_of_length(points, known_length)
    elif known_depth is not None:
        both = (np.asarray(known_depth) > 0) & (np.asarray(depth) > 0)
        if not both.any():
            raise SceneError("no pixel has both a known and a predicted depth, so that fixes no scale; leave it out")
        scale, factor = MEASURED_DEPTH, float(np.median(known_depth[both] / depth[both]))
    elif known_poses is not None:  # fits the distances between all pairs of cameras by least squares
        places = first_from_camera[:, :3, 3], np.asarray(known_poses, dtype=np.float64)[:, :3, 3]
        predicted, known = (np.linalg.norm(own[:, None] - own[None], axis=-1) for own in places)
        if not (predicted > 0).any() or not (known > 0).any():
            raise SceneError("all cameras stand in one place, so their poses fix no scale; give one known length")
        scale = Scale("metric", "camera poses")
        factor = float((predicted * known).sum() / (predicted**2).sum())
    placed = first_from_camera.copy()
    placed[:, :3, 3] *= factor
    return Points(points * factor, placed, scale, factor)


def predict_points(
    model: VggtModel, scene: Scene, width: int = 518, known_length: KnownLength | None = None
) -> tuple[Points, Array]:
    """Predict points of a scene's photos with VGGT, and their confidence (V, H, W).

    Photos get a longer side of ``width`` pixels. ``known_length``, or the scene's own depth or poses in metres, fix the
    scale.

    Raises:
        SceneError: for bad files, photos of several shapes, and known values that fix no scale.
        ValueError: if the model has no camera or no depth head.
    """
    frames = [preprocess_view(view, width) for view in scene.views]
    if not frames or len({frame.image.shape for frame in frames}) > 1:
        raise SceneError(f"scene {scene.name}: its photos must be there, and of one shape; choose such views")
    photos = torch.from_numpy(np.stack([frame.image for frame in frames])).permute(0, 3, 1, 2)[None]
    pixel_values = (photos.float() / 255).to(model.device, model.dtype)
    with torch.inference_mode():
        output = model(pixel_values, model.dense_layers)
        extrinsics, intrinsics = cameras_from_pose_encoding(
            model.predict_cameras(output)[-1].double(), (photos.shape[-2], photos.shape[-1])
        )
        predicted, confidence = model.predict_depth(output)
    depth = predicted[0, ..., 0].double().cpu().numpy()
    points, first_from_camera = place_points(depth, intrinsics[0].cpu().numpy(), extrinsics[0].cpu().numpy())
    maps = [frame.depth for frame in frames if scene.metric and frame.depth is not None]
    poses = scene.known_poses if scene.metric else []
    known_depth = np.stack(maps) if len(maps) == len(frames) else None
    known_poses = np.stack(poses) if len(poses) == len(frames) > 1 else None
    fixed = fix_scale(points, first_from_camera, depth, known_depth, known_poses, known_length)
    tokens = output.last_hidden_state[0, :, output.patch_start :].float().cpu().numpy()
    fixed = replace(fixed, intrinsics=intrinsics[0].cpu().numpy(), features=tokens)
    return fixed, confidence[0].float().cpu().numpy()


def _factor_of_length(points: Array, known: KnownLength) -> float:
    if not known.metres > 0:
        raise SceneError(f"a known length of {known.metres} m fixes no scale; give a positive one")
    try:
        start, end = points[known.start], points[known.end]
    except IndexError:
        raise SceneError(
            f"known length from {known.start} to {known.end}: (view, row, column) must lie within {points.shape[:3]}"
        ) from None
    distance = float(np.linalg.norm(end - start))
    if not distance > 0:
        raise SceneError(f"the pixels {known.start} and {known.end} show one point, or none; choose two others")
    return known.metres / distance
