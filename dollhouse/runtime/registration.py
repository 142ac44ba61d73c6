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
REFINE_MARGIN = 0.5  #: pair hypotheses at most this far below the best score are refined with all objects
MOST_PAIRS = 128  #: of an own and a known object: the most similar ones; every two of them are a hypothesis
BLOCK = 2048  #: hypotheses that are scored at once
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
    sharpness = -0.5 / (own.sigma[:, None] ** 2 + known.sigma**2)

    def affinity(positions: Array) -> Array:
        """Affinity (..., N, K) of own objects at ``positions`` (..., N, 3) and known ones."""
        gap = positions[..., None, :] - known.position
        return similarity * np.exp(sharpness * np.einsum("...i,...i", gap, gap))

    def score_of(turn: float, shift: Array) -> tuple[float, Array]:
        matches = affinity(transform(own.position, turn, shift))
        return float(own.weight @ matches.max(1)), matches

    best, best_score = proposed, score_of(*proposed)[0] + MIN_GAIN
    turns, shifts = pair_hypotheses(own.position, known.position, rows, columns)
    starts = range(0, len(turns), BLOCK)
    moved = (transform_each(own.position, turns[at : at + BLOCK], shifts[at : at + BLOCK]) for at in starts)
    scores = np.concatenate([affinity(positions).max(-1) @ own.weight for positions in moved] or [np.zeros(0)])
    for guess in np.sort(np.argsort(-scores, kind="stable")[:MOST_REFINED]).tolist():
        score = float(scores[guess])
        turn, shift = float(turns[guess]), shifts[guess]
        if score > best_score - REFINE_MARGIN:
            turn, shift = procrustes(own, known, score_of(turn, shift)[1])
            score = score_of(turn, shift)[0]
        if score > best_score:
            best, best_score = (turn, shift), score
    return best


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


def procrustes(own: ObjectSet, known: ObjectSet, affinity: Array) -> tuple[float, Array]:
    """Align each object with its best match by a rotation about z and a translation (weighted least squares)."""
    to = affinity.argmax(1)
    weight = own.weight * affinity.max(1) / own.sigma**2
    weight = weight / weight.sum()
    middle, goal = weight @ own.position, weight @ known.position[to]
    here, there = own.position - middle, known.position[to] - goal
    cos = (weight * (here[:, 0] * there[:, 0] + here[:, 1] * there[:, 1])).sum()
    sin = (weight * (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0])).sum()
    turn = float(np.arctan2(sin, cos))
    return turn, goal - transform(middle[None], turn, np.zeros(3))[0]


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
