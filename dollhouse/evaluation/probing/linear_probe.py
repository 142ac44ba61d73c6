"""What a linear probe reads from the thinking tokens, and what the same probe reads from other positions.

A probe is trained on some scenes and tested on others (:mod:`dollhouse.evaluation.probing.ridge`). That something can be read
says that it is there, not that the answers use it; the controls say that. Knows scans and true boxes.

Axes: n samples, F features, t targets, L labels, K thinking tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.data.targets import ObjectTargets
from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.probing.accuracy import by_scene
from dollhouse.evaluation.probing.activations import Scan
from dollhouse.evaluation.probing.ridge import FOLDS, folds_of, predict_unseen
from dollhouse.geometry import Array
from dollhouse.training.losses.grounding import pair_layer

THINKING = "thinking tokens, mean"
ALL_THINKING = "thinking tokens, side by side"
SLOTS = "object slots, mean"
SOME_SLOTS = "as many object slots, side by side"
LAST_SLOT = "last object slot"
FIRST_WORD = "first question token"
LAST_WORD = "last question token"
#: What each position is compared with: one with as many numbers.
COUNTERPART = {THINKING: SLOTS, ALL_THINKING: SOME_SLOTS}

NUMBER = "number of objects"
NUMBERS = "number of each label"
PRESENCE = "which labels are there"
NEAREST = "labels of the nearest pair"
DISTANCE = "distance of the two objects asked about"
R2 = "R²"
BOX_FEATURES = {NUMBER: R2, NUMBERS: R2, PRESENCE: "accuracy", NEAREST: "found of two", DISTANCE: R2}
FEWEST = 2 * FOLDS  #: scenes without which nothing can be trained and tested
RARE = 0.05  #: a label in fewer, or missing in fewer, of the scenes is not asked for


@dataclass(frozen=True, eq=False)
class Sample:
    """Hidden states of one sequence at the positions compared, and what is true there."""

    scene: str
    states: dict[str, Array]  #: position -> (blocks + 1, F)
    truth: Array  #: (L + 2,) counts by label and the nearest pair's two labels; or (1,) a distance


@dataclass(frozen=True, eq=False)
class Scored:
    """What a probe earned on each sample (n,): ``gained`` and ``chance`` out of ``weight``."""

    gained: Array
    chance: Array
    weight: Array


@dataclass
class DecodingTally:
    """Gathers samples: one a scene after a neutral question, and one a question that names two objects."""

    labels: tuple[str, ...]
    scenes: list[Sample] = field(default_factory=list)
    pairs: list[Sample] = field(default_factory=list)

    def add_scene(self, name: str, scan: Scan, objects: ObjectTargets) -> None:
        """Count a scene; of one with fewer than two objects no nearest pair is known, and it is left out."""
        if len(objects.label) < 2:
            return
        apart = {
            (one, other): float(np.linalg.norm(objects.center[one] - objects.center[other]))
            for one, other in combinations(range(len(objects.label)), 2)
        }
        nearest = min(apart, key=lambda pair: apart[pair])
        count = np.bincount(objects.label, minlength=len(self.labels))
        truth = np.concatenate([count, objects.label[list(nearest)]]).astype(np.float64)
        self.scenes.append(Sample(name, states_at(scan), truth))

    def add_pair(self, scene: str, scan: Scan, metres: float) -> None:
        """Count a question that names two objects, so far apart."""
        self.pairs.append(Sample(scene, states_at(scan), np.array([metres])))

    def result(self, seed: int = 0) -> dict[str, Any]:
        """``targets``: what is read -> position -> figures at the block told, and scores after each block.

        Empty ``targets`` where there are fewer than FEWEST scenes.
        """
        told: dict[str, Any] = {"scenes": len(self.scenes), "questions": len(self.pairs), "targets": {}}
        if len(self.scenes) < FEWEST:
            return told
        count = np.array([sample.truth[:-2] for sample in self.scenes])
        nearest = np.array([sample.truth[-2:] for sample in self.scenes]).astype(np.int64)
        share = (count > 0).mean(0)
        asked = np.flatnonzero((share >= RARE) & (share <= 1 - RARE))
        pair_of = np.zeros(count.shape)
        np.put_along_axis(pair_of, nearest, 1.0, axis=1)
        targets: dict[str, tuple[Sequence[Sample], Array]] = {NUMBER: (self.scenes, count.sum(1, keepdims=True))}
        if len(asked):
            targets[NUMBERS] = (self.scenes, count[:, asked])
            targets[PRESENCE] = (self.scenes, (count[:, asked] > 0).astype(np.float64))
        targets[NEAREST] = (self.scenes, pair_of)
        if len({sample.scene for sample in self.pairs}) >= FEWEST:
            targets[DISTANCE] = (self.pairs, np.array([sample.truth for sample in self.pairs]))
        told["labels"] = [self.labels[label] for label in asked]
        told["targets"] = {name: _table(name, samples, truth, seed) for name, (samples, truth) in targets.items()}
        return told


def states_at(scan: Scan) -> dict[str, Array]:
    """Hidden states of one sequence at the positions that are compared: position -> (blocks + 1, F)."""
    states = scan.states.numpy()
    count = len(scan.thinking)
    thinking, slots = states[:, scan.thinking.numpy()], states[:, scan.slots.numpy()]
    at = {THINKING: thinking.mean(1), SLOTS: slots.mean(1)}
    if 1 < count <= slots.shape[1]:
        at[ALL_THINKING] = thinking.reshape(len(states), -1)
        at[SOME_SLOTS] = slots[:, :count].reshape(len(states), -1)
    at[LAST_SLOT] = slots[:, -1]
    at[FIRST_WORD] = states[:, int(scan.question[0])]
    at[LAST_WORD] = states[:, int(scan.question[-1])]
    return at


def _table(name: str, samples: Sequence[Sample], truth: Array, seed: int) -> dict[str, Any]:
    scenes = [sample.scene for sample in samples]
    fold = folds_of(scenes, seed=seed)
    blocks = len(next(iter(samples[0].states.values()))) - 1
    told = pair_layer(blocks)
    scored = {
        place: [
            score(name, truth, np.array([sample.states[place][block] for sample in samples], dtype=np.float64), fold)
            for block in range(blocks + 1)
        ]
        for place in samples[0].states
    }
    positions = {}
    for place, each in scored.items():
        one, counterpart = each[told], COUNTERPART.get(place)
        positions[place] = {
            "score": _share(one.gained, one.weight),
            "ci95": _interval(scenes, one.gained, one.weight, seed),
            "over_chance": _share(one.gained - one.chance, one.weight),
            "over_chance_ci95": _interval(scenes, one.gained - one.chance, one.weight, seed),
            "counterpart": counterpart,
            "over_counterpart_ci95": None
            if counterpart is None
            else _interval(scenes, one.gained - scored[counterpart][told].gained, one.weight, seed),
            "numbers": samples[0].states[place].shape[1],
            "blocks": [_share(at.gained, at.weight) for at in each],
        }
    chance = next(iter(scored.values()))[told]
    return {
        "measure": BOX_FEATURES[name],
        "n": len(samples),
        "block": told,
        "chance": _share(chance.chance, chance.weight),
        "positions": positions,
    }


def score(name: str, truth: Array, x: Array, fold: NDArray[np.int64]) -> Scored:
    """What a probe on features ``x`` (n, F) earns on ``truth`` (n, t); ``name`` decides how that is measured.

    R²: the part of the squared error of always saying the mean that the probe saves. Accuracy: labels told rightly to
    be there or not, against always saying what is commoner. Found of two: the nearest pair's labels among the two
    likeliest, against always saying the commonest two. "Always" is learnt on the probe's own training scenes.
    """
    predicted, mean = predict_unseen(x, truth, fold)
    if BOX_FEATURES[name] == R2:
        weight = ((truth - mean) ** 2).sum(1)
        return Scored(weight - ((truth - predicted) ** 2).sum(1), np.zeros(len(truth)), weight)
    if BOX_FEATURES[name] == "accuracy":
        right, usual = (predicted > 0.5) == (truth > 0.5), (mean > 0.5) == (truth > 0.5)
        return Scored(right.sum(1).astype(float), usual.sum(1).astype(float), np.full(len(truth), truth.shape[1] * 1.0))
    found, common = (
        np.take_along_axis(truth, np.argsort(-value, axis=1, kind="stable")[:, :2], axis=1).sum(1)
        for value in (predicted, mean)
    )
    return Scored(found, common, truth.sum(1))


def _share(gained: Array, weight: Array) -> float:
    total = weight.sum()
    return float(gained.sum() / total) if total else 0.0


def _interval(scenes: Sequence[str], gained: Array, weight: Array, seed: int) -> tuple[float, float] | None:
    return accuracy_interval(by_scene(scenes, gained), by_scene(scenes, weight), seed=seed)
