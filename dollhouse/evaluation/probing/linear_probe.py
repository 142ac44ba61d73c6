"""Linear probes: what ridge regression decodes from the thinking tokens and from other positions.

Probes are tested on scenes that they were not trained on (:mod:`dollhouse.evaluation.probing.ridge`). A decodable
quantity is present in the hidden states; whether the answers use it is for the ablations to show.

Axes: n samples, F features, t targets, L labels, K thinking tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from dollhouse.data.targets import ObjectTargets
from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.probing.accuracy import sum_by_scene
from dollhouse.evaluation.probing.activations import Activations
from dollhouse.evaluation.probing.ridge import FOLDS, cross_predict, ridge_regression
from dollhouse.geometry import Array
from dollhouse.training.losses.grounding import pair_layer

THINKING = "thinking tokens, mean"
ALL_THINKING = "thinking tokens, concatenated"
SLOTS = "object slots, mean"
SOME_SLOTS = "as many object slots, concatenated"
LAST_SLOT = "last object slot"
FIRST_WORD = "first question token"
LAST_WORD = "last question token"
#: position -> the position with as many features that it is compared with
COUNTERPART = {THINKING: SLOTS, ALL_THINKING: SOME_SLOTS}

COUNT = "number of objects"
COUNT_BY_LABEL = "number of each label"
PRESENCE = "presence of each label"
NEAREST = "labels of the nearest pair"
DISTANCE = "distance between the two named objects"
R2, ACCURACY, RECALL = "R²", "accuracy", "recall at 2"
METRICS = {COUNT: R2, COUNT_BY_LABEL: R2, PRESENCE: ACCURACY, NEAREST: RECALL, DISTANCE: R2}
MIN_SCENES = 2 * FOLDS
RARE = 0.05  #: a label in fewer, or missing from fewer, of the scenes is no target


@dataclass(frozen=True, eq=False)
class ProbeSample:
    """Hidden states of one sequence at the compared positions, and the targets."""

    scene: str
    states: dict[str, Array]  #: position -> (layers + 1, F)
    target: Array  #: (L + 2,) counts by label and the nearest pair's two labels; or (1,) a distance


@dataclass(frozen=True, eq=False)
class ProbeScore:
    """Credits of each sample (n,): ``earned`` by the probe and by ``chance``, out of ``weight``."""

    earned: Array
    chance: Array
    weight: Array


@dataclass
class LinearProbe:
    """Collects samples: one for a scene after a neutral question, and one for a question that names two objects."""

    labels: tuple[str, ...]
    scenes: list[ProbeSample] = field(default_factory=list)
    pairs: list[ProbeSample] = field(default_factory=list)

    def add_scene(self, name: str, activations: Activations, objects: ObjectTargets) -> None:
        """Add a scene; scenes with fewer than two objects have no nearest pair and are left out."""
        if len(objects.label) < 2:
            return
        pairs = list(combinations(range(len(objects.label)), 2))
        nearest = min(pairs, key=lambda pair: float(np.linalg.norm(np.diff(objects.center[list(pair)], axis=0))))
        count = np.bincount(objects.label, minlength=len(self.labels))
        target = np.concatenate([count, objects.label[list(nearest)]]).astype(np.float64)
        self.scenes.append(ProbeSample(name, states_at(activations), target))

    def add_pair(self, scene: str, activations: Activations, metres: float) -> None:
        """Add a question that names two objects at this distance."""
        self.pairs.append(ProbeSample(scene, states_at(activations), np.array([metres])))

    def result(self, seed: int = 0) -> dict[str, Any]:
        """Train and test all probes.

        Returns ``targets``: target -> position -> scores at one layer and after each layer. It is empty where there
        are fewer than MIN_SCENES scenes.
        """
        result: dict[str, Any] = {"scenes": len(self.scenes), "questions": len(self.pairs), "targets": {}}
        if len(self.scenes) < MIN_SCENES:
            return result
        count = np.array([sample.target[:-2] for sample in self.scenes])
        nearest = np.array([sample.target[-2:] for sample in self.scenes]).astype(np.int64)
        share = (count > 0).mean(0)
        common = np.flatnonzero((share >= RARE) & (share <= 1 - RARE))
        pair_labels = np.zeros(count.shape)
        np.put_along_axis(pair_labels, nearest, 1.0, axis=1)
        targets = {COUNT: count.sum(1, keepdims=True), NEAREST: pair_labels}
        if len(common):
            targets |= {COUNT_BY_LABEL: count[:, common], PRESENCE: (count[:, common] > 0).astype(np.float64)}
        result["labels"] = [self.labels[label] for label in common]
        result["targets"] = _probe(self.scenes, targets, seed)
        if len({sample.scene for sample in self.pairs}) >= MIN_SCENES:
            distance = np.array([sample.target for sample in self.pairs])
            result["targets"] |= _probe(self.pairs, {DISTANCE: distance}, seed)
        return result


def states_at(activations: Activations) -> dict[str, Array]:
    """Select the hidden states of the compared positions: position -> (layers + 1, F)."""
    states = activations.hidden_states.numpy()
    count = len(activations.thinking)
    thinking, slots = states[:, activations.thinking.numpy()], states[:, activations.slots.numpy()]
    at = {THINKING: thinking.mean(1), SLOTS: slots.mean(1)}
    if 1 < count <= slots.shape[1]:
        at[ALL_THINKING] = thinking.reshape(len(states), -1)
        at[SOME_SLOTS] = slots[:, :count].reshape(len(states), -1)
    at[LAST_SLOT] = slots[:, -1]
    at[FIRST_WORD] = states[:, int(activations.question[0])]
    at[LAST_WORD] = states[:, int(activations.question[-1])]
    return at


def score_probe(name: str, target: Array, predicted: Array, mean: Array) -> ProbeScore:
    """Score predictions of ``target`` (all (n, t)); chance predicts the ``mean`` of the training folds.

    ``name`` decides the metric. R²: the part of chance's squared error that the probe saves. Accuracy: of the presence
    of each label. Recall at 2: of the nearest pair's labels among the two highest predictions.
    """
    if METRICS[name] == R2:
        weight = ((target - mean) ** 2).sum(1)
        return ProbeScore(weight - ((target - predicted) ** 2).sum(1), np.zeros(len(target)), weight)
    if METRICS[name] == ACCURACY:
        right, usual = (((value > 0.5) == (target > 0.5)).sum(1).astype(float) for value in (predicted, mean))
        return ProbeScore(right, usual, np.full(len(target), float(target.shape[1])))
    found, common = (
        np.take_along_axis(target, np.argsort(-value, axis=1, kind="stable")[:, :2], axis=1).sum(1)
        for value in (predicted, mean)
    )
    return ProbeScore(found, common, target.sum(1))


def _probe(samples: Sequence[ProbeSample], targets: Mapping[str, Array], seed: int) -> dict[str, Any]:
    """Probe all targets of the same samples together, since they share features and folds."""
    scenes = [sample.scene for sample in samples]
    together = np.concatenate(list(targets.values()), axis=1)
    mean = cross_predict(None, np.zeros((len(samples), 1)), together, scenes, seed)
    predicted = {
        place: [
            cross_predict(ridge_regression(), np.array(states, np.float64), together, scenes, seed)
            for states in zip(*(sample.states[place] for sample in samples), strict=True)
        ]
        for place in samples[0].states
    }
    widths = {place: states.shape[1] for place, states in samples[0].states.items()}
    result, start = {}, 0
    for name, target in targets.items():
        columns = slice(start, start := start + target.shape[1])
        scores = {
            place: [score_probe(name, target, values[:, columns], mean[:, columns]) for values in by_layer]
            for place, by_layer in predicted.items()
        }
        result[name] = {"metric": METRICS[name], "n": len(samples), **_summarise(scenes, scores, widths, seed)}
    return result


def _summarise(
    scenes: Sequence[str], scores: Mapping[str, Sequence[ProbeScore]], widths: Mapping[str, int], seed: int
) -> dict[str, Any]:
    layer = pair_layer(len(next(iter(scores.values()))) - 1)

    def ci95(earned: Array, weight: Array) -> tuple[float, float] | None:
        return accuracy_interval(sum_by_scene(scenes, earned), sum_by_scene(scenes, weight), seed=seed)

    positions = {}
    for place, by_layer in scores.items():
        score, counterpart = by_layer[layer], COUNTERPART.get(place)
        over_chance = score.earned - score.chance
        positions[place] = {
            "score": _share(score.earned, score.weight),
            "ci95": ci95(score.earned, score.weight),
            "over_chance": _share(over_chance, score.weight),
            "over_chance_ci95": ci95(over_chance, score.weight),
            "counterpart": counterpart,
            "over_counterpart_ci95": counterpart
            and ci95(score.earned - scores[counterpart][layer].earned, score.weight),
            "features": widths[place],
            "layers": [_share(at.earned, at.weight) for at in by_layer],
        }
    return {"layer": layer, "chance": _share(score.chance, score.weight), "positions": positions}


def _share(earned: Array, weight: Array) -> float:
    total = weight.sum()
    return float(earned.sum() / total) if total else 0.0
