"""3D boxes from 2D detections and depth, in the scene's world frame.

The points of a detection are those of its mask, or the foreground of its rectangle. Detections of several views with
similar labels and overlapping points become one object. Boxes are upright, the smallest around their points in plan;
they have no front and miss the far side of an object, where there is no depth.

Axes: H rows and W columns of a depth map, N points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from dollhouse.geometry import Array, inside_box
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.labels import LabelMap
from dollhouse.scenes.scene import Box, Scene
from dollhouse.teachers.detection import Detections
from dollhouse.teachers.object_points import (
    FRAGMENT,
    MAX_POINTS,
    MIN_POINTS,
    DepthView,
    Mask,
    ObjectPoints,
    clusters,
    depth_views,
    object_points,
    project_to_view,
)

FLOOR_GAP = 0.15  #: metres; a box that ends at most so high above the floor stands on it
MIN_SIDE = 0.02  #: metres; an object seen edge-on still has a thickness
_LONELY = 5.0  #: points whose sixth neighbour is this many times further than usual are outliers
_SAME_PLACE = 0.5  #: share of points in the other's box from which detections with similar labels are one object
_SAME_VIEW = 0.75  #: the same for detections of one view, which are rarely one object
_SAME_BOX = 0.65  #: the same for unlike labels, of both objects


@dataclass(frozen=True)
class LiftSettings:
    """How detections become boxes."""

    min_score: float = 0.0  #: of a box: the mean of its detections over the views that show its place
    min_views: int = 1  #: in which an object was detected, where as many show its place
    margin: float = 0.05  #: metres by which depth or poses may be wrong
    trim: float = 1.0  #: per cent of the points cut at either end of each axis, since edges of depth maps bleed


@dataclass(eq=False)
class _Group:
    """The detections of one object."""

    members: list[ObjectPoints] = field(default_factory=list)
    box: Box | None = None

    @property
    def points(self) -> Array:
        return np.concatenate([member.points for member in self.members])

    def label(self) -> str:
        """Return the label with the highest sum of scores."""
        votes: dict[str, float] = defaultdict(float)
        for member in self.members:
            votes[member.label] += member.score
        return max(sorted(votes), key=lambda label: votes[label])


def lift(
    detections: Sequence[Detections],
    scene: Scene,
    known: SceneGeometry | None = None,
    settings: LiftSettings | None = None,
) -> tuple[Box, ...]:
    """Return boxes by decreasing score, with ids from 1 up.

    Args:
        detections: of each view.
        scene: posed, with intrinsics. One view needs no pose: boxes are in its level frame then, with the camera
            assumed upright.
        known: its depth is used where it is metric, else the scene's own.
        settings: how points are grouped and boxes fitted.

    Raises:
        TeacherError: without depth, intrinsics or poses.
    """
    settings = settings or LiftSettings()
    views, floor = depth_views(scene, known or SceneGeometry())
    objects = [member for view in range(len(views)) for member in object_points(detections[view], views[view], view)]
    groups: list[_Group] = []
    for member in sorted(objects, key=lambda member: -member.score):
        _add(member, groups, settings)
    boxes = []
    for group in _merged(groups, settings):
        shown, score = _support(group, views, settings)
        points = _carved(group, views, settings)
        enough = len({member.view for member in group.members}) >= min(settings.min_views, shown)
        if enough and score >= settings.min_score and len(points) >= MIN_POINTS:
            boxes.append(_on_floor(_fit(points, group.label(), score, settings), floor))
    boxes.sort(key=lambda box: -(box.score or 0.0))
    return tuple(replace(box, id=number) for number, box in enumerate(boxes, start=1))


@cache
def _similar(label: str, other: str) -> bool:
    """Return whether labels are equal, or one is a kind of the other."""
    return label == other or bool(LabelMap((label,)).map(other) or LabelMap((other,)).map(label))


def _share(points: Array, box: Box, margin: float) -> float:
    return float(inside_box(points, np.asarray(box.center), np.asarray(box.size), box.yaw, margin).mean())


def _box_of(group: _Group, settings: LiftSettings) -> Box:
    if group.box is None:
        group.box = _fit(group.points, group.members[0].label, group.members[0].score, settings)
    return group.box


def _overlaps(group: _Group, other: _Group, settings: LiftSettings) -> bool:
    shares = (
        _share(group.points, _box_of(other, settings), settings.margin),
        _share(other.points, _box_of(group, settings), settings.margin),
    )
    if not _similar(group.label(), other.label()):
        return min(shares) >= _SAME_BOX
    together = {member.view for member in group.members} & {member.view for member in other.members}
    return max(shares) >= (_SAME_VIEW if together else _SAME_PLACE)


def _add(member: ObjectPoints, groups: list[_Group], settings: LiftSettings) -> None:
    """Add a detection to the group that it overlaps most with, or as a group of its own."""
    own = _Group([member])
    near = [group for group in groups if _overlaps(own, group, settings)]
    if not near:
        groups.append(own)
        return
    best = max(near, key=lambda group: _share(member.points, _box_of(group, settings), settings.margin))
    best.members.append(member)
    best.box = None


def _merged(groups: list[_Group], settings: LiftSettings) -> list[_Group]:
    """Merge groups that overlap, now that they are complete, until none do."""
    merged: list[_Group] = []
    for group in sorted(groups, key=lambda group: -len(group.members)):
        for other in merged:
            if _overlaps(group, other, settings):
                other.members += group.members
                other.box = None
                break
        else:
            merged.append(group)
    return merged if len(merged) == len(groups) else _merged(merged, settings)


def _support(group: _Group, views: Sequence[DepthView], settings: LiftSettings) -> tuple[int, float]:
    """Return how many views show the object's place, and the mean score of its detections over them."""
    points = group.points
    points = points[:: max(1, len(points) // 200)]
    best: dict[int, float] = {}
    for member in group.members:
        best[member.view] = max(best.get(member.view, 0.0), member.score)
    shown = sum(
        number in best or project_to_view(points, view, 2 * settings.margin)[1].mean() > 0.6
        for number, view in enumerate(views)
    )
    return shown, sum(best.values()) / shown


def _carved(group: _Group, views: Sequence[DepthView], settings: LiftSettings) -> Array:
    """Return the points of a group without those that its other detections exclude, and without outliers."""
    points = group.points
    points = points[:: max(1, len(points) // (2 * MAX_POINTS))]
    against, seen = np.zeros((2, len(points)))
    for number in {member.view for member in group.members}:
        cells, visible = project_to_view(points, views[number], settings.margin)
        region = np.zeros(views[number].depth.shape, dtype=bool)
        for member in group.members:
            region |= member.region if member.view == number else False
        rows, columns = np.nonzero(region)
        slack = 1 + int(0.03 * max(np.ptp(rows), np.ptp(columns)))  # a rectangle or a mask is that exact
        near = _dilated(region, slack)[tuple(cells.T)]
        seen += visible
        against += visible & ~near
    kept = points[against <= 0.5 * seen]
    if len(kept) < MIN_POINTS:
        return kept
    distances = cKDTree(kept).query(kept, k=min(len(kept), 6))[0][:, -1]
    spacing = float(np.median(distances))
    kept = kept[distances <= _LONELY * spacing]
    parts = clusters(kept, float(np.clip(4 * spacing, 0.1, 0.25)))
    counts = np.bincount(parts)
    return kept[(counts >= FRAGMENT * counts.max())[parts]]


def _dilated(region: Mask, pixels: int) -> Mask:
    rows, columns = region.any(1), region.any(0)
    if region[np.ix_(rows, columns)].all():  # a rectangle
        grown = np.zeros_like(region)
        (top, bottom), (left, right) = (np.flatnonzero(side)[[0, -1]] for side in (rows, columns))
        grown[max(0, top - pixels) : bottom + pixels + 1, max(0, left - pixels) : right + pixels + 1] = True
        return grown
    return np.asarray(maximum_filter(region, size=2 * pixels + 1))


def _fit(points: Array, label: str, score: float, settings: LiftSettings) -> Box:
    """Fit the upright box of least area in plan around points (N, 3), but for outliers."""
    points = points[:: max(1, len(points) // MAX_POINTS)]
    sample = points[:, :2]

    def best(yaws: Array) -> float:
        axes = np.stack([np.stack([np.cos(yaws), np.sin(yaws)]), np.stack([-np.sin(yaws), np.cos(yaws)])], 1)
        low, high = _extent(sample @ axes.reshape(2, -1), settings)
        return float(yaws[np.maximum(high - low, MIN_SIDE).reshape(2, -1).prod(0).argmin()])

    yaw = best(np.radians(np.arange(0, 90, 3.0)))
    yaw = best(yaw + np.radians(np.arange(-3.0, 3.1, 0.5)))
    cos, sin = np.cos(yaw), np.sin(yaw)
    world_from_own = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    low, high = _extent(points @ world_from_own, settings)
    size = np.maximum(high - low, MIN_SIDE)
    center = world_from_own @ (0.5 * (low + high))
    if size[1] > size[0]:  # the x axis along the longer side
        yaw, size = yaw + 0.5 * np.pi, size[[1, 0, 2]]
    return Box(0, label, center, size, float((yaw + 0.5 * np.pi) % np.pi - 0.5 * np.pi), score=score)


def _on_floor(box: Box, floor: float | None) -> Box:
    """Return the box, down to the floor if it ends just above; points of the floor itself are in no box."""
    if floor is None or not 0 < box.bottom - floor < FLOOR_GAP:
        return box
    height = box.top - floor
    return replace(
        box,
        center=np.array([*box.center[:2], floor + 0.5 * height]),
        size=np.array([*box.size[:2], height]),
    )


def _extent(values: Array, settings: LiftSettings) -> tuple[Array, Array]:
    """Return the lowest and highest of values (N, ...) that are at most the margin beyond the trimmed ones."""
    low, high = np.percentile(values, [settings.trim, 100 - settings.trim], axis=0)
    near = (values >= low - settings.margin) & (values <= high + settings.margin)
    return np.where(near, values, np.inf).min(0), np.where(near, values, -np.inf).max(0)
