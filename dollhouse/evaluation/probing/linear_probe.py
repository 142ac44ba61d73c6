"""Linear probes: what ridge regression decodes from the thinking tokens and from other positions.

What is decodable, on unseen scenes, is present in the hidden states; the ablations show whether the answers use it.
Axes: n samples, F features, t targets, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from dollhouse.data.targets import ObjectTargets
from dollhouse.errors import ScoreError
from dollhouse.evaluation.probing.accuracy import scene_interval
from dollhouse.evaluation.probing.activations import Activations
from dollhouse.geometry import Array
from dollhouse.training.losses.grounding import pair_layer

THINKING, ALL_THINKING = "thinking tokens, mean", "thinking tokens, concatenated"
SLOTS, SOME_SLOTS, LAST_SLOT = "object slots, mean", "as many object slots, concatenated", "last object slot"
FIRST_WORD, LAST_WORD = "first question token", "last question token"
#: position -> the position with as many features that it is compared with
COUNTERPART = {THINKING: SLOTS, ALL_THINKING: SOME_SLOTS}

COUNT, COUNT_BY_LABEL, PRESENCE = "number of objects", "number of each label", "presence of each label"
NEAREST, DISTANCE = "labels of the nearest pair", "distance between the two named objects"
R2, ACCURACY, RECALL = "R²", "accuracy", "recall at 2"
METRICS = {COUNT: R2, COUNT_BY_LABEL: R2, PRESENCE: ACCURACY, NEAREST: RECALL, DISTANCE: R2}
ALPHAS = np.logspace(-1, 5, 13)  #: penalties to choose from, on standardised features
FOLDS = 5
MIN_SCENES = 2 * FOLDS
RARE = 0.05  #: a label in fewer, or missing from fewer, of the scenes is no target


class ProbeSample(NamedTuple):
    """Hidden states of one sequence at the compared positions, and the targets."""

    scene: str
    states: dict[str, Array]  #: position -> (layers + 1, F)
    target: Array  #: (L + 2,) counts by label and the nearest pair's two labels; or (1,) a distance


class ProbeScore(NamedTuple):
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
        count, nearest = np.split(np.array([sample.target for sample in self.scenes]), [-2], axis=1)
        share = (count > 0).mean(0)
        common = np.flatnonzero((share >= RARE) & (share <= 1 - RARE))
        pair_labels = np.zeros(count.shape)
        np.put_along_axis(pair_labels, nearest.astype(np.int64), 1.0, axis=1)
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
    states, question = activations.hidden_states.numpy(), activations.question.numpy()
    count = len(activations.thinking)
    thinking, slots = states[:, activations.thinking.numpy()], states[:, activations.slots.numpy()]
    at = {THINKING: thinking.mean(1), SLOTS: slots.mean(1)}
    if 1 < count <= slots.shape[1]:
        at[ALL_THINKING] = thinking.reshape(len(states), -1)
        at[SOME_SLOTS] = slots[:, :count].reshape(len(states), -1)
    return at | {LAST_SLOT: slots[:, -1], FIRST_WORD: states[:, question[0]], LAST_WORD: states[:, question[-1]]}


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


def require_scikit_learn() -> None:
    """Raise ScoreError where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ScoreError("linear probes need scikit-learn: pip install 'dollhouse[evaluate]'") from error


def ridge_regression(alphas: Array = ALPHAS) -> Any:
    """Build standardisation and ridge regression; each target's penalty minimises its leave-one-out error."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=alphas, alpha_per_target=True))


def cross_predict(estimator: Any, x: Array, y: Array, groups: Sequence[str], seed: int = 0) -> Array:
    """Predict ``y`` (n, t) from ``x`` (n, F), each sample by an estimator fitted on other groups.

    ``estimator`` None predicts the mean of the other folds: the level of chance.
    """
    from sklearn.dummy import DummyRegressor
    from sklearn.model_selection import GroupKFold, cross_val_predict

    folds = GroupKFold(min(FOLDS, len(set(groups))), shuffle=True, random_state=seed)
    predicted = cross_val_predict(estimator or DummyRegressor(), x, y, groups=np.asarray(groups), cv=folds)
    return np.asarray(predicted, dtype=np.float64).reshape(y.shape)


def _probe(samples: Sequence[ProbeSample], targets: Mapping[str, Array], seed: int) -> dict[str, Any]:
    """Probe all targets of the same samples together, since they share features and folds."""
    scenes, places = [sample.scene for sample in samples], list(samples[0].states)
    together = np.concatenate(list(targets.values()), axis=1)
    mean = cross_predict(None, np.zeros((len(samples), 1)), together, scenes, seed)
    predicted = {
        place: [
            cross_predict(ridge_regression(), np.array(states, np.float64), together, scenes, seed)
            for states in zip(*(sample.states[place] for sample in samples), strict=True)
        ]
        for place in places
    }
    result, start = {}, 0
    for name, target in targets.items():
        columns = slice(start, start := start + target.shape[1])
        scores = {
            place: [score_probe(name, target, values[:, columns], mean[:, columns]) for values in predicted[place]]
            for place in places
        }
        result[name] = {"metric": METRICS[name], "n": len(samples), **_summarise(scenes, scores, seed)}
        for place, entry in result[name]["positions"].items():
            entry["features"] = samples[0].states[place].shape[1]
    return result


def _summarise(scenes: Sequence[str], scores: Mapping[str, Sequence[ProbeScore]], seed: int) -> dict[str, Any]:
    layer = pair_layer(len(scores[THINKING]) - 1)
    positions = {}
    for place, by_layer in scores.items():
        (earned, chance, weight), counterpart = by_layer[layer], COUNTERPART.get(place)
        positions[place] = {
            "score": _share(earned, weight),
            "ci95": scene_interval(scenes, earned, weight, seed),
            "over_chance": _share(earned - chance, weight),
            "over_chance_ci95": scene_interval(scenes, earned - chance, weight, seed),
            "counterpart": counterpart,
            "over_counterpart_ci95": counterpart
            and scene_interval(scenes, earned - scores[counterpart][layer].earned, weight, seed),
            "layers": [_share(at.earned, at.weight) for at in by_layer],
        }
    return {"layer": layer, "chance": _share(chance, weight), "positions": positions}


def _share(earned: Array, weight: Array) -> float:
    total = weight.sum()
    return float(earned.sum() / total) if total else 0.0
