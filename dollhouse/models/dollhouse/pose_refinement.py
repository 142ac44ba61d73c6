"""Cameras corrected by what they see: views that show the same objects are laid over one another.

The camera head tells a turn on the spot well, but not a walk to another corner of the room. The votes know more:
each view's objects stand somewhere in its own level frame, and two or three of them, found again by label, colour
and size in the views before, fix where the view was taken from. Nothing here is learnt, and no gradient flows.

Axes: V views, P patches of a view, N objects of a view, L labels, C colours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.voting_head import VoteOutput, cluster_votes

Array = NDArray[np.float64]

OBJECTS_PER_VIEW = 12
ALIKE = 0.3  #: affinity from which two observations may be of one object
BLUR = 0.2  #: metres by which places of one object differ at no distance
BLUR_PER_METRE = 0.1  #: and what every metre from the camera adds
STRETCH = 0.35  #: how far two objects may be further apart in one view than in the other, as a logarithm
NEARLY = (
    0.5  #: view_observations by which a guess from two objects may stay behind and still be looked at again with all
)
DOUBT = 1.0  #: score by which another camera must beat the head's own before it replaces it


@dataclass(frozen=True, eq=False)
class Sighted:
    """Objects of one view or of several."""

    place: Array  #: (N, 3) metres
    label: Array  #: (N, L) unit vectors
    colour: Array  #: (N, C) unit vectors
    log_size: Array  #: (N, 3)
    weight: Array  #: (N,) 0..1, little for what is hardly seen
    blur: Array  #: (N,) metres

    def joined(self, other: Sighted) -> Sighted:
        return Sighted(
            *[np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self)]
        )


def refine_cameras(votes: VoteOutput, cameras: Cameras) -> Cameras:
    """Cameras with heading and position of the later views corrected where the objects in them say otherwise."""
    with torch.no_grad():
        batch, views = cameras.focal.shape
        heading, position = cameras.heading.clone(), cameras.position.clone()
        sighted = sightings_by_view(votes, batch, views)
        for row in range(batch):
            known = sighted[row][0]
            for view in range(1, views):
                own = sighted[row][view]
                proposed = (
                    float(torch.atan2(heading[row, view, 1], heading[row, view, 0])),
                    position[row, view].double().cpu().numpy(),
                )
                fitted = fit(own, known, proposed)
                turn, shift = fitted
                if fitted is not proposed:
                    heading[row, view] = heading.new_tensor([np.cos(turn), np.sin(turn)])
                    position[row, view] = position.new_tensor(shift)
                known = known.joined(replace(own, place=moved(own.place, turn, shift)))
    return replace(cameras, heading=heading, position=position)


def sightings_by_view(votes: VoteOutput, batch: int, views: int) -> list[list[Sighted]]:
    """What each view shows, each in its own level frame."""
    apart = VoteOutput(**{name: value.unflatten(1, (views, -1)).flatten(0, 1) for name, value in vars(votes).items()})
    assignment = cluster_votes(replace(apart, center=apart.own_center), OBJECTS_PER_VIEW)
    weight = assignment * apart.foreground.unsqueeze(-1)
    mass = weight.sum(1)
    share = (weight / mass.clamp(min=1e-6).unsqueeze(1)).transpose(1, 2).float()
    place, log_size = share @ apart.own_center, share @ apart.log_size
    label = F.normalize(share @ apart.label_logits.float().softmax(-1)[..., :-1], dim=-1)
    colour = F.normalize(share @ apart.colour_logits.float().softmax(-1), dim=-1)
    told = [value.double().cpu().numpy() for value in (place, label, colour, log_size, mass)]
    found = []
    for row in range(batch * views):
        where, kind, shade, extent, much = (value[row, told[-1][row] > 0] for value in told)
        blur = BLUR + BLUR_PER_METRE * np.linalg.norm(where[:, :2], axis=-1)
        found.append(Sighted(where, kind, shade, extent, np.minimum(1.0, much / 4.0), blur))
    return [found[row * views : (row + 1) * views] for row in range(batch)]


def fit(own: Sighted, known: Sighted, proposed: tuple[float, Array]) -> tuple[float, Array]:
    """The turn (radians) and shift (3,) that lay ``own`` over ``known`` best; ``proposed`` itself unless beaten."""
    size = np.abs(own.log_size[:, None] - known.log_size[None]).mean(-1)
    likeness = (own.label @ known.label.T) * (0.25 + 0.75 * own.colour @ known.colour.T) * np.exp(-size)
    rows, columns = np.nonzero(likeness > ALIKE)
    if len(rows) < 2:
        return proposed
    sharpness = -0.5 / (own.blur[:, None] ** 2 + known.blur**2)

    def pulls(places: Array) -> Array:
        """How much each own object, at ``places`` (..., N, 3), and each known one want to be the same (..., N, K)."""
        gap = places[..., None, :] - known.place
        return likeness * np.exp(sharpness * np.einsum("...i,...i", gap, gap))

    def agreement(turn: float, shift: Array) -> tuple[float, Array]:
        pull = pulls(moved(own.place, turn, shift))
        return float(own.weight @ pull.max(1)), pull

    best, best_score = proposed, agreement(*proposed)[0] + DOUBT
    turns, shifts = guesses(own.place, known.place, rows, columns)
    scores = pulls(moved_each(own.place, turns, shifts)).max(-1) @ own.weight
    for guess, score in enumerate(scores.tolist()):
        turn, shift = float(turns[guess]), shifts[guess]
        if score > best_score - NEARLY:  # worth a second look with all objects that agree
            turn, shift = procrustes(own, known, agreement(turn, shift)[1])
            score = agreement(turn, shift)[0]
        if score > best_score:
            best, best_score = (turn, shift), score
    return best


def guesses(own: Array, known: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[Array, Array]:
    """Turns (G,) and shifts (G, 3) that lay two of the ``own`` places over two of the ``known``.

    Of every two pairs (own[rows[i]], known[columns[i]]) that are about as far apart here as there.
    """
    first, second = np.triu_indices(len(rows), 1)
    a, b, c, d = rows[first], rows[second], columns[first], columns[second]
    apart, wanted = own[b] - own[a], known[d] - known[c]
    lengths = np.hypot(*apart[:, :2].T) + 0.05, np.hypot(*wanted[:, :2].T) + 0.05
    alike = (np.minimum(*lengths) >= 0.4) & (np.abs(np.log(lengths[0] / lengths[1])) <= STRETCH) & (a != b) & (c != d)
    a, b, c, d, apart, wanted = (one[alike] for one in (a, b, c, d, apart, wanted))
    turns = np.arctan2(wanted[:, 1], wanted[:, 0]) - np.arctan2(apart[:, 1], apart[:, 0])
    middle, goal = 0.5 * (own[a] + own[b]), 0.5 * (known[c] + known[d])
    return turns, goal - moved_each(middle[:, None], turns, np.zeros((len(turns), 3)))[:, 0]


def procrustes(own: Sighted, known: Sighted, pull: Array) -> tuple[float, Array]:
    """The turn about z and shift that bring each object nearest to the one that pulls it most (least squares)."""
    to = pull.argmax(1)
    weight = own.weight * pull.max(1) / own.blur**2
    weight = weight / weight.sum()
    middle, goal = weight @ own.place, weight @ known.place[to]
    here, there = own.place - middle, known.place[to] - goal
    cos = (weight * (here[:, 0] * there[:, 0] + here[:, 1] * there[:, 1])).sum()
    sin = (weight * (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0])).sum()
    turn = float(np.arctan2(sin, cos))
    return turn, goal - moved(middle[None], turn, np.zeros(3))[0]


def moved(places: Array, turn: float, shift: Array) -> Array:
    """Places (N, 3) turned about z, then shifted."""
    return moved_each(places, np.array([turn]), shift[None])[0]


def moved_each(places: Array, turns: Array, shifts: Array) -> Array:
    """Places (N, 3), or (G, N, 3), under each of G turns and shifts (G, 3): (G, N, 3)."""
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    x, y = places[..., 0], places[..., 1]
    turned = np.empty((len(turns), *places.shape[-2:]))
    turned[..., 0], turned[..., 1], turned[..., 2] = cos * x - sin * y, sin * x + cos * y, places[..., 2]
    turned += shifts[:, None]
    return turned
