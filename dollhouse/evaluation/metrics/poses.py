"""How far predicted camera poses lie from the true ones, judged by the pairs of cameras of a scene.

Knows nothing of models or images. A pair's rotation error is the angle between its true and predicted relative
rotation; its translation error the angle between the two directions of its relative translation, so that neither the
world's frame nor its scale matters. The area under the curve is that of Wang et al., "PoseDiffusion" (ICCV 2023), and
of VGGT (CVPR 2025): for each whole degree up to 30, the share of pairs with both errors below it, averaged. Their code
also counts a camera that went exactly the other way as right; ``auc_30_signed`` does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dollhouse.errors import ModelError
from dollhouse.geometry import Array, invert_rigid

VERSION = "poses:1"  #: rises when any number may change
STANDING = 1e-6  #: a true baseline shorter than this (in the scene's unit) has no direction


def relative_poses(world_from_camera: Array) -> Array:
    """``i_from_j`` (P, 4, 4) of every pair i < j of N cameras, P = N (N - 1) / 2, pair (0, 1) first."""
    first, second = np.triu_indices(len(world_from_camera), k=1)
    return invert_rigid(world_from_camera[first]) @ world_from_camera[second]


def rotation_angles(a: Array, b: Array) -> Array:
    """Angles in degrees (P,), 0 to 180, between rotations (P, 3, 3)."""
    # Half the Frobenius distance is the sine of half the angle: exact near zero, where an arc cosine is not.
    half = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8.0)
    return np.degrees(2 * np.arcsin(np.clip(half, 0.0, 1.0)))


def direction_angles(a: Array, b: Array) -> Array:
    """Angles in degrees (P,), 0 to 180, between vectors (P, 3); 90 where the first is zero, so that it is no direction.

    Where the second has no length the angle is NaN.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    crossed, dotted = np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)
    angles = np.degrees(np.arctan2(crossed, dotted))
    angles = np.where(np.linalg.norm(a, axis=-1) > 0, angles, 90.0)
    return np.where(np.linalg.norm(b, axis=-1) > STANDING, angles, np.nan)


def pose_errors(predicted: Array, truth: Array) -> tuple[Array, Array]:
    """Rotation and translation errors in degrees, (P,) each, of predicted and true ``world_from_camera`` (N, 4, 4).

    The translation error is NaN where the two true cameras stand in one place. Raises ValueError where the shapes
    differ, :class:`~dollhouse.errors.ModelError` where a prediction is not finite.
    """
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape or predicted.ndim != 3 or predicted.shape[1:] != (4, 4):
        raise ValueError(f"predicted poses have shape {predicted.shape}, true ones {truth.shape}; both (N, 4, 4)")
    if not np.isfinite(predicted).all():
        raise ModelError("the model predicted poses that are not finite numbers; its weights may be damaged")
    a, b = relative_poses(predicted), relative_poses(truth)
    return rotation_angles(a[:, :3, :3], b[:, :3, :3]), direction_angles(a[:, :3, 3], b[:, :3, 3])


def area_under_curve(errors: Array, degrees: int = 30) -> float:
    """The mean, over the whole degrees d from 1 to ``degrees``, of the share of errors (P,) below d.

    Errors of exactly ``degrees`` count too, since the last bin of a histogram is closed.
    """
    counts, _ = np.histogram(errors, bins=np.arange(degrees + 1))
    return float(np.cumsum(counts).sum() / (len(errors) * degrees))


def score_poses(scenes: Iterable[tuple[Array, Array]]) -> dict[str, float | int | None] | None:
    """Errors over all pairs of cameras of all scenes; None where no scene has two cameras.

    ``scenes`` gives predicted and true ``world_from_camera`` (N, 4, 4). ``rotation`` and ``translation`` are median
    errors in degrees. ``auc_30`` counts the larger of the two, the translation's folded to at most 90 degrees as in
    the papers, ``auc_30_signed`` the same unfolded; the rotation alone counts where the true cameras stand in one
    place. ``standing`` is the number of such pairs, ``n`` that of all pairs, ``scenes`` that of scenes.
    """
    pairs = [errors for predicted, truth in scenes if len((errors := pose_errors(predicted, truth))[0])]
    if not pairs:
        return None
    rotation, translation = (np.concatenate(errors) for errors in zip(*pairs, strict=True))
    folded = np.minimum(translation, 180.0 - translation)
    moved = translation[~np.isnan(translation)]
    return {
        "rotation": float(np.median(rotation)),
        "translation": float(np.median(moved)) if len(moved) else None,
        "auc_30": area_under_curve(np.fmax(rotation, folded)),
        "auc_30_signed": area_under_curve(np.fmax(rotation, translation)),
        "standing": len(translation) - len(moved),
        "n": len(rotation),
        "scenes": len(pairs),
    }
