"""Views of a long posed capture that share enough with each other, as a person would photograph the place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, inside_box, invert_rigid, transform_points
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.visibility import BOX_MARGIN, subsample_depth

VIEW_SAMPLING_VERSION = 1  #: raise it whenever the same scene gives other key frames, overlaps or samples
MAX_KEY_FRAMES = 128  #: of a scan, whose depth is read
COLUMNS = 64  #: depth maps are subsampled to at most so many columns
POINTS = 192  #: of a key frame, projected into all others
#: A point is shown where the other view's depth differs by at most this (metres, and fraction of its depth).
MARGIN, FRACTION = 0.08, 0.06
#: Overlap of a new view with the most similar chosen one: less does not connect them, more is the same photo again.
LEAST_OVERLAP, MOST_OVERLAP = 0.2, 0.75
_WELL_SHOWN = 0.015  #: share of a view's pixels above which showing more of a box gains nothing
_GOLDEN = (5**0.5 - 1) / 2  #: multiples of it, modulo 1, are spread over [0, 1)
_BEST_OF = 3  #: random samples choose among so many of the best candidates


@dataclass(frozen=True, eq=False)
class ViewGraph:
    """The key frames of a scene: which share how much, and which boxes they show. K key frames, n boxes."""

    frames: NDArray[np.int64]  #: (K,) indices of the scene's views, ascending
    overlap: NDArray[np.float32]  #: (K, K) fraction of the row's surface that the column shows
    shares: NDArray[np.float32]  #: (n, K) fraction of the frame's pixels that each box covers


def measure_views(scene: Scene) -> ViewGraph | None:
    """Measure the overlap of a scene's key frames by reprojecting a subset of their depth.

    Reads the depth of at most ``MAX_KEY_FRAMES`` views. Returns None where poses, depth or its intrinsics are missing.
    """
    if not (scene.posed and scene.has_depth):
        return None
    samples: dict[int, _Sample] = {}
    for index in key_frames(len(scene.views)):
        try:
            samples[index] = _sample(scene.views[index])
        except SceneError:  # the frame is broken: others show the place too
            continue
    if not samples:
        return None
    return ViewGraph(
        np.array(list(samples), dtype=np.int64),
        _overlaps(list(samples.values())),
        np.stack([_box_shares(scene, sample) for sample in samples.values()], axis=1).astype(np.float32),
    )


def key_frames(views: int) -> list[int]:
    """Choose at most ``MAX_KEY_FRAMES`` of ``range(views)``: one of each of as many equal parts, the first included.

    The place within a part is random, so that a regular hold-out divides the key frames as it divides all frames.
    """
    if views <= MAX_KEY_FRAMES:
        return list(range(views))
    edges = np.linspace(0, views, MAX_KEY_FRAMES + 1)
    places = edges[:-1] + np.random.default_rng(views).random(MAX_KEY_FRAMES) * np.diff(edges)
    places[0] = 0
    return sorted({int(place) for place in places})


def choose_views(
    graph: ViewGraph, count: int, candidates: NDArray[np.int64] | None = None, draw: int | None = None
) -> list[int]:
    """Choose key frames that overlap with each other, differ in viewpoint, and show the boxes.

    Each frame after the first shares between ``LEAST_OVERLAP`` and ``MOST_OVERLAP`` of the surface with the chosen one
    that it shares most with, wherever the capture has such frames; of those, the frame that shows most that is new.

    Args:
        count: how many.
        candidates: places in ``graph.frames`` to choose from; None for all.
        draw: number of a random sample. Samples of ascending numbers start at frames spread over the capture, and
            choose among the best of the others. None chooses the best, reproducibly.

    Returns at most ``count`` places in ``graph.frames``, ascending.
    """
    free = np.arange(len(graph.frames)) if candidates is None else np.asarray(candidates)
    if len(free) <= count:
        return sorted(free.tolist())
    mutual = 0.5 * (graph.overlap + graph.overlap.T)
    shown = np.minimum(graph.shares, _WELL_SHOWN) / _WELL_SHOWN  # (n, K)
    boxes = max(1, len(shown))
    rng = None if draw is None else np.random.default_rng([draw, *graph.frames[-1:]])
    if draw is None:
        connected = (mutual[np.ix_(free, free)] >= LEAST_OVERLAP).mean(1)
        first = int(free[np.argmax(connected + shown[:, free].sum(0) / boxes)])
    else:
        first = int(free[int((draw + 0.5) * _GOLDEN % 1.0 * len(free))])
    chosen = [first]
    while len(chosen) < count:
        free = free[free != chosen[-1]]
        similar = mutual[np.ix_(free, chosen)].max(1)
        new_boxes = np.maximum(shown[:, free] - shown[:, chosen].max(1, keepdims=True), 0).sum(0) / boxes
        score = new_boxes + (1 - similar)
        fits = (similar >= LEAST_OVERLAP) & (similar <= MOST_OVERLAP)
        if not fits.any():  # prefer the same photo again to one without any connection
            score = np.where(similar >= LEAST_OVERLAP, 1 - similar, similar - 1)
        else:
            score = np.where(fits, score, -np.inf)
        order = np.argsort(-score, kind="stable")[: _BEST_OF if rng is not None else 1]
        order = order[np.isfinite(score[order])]
        chosen.append(int(free[order[0] if rng is None else rng.choice(order)]))
    return sorted(chosen)


@dataclass(frozen=True, eq=False)
class _Sample:
    """A view's subsampled depth, and points of it in world coordinates."""

    depth: NDArray[np.float32]  #: (H, W) metres, 0 unknown
    intrinsics: Array
    world_from_camera: Array
    points: Array  #: (N, 3) of all pixels with depth


def _sample(view: View) -> _Sample:
    depth, pose = view.depth, np.asarray(view.world_from_camera, dtype=np.float64)
    intrinsics = view.intrinsics_of_depth
    if depth is None or intrinsics is None:
        raise SceneError(f"view {view.name} has no depth with intrinsics")
    depth, intrinsics = subsample_depth(depth, intrinsics, max(1, -(-depth.shape[1] // COLUMNS)))
    points = transform_points(pose, back_project(depth, intrinsics)[depth > 0])
    return _Sample(depth, intrinsics, pose, points)


def _overlaps(samples: list[_Sample]) -> NDArray[np.float32]:
    parts = [sample.points[_spread(len(sample.points))] for sample in samples]
    points = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    sizes = np.maximum(np.bincount(owner, minlength=len(parts)), 1)
    columns = []
    for sample in samples:
        x, y, z = transform_points(invert_rigid(sample.world_from_camera), points).T
        height, width = sample.depth.shape
        focal, center = np.diag(sample.intrinsics), sample.intrinsics[:2, 2]
        # Comparisons without a division, so that points behind the camera need no care.
        across, down = x * focal[0] + z * center[0], y * focal[1] + z * center[1]
        inside = np.flatnonzero((z > 0) & (across >= 0) & (across < width * z) & (down >= 0) & (down < height * z))
        z = z[inside]
        column = np.minimum((across[inside] / z).astype(np.int64), width - 1)
        row = np.minimum((down[inside] / z).astype(np.int64), height - 1)
        depth = sample.depth[row, column]
        shown = (depth > 0) & (np.abs(depth - z) <= np.maximum(MARGIN, FRACTION * z))
        columns.append(np.bincount(owner[inside[shown]], minlength=len(parts)) / sizes)
    return np.stack(columns, axis=1).astype(np.float32)


def _spread(count: int) -> NDArray[np.int64]:
    """Return at most ``POINTS`` indices into ``range(count)``, in random but reproducible places."""
    if count <= POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, POINTS, replace=False))


def _box_shares(scene: Scene, sample: _Sample) -> Array:
    """Compute the share (n,) of a view's pixels that lie in each box; the smallest box wins."""
    boxes = scene.boxes or ()
    owners = np.full(len(sample.points), -1)
    for index in sorted(range(len(boxes)), key=lambda index: -float(np.prod(boxes[index].size))):
        box = boxes[index]
        owners[inside_box(sample.points, np.asarray(box.center), np.asarray(box.size), box.yaw, BOX_MARGIN)] = index
    return np.bincount(owners[owners >= 0], minlength=len(boxes)) / sample.depth.size
