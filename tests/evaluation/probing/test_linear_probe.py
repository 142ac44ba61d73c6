"""The linear probe: ridge by its definition, tested on unseen scenes only, finding what was planted and no more."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dollhouse.data.targets import ObjectTargets
from dollhouse.errors import ScoreError
from dollhouse.evaluation.probing.activations import Activations
from dollhouse.evaluation.probing.linear_probe import (
    ALL_THINKING,
    COUNT,
    COUNT_BY_LABEL,
    DISTANCE,
    LAST_SLOT,
    MIN_SCENES,
    NEAREST,
    PRESENCE,
    SLOTS,
    SOME_SLOTS,
    THINKING,
    LinearProbe,
    cross_predict,
    require_scikit_learn,
    ridge_regression,
    score_probe,
    states_at,
)

LABELS = ("bed", "chair", "lamp", "sofa")
BLOCKS, WIDTH, SLOT_COUNT, K = 3, 12, 6, 2


def test_ridge_is_the_normal_equations_and_the_strength_that_leaves_one_out_best() -> None:
    draw = np.random.default_rng(0)
    x, y, unseen = draw.normal(2, 3, (20, 6)), draw.normal(0, 1, (20, 2)), draw.normal(2, 3, (7, 6))
    y[:, 0] += x[:, 1]
    strengths = np.array([0.5, 20.0, 500.0])

    def fit(rows: np.ndarray, strength: float, mean: np.ndarray, scale: np.ndarray) -> Callable[..., np.ndarray]:
        design = np.column_stack([np.ones(len(rows)), (x[rows] - mean) / scale])
        penalty = strength * np.diag([0.0] + [1.0] * 6)
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ y[rows])
        return lambda rows: np.column_stack([np.ones(len(rows)), (rows - mean) / scale]) @ weights

    whole = np.arange(20)
    mean, scale = x.mean(0), x.std(0)
    errors = np.array(
        [
            np.mean([(y[i] - fit(np.delete(whole, i), strength, mean, scale)(x[[i]])[0]) ** 2 for i in whole], axis=0)
            for strength in strengths
        ]
    )
    best = strengths[errors.argmin(0)]
    assert len(set(best)) == 2, "a penalty for each target"
    found = ridge_regression(strengths).fit(x, y).predict(unseen)
    for column in range(2):
        np.testing.assert_allclose(found[:, column], fit(whole, best[column], mean, scale)(unseen)[:, column])


def test_constant_features_predict_the_mean() -> None:
    draw = np.random.default_rng(1)
    y = draw.normal(0, 1, (12, 1))
    flat = np.full((12, 5), 3.7)
    predicted = ridge_regression().fit(flat, y).predict(flat[:3] + 1.0)
    np.testing.assert_allclose(predicted.reshape(3, 1), np.repeat(y.mean(0, keepdims=True), 3, 0))
    wide = np.column_stack([flat, draw.normal(0, 1, (12, 30))])
    assert np.isfinite(ridge_regression().fit(wide, y).predict(wide)).all(), "more features than samples"


def test_no_scene_is_tested_by_a_probe_trained_on_it() -> None:
    """Features name the scene and the target is the scene's own, so that nothing of it can be learnt elsewhere."""
    scenes = [f"s{number // 3}" for number in range(45)]
    own = np.random.default_rng(0).normal(0, 1, 15)
    y = np.array([[own[int(scene[1:])]] for scene in scenes])
    x = np.eye(15)[[int(scene[1:]) for scene in scenes]]
    predicted, mean = (cross_predict(estimator, x, y, scenes, 2) for estimator in (ridge_regression(), None))
    np.testing.assert_allclose(predicted, mean, atol=1e-9)
    assert len(np.unique(mean.round(9))) == 5, "five folds"
    assert all(len(np.unique(mean[np.array(scenes) == scene].round(9))) == 1 for scene in scenes)
    assert not np.array_equal(mean, cross_predict(None, x, y, scenes, 3)), "another seed, other folds"


def test_missing_scikit_learn_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    require_scikit_learn()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ScoreError, match=r"pip install 'dollhouse\[evaluate\]'"):
        require_scikit_learn()


def scan_of(states: np.ndarray) -> Activations:
    """A sequence [V][T][Q]<answer> of made hidden states (blocks + 1, S, D)."""
    length = states.shape[1]
    return Activations(
        hidden_states=torch.from_numpy(states),
        attention=torch.zeros(BLOCKS, length, length),
        thinking_logits=torch.zeros(K, 5),
        slots=torch.arange(SLOT_COUNT),
        filled=torch.ones(SLOT_COUNT, dtype=torch.bool),
        labels=torch.zeros(SLOT_COUNT, dtype=torch.long),
        thinking=torch.arange(SLOT_COUNT, SLOT_COUNT + K),
        question=torch.arange(SLOT_COUNT + K, length - 1),
        answer=length - 1,
    )


def tally(planted: str, scenes: int = 60) -> LinearProbe:
    """Scenes of random objects, whose numbers by label are written at the positions that ``planted`` names."""
    draw = np.random.default_rng(7)
    write = draw.normal(0, 1, (len(LABELS), WIDTH))
    found = LinearProbe(LABELS)
    for number in range(scenes):
        label = draw.integers(0, len(LABELS), int(draw.integers(2, 6)))
        center = draw.uniform(0, 4, (len(label), 3))
        states = draw.normal(0, 1, (BLOCKS + 1, SLOT_COUNT + K + 4, WIDTH))
        counts = 3 * np.bincount(label, minlength=len(LABELS)) @ write
        places = slice(SLOT_COUNT, SLOT_COUNT + K) if planted == "thinking" else slice(0, SLOT_COUNT)
        if planted != "nowhere":
            states[:, places] += counts
        objects = ObjectTargets(
            label=label,
            colour=np.zeros(len(label), np.int64),
            center=center,
            size=np.ones((len(label), 3)),
            yaw=np.zeros(len(label)),
            has_front=np.zeros(len(label), bool),
            patch_object=np.zeros((1, 1), np.int64),
            patch_depth=np.zeros((1, 1)),
        )
        found.add_scene(f"s{number}", scan_of(states), objects)
        metres = float(np.linalg.norm(center[0] - center[1]))
        states = states.copy()
        states[:, places, 0] += 0.0 if planted == "nowhere" else 5 * metres
        found.add_pair(f"s{number}", scan_of(states), metres)
    return found


def test_positions_compared_are_where_they_are_said_to_be() -> None:
    states = np.arange(2 * 12 * 3, dtype=np.float64).reshape(2, 12, 3)
    at = states_at(scan_of(states))
    np.testing.assert_allclose(at[THINKING], states[:, 6:8].mean(1))
    np.testing.assert_allclose(at[ALL_THINKING], states[:, 6:8].reshape(2, 6))
    np.testing.assert_allclose(at[SLOTS], states[:, :6].mean(1))
    np.testing.assert_allclose(at[SOME_SLOTS], states[:, :2].reshape(2, 6))
    np.testing.assert_allclose(at[LAST_SLOT], states[:, 5])
    np.testing.assert_allclose(at["first question token"], states[:, 8])
    np.testing.assert_allclose(at["last question token"], states[:, 10])


@pytest.mark.parametrize(
    ("planted", "other"), [("thinking", "slots"), pytest.param("slots", "thinking", marks=pytest.mark.slow)]
)
def test_what_was_planted_is_found_there_and_not_elsewhere(planted: str, other: str) -> None:
    places = {"thinking": (THINKING, ALL_THINKING), "slots": (SLOTS, SOME_SLOTS)}
    targets = tally(planted).result()["targets"]
    assert list(targets) == [COUNT, NEAREST, COUNT_BY_LABEL, PRESENCE, DISTANCE]
    for name, target in targets.items():
        for place in places[planted]:
            assert target["positions"][place]["over_chance_ci95"][0] > 0, (name, place)
        for place in places[other]:
            assert target["positions"][place]["over_chance_ci95"][0] <= 0, (name, place)
    for place, counterpart in zip(places["thinking"], places["slots"], strict=True):
        entry = targets[COUNT]["positions"][place]
        assert entry["counterpart"] == counterpart
        low, high = entry["over_counterpart_ci95"]
        assert (low > 0) if planted == "thinking" else (high < 0)


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is() -> None:
    for target in tally("nowhere").result()["targets"].values():
        for entry in target["positions"].values():
            assert entry["over_chance_ci95"][0] <= 0
            assert len(entry["layers"]) == BLOCKS + 1


@pytest.mark.slow
def test_too_few_scenes_are_not_probed() -> None:
    assert tally("slots", MIN_SCENES - 1).result()["targets"] == {}
    assert tally("slots", MIN_SCENES).result()["targets"]


def test_scores_by_hand() -> None:
    present = np.array([[1.0, 0], [1, 0], [1, 1], [0, 0]])
    mean = np.array([[0.5, 0], [1, 0.5], [0.5, 0], [1, 0.5]])
    score = score_probe(PRESENCE, present, np.array([[0.9, 0.1], [0.4, 0.2], [0.6, 0.7], [0.8, 0.9]]), mean)
    assert score.earned.tolist() == [2, 1, 2, 0]
    assert score.chance.tolist() == [1, 2, 0, 1], "a tie counts as absent"
    assert score.weight.tolist() == [2, 2, 2, 2]
    pairs = np.array([[1.0, 1, 0], [1, 0, 1], [0, 0, 1]])
    score = score_probe(NEAREST, pairs, np.array([[3.0, 2, 1], [1, 2, 3], [3, 2, 1]]), np.array([[2.0, 1, 0]] * 3))
    assert (score.earned.tolist(), score.chance.tolist(), score.weight.tolist()) == ([2, 1, 0], [2, 1, 0], [2, 2, 1])
    score = score_probe(COUNT, np.array([[1.0], [4.0]]), np.array([[1.5], [4.0]]), np.array([[2.0], [2.0]]))
    assert (score.earned.tolist(), score.chance.tolist(), score.weight.tolist()) == ([0.75, 4], [0, 0], [1, 4])
