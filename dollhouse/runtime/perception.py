"""From the encoder's raw outputs to votes and groups in the first view's level frame, in NumPy.

These are the steps between the graphs, with the operations of :mod:`dollhouse.models.dollhouse.voting_head`.

Axes: V views, h and w patches of a view, P = h*w, M = V*P, L labels, C colours, N object slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dollhouse.runtime.registration import OBJECTS_PER_VIEW, make_objects, register_views

Floats = NDArray[np.float32]

#: Depth is multiplied by known over predicted focal length to this power, unless the heads predict depth over focal
#: length (``config.canonical_depth``). An object of the same size and image is farther away by the ratio itself, but
#: students predict part of it from other cues; fitted on synthetic rooms.
FOCAL_EXPONENT = 0.7
BLOCK = 1 << 20  #: agreements of two patches that are computed at once


@dataclass(frozen=True, eq=False)
class ViewCameras:
    """Cameras of one scene in the level frame of the first view."""

    up: Floats  #: (V, 3) unit vector against gravity, in each camera's frame
    heading: Floats  #: (V, 2) cosine and sine of the turn from the first view's heading
    position: Floats  #: (V, 3) metres
    focal: Floats  #: (V,) focal length divided by the image's width

    @property
    def own_level_from_camera(self) -> Floats:
        """(V, 3, 3): rotation from the camera's frame to its own level frame."""
        ahead = np.array([0.0, 0.0, 1.0], np.float32) - self.up * self.up[:, 2:]
        ahead = normalised(ahead, 1e-4)
        return np.stack([np.cross(ahead, self.up), ahead, self.up], axis=-2)

    @property
    def level_from_own_level(self) -> Floats:
        """(V, 3, 3): rotation about the vertical from each view's level frame to the first one's."""
        cos, sin = self.heading.T
        zero, unit = np.zeros_like(cos), np.ones_like(cos)
        return np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, unit], -1).reshape(-1, 3, 3)

    @property
    def level_from_camera(self) -> NDArray[np.float64]:
        """(V, 4, 4) poses."""
        poses = np.zeros((len(self.focal), 4, 4))
        poses[:, :3, :3] = self.level_from_own_level @ self.own_level_from_camera
        poses[:, :3, 3] = self.position
        poses[:, 3, 3] = 1.0
        return poses

    def patch_rays(self, rows: int, columns: int) -> Floats:
        """Return rays (V, P, 3) through the patch centres in each camera's frame, z = 1."""
        u = (np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5
        v = ((np.arange(rows, dtype=np.float32) + 0.5) / rows - 0.5) * (rows / columns)
        rays = np.ones((len(self.focal), rows, columns, 3), np.float32)
        rays[..., 0] = u / self.focal[:, None, None]
        rays[..., 1] = v[:, None] / self.focal[:, None, None]
        return rays.reshape(len(self.focal), -1, 3)


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes of all patches; ``own_*`` are in the level frame of the patch's view, by views (V, P, ...)."""

    label_logits: Floats  #: (M, L+1), the last one is "no object"
    colour_logits: Floats  #: (M, C)
    log_depth: Floats  #: (M,)
    log_size: Floats  #: (M, 3)
    own_center: Floats  #: (V, P, 3)
    own_front: Floats  #: (V, P, 2)
    own_axis: Floats  #: (V, P, 2)

    def in_first_frame(self, cameras: ViewCameras) -> dict[str, Floats]:
        """Return the inputs of the objects graph, each with a batch axis."""
        cos, sin = cameras.heading[:, None].transpose(2, 0, 1)
        center = self.own_center @ cameras.level_from_own_level.transpose(0, 2, 1) + cameras.position[:, None]
        front = _turned(self.own_front, cos, sin)
        axis = _turned(self.own_axis, cos * cos - sin * sin, 2 * sin * cos)
        fields = {
            "label_logits": self.label_logits,
            "colour_logits": self.colour_logits,
            "log_depth": self.log_depth,
            "center": center.reshape(-1, 3),
            "log_size": self.log_size,
            "front": front.reshape(-1, 2),
            "axis": axis.reshape(-1, 2),
        }
        return {name: np.ascontiguousarray(value[None], dtype=np.float32) for name, value in fields.items()}


def split_votes(
    fields: Floats, cameras: ViewCameras, rows: int, columns: int, colours: int, depth_offset: Floats | None
) -> Votes:
    """Compute votes from the voting head's fields (V, P, F); ``depth_offset`` (V,) is added to log depth."""
    ends = np.cumsum([fields.shape[-1] - colours - 11, colours, 1, 3, 3, 2])
    labels, hues, log_depth, offset, log_size, own_front, own_axis = np.split(fields, ends, axis=-1)
    log_depth = log_depth[..., 0] + np.float32(1.0)
    if depth_offset is not None:
        log_depth = log_depth + depth_offset[:, None]
    points = cameras.patch_rays(rows, columns) * np.exp(log_depth.clip(-3, 4))[..., None]
    own_center = points @ cameras.own_level_from_camera.transpose(0, 2, 1) + offset
    flat = (value.reshape(-1, value.shape[-1]) for value in (labels, hues, log_size - np.float32(0.5)))
    label_logits, colour_logits, sizes = flat
    return Votes(label_logits, colour_logits, log_depth.reshape(-1), sizes, own_center, own_front, own_axis)


def register(votes: Votes, cameras: ViewCameras) -> ViewCameras:
    """Correct heading and position of the later views (:mod:`dollhouse.runtime.registration`)."""
    views = len(cameras.focal)
    labels, colours = softmax(votes.label_logits), softmax(votes.colour_logits)
    observed = []
    for view, (label, colour, log_size, center) in enumerate(
        zip(*(np.split(value, views) for value in (labels, colours, votes.log_size)), votes.own_center, strict=True)
    ):
        assignment = cluster(label, colour, log_size, votes.own_center[view], OBJECTS_PER_VIEW)
        weight = assignment * label[:, :-1].sum(-1, keepdims=True)
        mass = weight.sum(0)
        share = (weight / np.maximum(mass, 1e-6)).T
        label, colour = normalised(share @ label[:, :-1], 1e-12), normalised(share @ colour, 1e-12)
        arrays = (share @ center, label, colour, share @ log_size, mass)
        observed.append(make_objects(*(value.astype(np.float64) for value in arrays)))
    turns = np.arctan2(cameras.heading[:, 1], cameras.heading[:, 0]).tolist()
    heading, position = cameras.heading.copy(), cameras.position.copy()
    predicted = list(zip(turns, cameras.position.astype(np.float64), strict=True))
    for view, (turn, shift) in register_views(observed, predicted).items():
        heading[view], position[view] = (np.cos(turn), np.sin(turn)), shift
    return replace(cameras, heading=heading, position=position)


def cluster(labels: Floats, colours: Floats, log_size: Floats, center: Floats, slots: int) -> Floats:
    """Cluster votes greedily: one-hot (M, slots), all-zero rows for background.

    Equal to :func:`dollhouse.models.dollhouse.voting_head.cluster_votes`, but agreements are computed in blocks, and
    only for patches that show an object.

    Args:
        labels: probabilities (M, L+1), the last one is "no object".
        colours: probabilities (M, C).
        log_size: (M, 3) log metres.
        center: (M, 3) metres.
        slots: the most clusters.
    """
    foreground = labels[:, :-1].sum(-1)
    reach = 0.12 + 0.35 * np.minimum(np.exp(log_size[:, :2]).min(-1), 2.0)
    kind, hue = normalised(labels[:, :-1], 1e-12), normalised(colours, 1e-12)
    shown = np.flatnonzero(foreground > 0.4)
    assignment = np.zeros((len(labels), slots), np.float32)
    if not len(shown):
        return assignment
    agreed = np.empty((len(shown), len(shown)), bool)
    density = np.empty(len(shown), np.float32)
    squares = np.einsum("mi,mi->m", center, center)
    step = max(1, BLOCK // len(labels))
    for start in range(0, len(shown), step):
        rows = shown[start : start + step]
        gap = squares[rows, None] + squares - 2.0 * (center[rows] @ center.T)
        agreement = reach[rows, None] + reach
        agreement *= agreement
        np.divide(gap, agreement, out=agreement)
        agreement *= -2.0  # half the square of a distance over half the sum of both reaches
        np.minimum(agreement, 0.0, out=agreement)
        np.exp(agreement, out=agreement)
        agreement *= kind[rows] @ kind.T
        agreement *= np.float32(0.4) + np.float32(0.6) * (hue[rows] @ hue.T)
        density[start : start + step] = agreement @ foreground
        agreed[start : start + step] = agreement[:, shown] > 0.25
    left = density * foreground[shown]  # density of free patches; 0 once a patch is assigned
    for slot in range(slots):
        gathered = agreed[left.argmax()] & (left > 0)
        assignment[shown[gathered], slot] = 1.0
        left[gathered] = 0.0
    return assignment


def softmax(logits: Floats) -> Floats:
    """Compute probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def normalised(vectors: Floats, least: float) -> Floats:
    """Divide vectors by their length, at least ``least``."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), least).astype(np.float32)


def _turned(directions: Floats, cos: Floats, sin: Floats) -> Floats:
    x, y = directions[..., 0], directions[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)
