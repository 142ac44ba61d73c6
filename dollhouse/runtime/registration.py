"""Register views by matching their objects: correct predicted camera poses, without learned parameters.

The camera head predicts rotations well, but not long translations. Each view's votes are clustered to objects in its
own level frame; two or three of them, matched by label, colour and size with objects of earlier views, fix its pose.

Axes: V views, N objects of a view, L labels, C colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pose = tuple[float, Array]  #: rotation about z in radians, translation (3,)

OBJECTS_PER_VIEW = 12
MIN_SIMILARITY = 0.3  #: similarity from which two objects may be the same
SIGMA = 0.2  #: standard deviation of an object's position in metres at no distance
SIGMA_PER_METRE = 0.1  #: and its increase per metre from the camera
MAX_LOG_STRETCH = 0.35  #: largest log ratio of two objects' distances in both views
REFINE_MARGIN = 0.5  #: hypotheses at most this far below the best score are refined with all objects
MOST_PAIRS = 128  #: of an own and a known object: the most similar ones; every two of them are a hypothesis
BLOCK = 512  #: hypotheses that are scored at once: their affinities fit the processor's cache
MOST_REFINED = 256  #: hypotheses, those with the best scores
MIN_GAIN = 1.0  #: score by which another pose must beat the predicted one


@dataclass(frozen=True, eq=False)
class ObjectSet:
    """Objects of one view or of several."""

    position: Array  #: (N, 3) metres
    label: Array  #: (N, L) unit vectors
    colour: Array  #: (N, C) unit vectors
    log_size: Array  #: (N, 3)
    weight: Array  #: (N,) 0..1, low for objects of few patches
    sigma: Array  #: (N,) metres

    def joined(self, other: ObjectSet) -> ObjectSet:
        return ObjectSet(
            *[np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self)]
        )


def make_objects(position: Array, label: Array, colour: Array, log_size: Array, mass: Array) -> ObjectSet:
    """Select the clusters of one view that are not empty; ``mass`` (N,) is their number of patches, weighted."""
    position, label, colour, log_size, mass = (v[mass > 0] for v in (position, label, colour, log_size, mass))
    sigma = SIGMA + SIGMA_PER_METRE * np.linalg.norm(position[:, :2], axis=-1)
    return ObjectSet(position, label, colour, log_size, np.minimum(1.0, mass / 4.0), sigma)


def register_views(observed: Sequence[ObjectSet], predicted: Sequence[Pose]) -> dict[int, Pose]:
    """Return corrected poses of the later views, where their objects match earlier views better with these."""
    known, corrected = observed[0], {}
    for view in range(1, len(observed)):
        own = observed[view]
        fitted = fit(own, known, predicted[view])
        if fitted is not predicted[view]:
            corrected[view] = fitted
        known = known.joined(replace(own, position=transform(own.position, *fitted)))
    return corrected


def fit(own: ObjectSet, known: ObjectSet, proposed: tuple[float, Array]) -> tuple[float, Array]:
    """Return the rotation (radians) and translation (3,) that align ``own`` with ``known`` best, or ``proposed``."""
    size = np.abs(own.log_size[:, None] - known.log_size[None]).mean(-1)
    similarity = (own.label @ known.label.T) * (0.25 + 0.75 * own.colour @ known.colour.T) * np.exp(-size)
    rows, columns = np.nonzero(similarity > MIN_SIMILARITY)
    if len(rows) < 2:
        return proposed
    if len(rows) > MOST_PAIRS:  # many views of one place, or equal photos
        best_pairs = np.sort(np.argsort(-similarity[rows, columns], kind="stable")[:MOST_PAIRS])
        rows, columns = rows[best_pairs], columns[best_pairs]
    matching = Matching(own, known, similarity)
    best, best_score = proposed, float(matching.scores(np.array([proposed[0]]), proposed[1][None])[0]) + MIN_GAIN
    turns, shifts = pair_hypotheses(own.position, known.position, rows, columns)
    scores = matching.scores(turns, shifts)
    likely = np.flatnonzero(scores > max(best_score, scores.max(initial=-np.inf)) - REFINE_MARGIN)
    likely = likely[np.argsort(-scores[likely], kind="stable")[:MOST_REFINED]]
    turns, shifts = matching.refined(turns[likely], shifts[likely])
    scores = matching.scores(turns, shifts)
    if len(scores) and scores.max() > best_score:
        best = float(turns[scores.argmax()]), shifts[scores.argmax()]
    return best


class Matching:
    """Affinity of own objects to known ones under many poses (G): rotations (G,) about z, translations (G, 3)."""

    def __init__(self, own: ObjectSet, known: ObjectSet, similarity: Array) -> None:
        self.own, self.known = own, known
        self.similarity = similarity.astype(np.float32)
        self.sharpness = (-0.5 / (own.sigma[:, None] ** 2 + known.sigma**2)).astype(np.float32)

    def affinity(self, turns: Array, shifts: Array) -> NDArray[np.float32]:
        """Return affinities (G, N, K), in float32: that of the squared distances is far below ``SIGMA``."""
        positions = transform_each(self.own.position, turns, shifts).astype(np.float32)
        known = self.known.position.astype(np.float32)
        field = positions[..., 0, None] - known[:, 0]
        field *= field
        for axis in (1, 2):
            gap = positions[..., axis, None] - known[:, axis]
            gap *= gap
            field += gap
        field *= self.sharpness
        np.exp(field, out=field)
        field *= self.similarity
        return field

    def scores(self, turns: Array, shifts: Array) -> Array:
        """Return how well the own objects match (G,): the sum of their best affinities, weighted."""
        blocks = [slice(at, at + BLOCK) for at in range(0, len(turns), BLOCK)]
        best = [self.affinity(turns[block], shifts[block]).max(-1) for block in blocks]
        return np.concatenate([part @ self.own.weight for part in best] or [np.zeros(0)])

    def refined(self, turns: Array, shifts: Array) -> tuple[Array, Array]:
        """Align each own object with its best match under each pose, by weighted least squares."""
        affinity, own = self.affinity(turns, shifts), self.own
        weight = own.weight * affinity.max(-1) / own.sigma**2
        return align(own.position, self.known.position[affinity.argmax(-1)], weight)


def align(positions: Array, goals: Array, weight: Array) -> tuple[Array, Array]:
    """Align positions (N, 3) with each of G sets of goals (G, N, 3) by least squares, weighted (G, N).

    Returns rotations about z (G,) and translations (G, 3).
    """
    weight = weight / weight.sum(-1, keepdims=True)
    middle, goal = weight @ positions, np.einsum("gn,gni->gi", weight, goals)
    here, there = positions - middle[:, None], goals - goal[:, None]
    cos = (weight * (here[..., 0] * there[..., 0] + here[..., 1] * there[..., 1])).sum(-1)
    sin = (weight * (here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0])).sum(-1)
    turns = np.arctan2(sin, cos)
    return turns, goal - transform_each(middle[:, None], turns, np.zeros((len(turns), 3)))[:, 0]


def pair_hypotheses(own: Array, known: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return rotations (G,) and translations (G, 3) that align two ``own`` positions with two ``known`` ones.

    Uses every two pairs (own[rows[i]], known[columns[i]]) with about equal distances.
    """
    first, second = np.triu_indices(len(rows), 1)
    a, b, c, d = rows[first], rows[second], columns[first], columns[second]
    apart, wanted = own[b] - own[a], known[d] - known[c]
    lengths = np.hypot(*apart[:, :2].T) + 0.05, np.hypot(*wanted[:, :2].T) + 0.05
    alike = (
        (np.minimum(*lengths) >= 0.4)
        & (np.abs(np.log(lengths[0] / lengths[1])) <= MAX_LOG_STRETCH)
        & (a != b)
        & (c != d)
    )
    a, b, c, d, apart, wanted = (values[alike] for values in (a, b, c, d, apart, wanted))
    turns = np.arctan2(wanted[:, 1], wanted[:, 0]) - np.arctan2(apart[:, 1], apart[:, 0])
    middle, goal = 0.5 * (own[a] + own[b]), 0.5 * (known[c] + known[d])
    return turns, goal - transform_each(middle[:, None], turns, np.zeros((len(turns), 3)))[:, 0]


def transform(positions: Array, turn: float, shift: Array) -> Array:
    """Rotate positions (N, 3) about z, then translate."""
    return transform_each(positions, np.array([turn]), shift[None])[0]


def transform_each(positions: Array, turns: Array, shifts: Array) -> Array:
    """Transform positions (N, 3) or (G, N, 3) by each of G rotations about z and translations (G, 3): (G, N, 3)."""
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    x, y = positions[..., 0], positions[..., 1]
    turned = np.empty((len(turns), *positions.shape[-2:]))
    turned[..., 0], turned[..., 1], turned[..., 2] = cos * x - sin * y, sin * x + cos * y, positions[..., 2]
    turned += shifts[:, None]
    return turned
