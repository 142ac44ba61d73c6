"""The linear probe: ridge by its definition, tested on unseen scenes only, finding what was planted and no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dollhouse.data.targets import ObjectTargets
from dollhouse.evaluation.probing.activations import Scan
from dollhouse.evaluation.probing.linear_probe import (
    ALL_THINKING,
    DISTANCE,
    FEWEST,
    LAST_SLOT,
    NEAREST,
    NUMBER,
    NUMBERS,
    PRESENCE,
    SLOTS,
    SOME_SLOTS,
    THINKING,
    DecodingTally,
    score,
    states_at,
)
from dollhouse.evaluation.probing.ridge import folds_of, predict_unseen, ridge_predict

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
        return lambda told: np.column_stack([np.ones(len(told)), (told - mean) / scale]) @ weights

    whole = np.arange(20)
    mean, scale = x.mean(0), x.std(0)
    errors = [
        np.mean([(y[i] - fit(np.delete(whole, i), strength, mean, scale)(x[[i]])[0]) ** 2 for i in whole])
        for strength in strengths
    ]
    best = strengths[int(np.argmin(errors))]
    np.testing.assert_allclose(ridge_predict(x, y, unseen, strengths), fit(whole, best, mean, scale)(unseen))


def test_what_never_changes_says_nothing() -> None:
    draw = np.random.default_rng(1)
    y = draw.normal(0, 1, (12, 1))
    flat = np.full((12, 5), 3.7)
    np.testing.assert_allclose(ridge_predict(flat, y, flat[:3] + 1.0), np.repeat(y.mean(0, keepdims=True), 3, 0))
    wide = np.column_stack([flat, draw.normal(0, 1, (12, 30))])
    assert np.isfinite(ridge_predict(wide, y, wide)).all(), "more features than samples"


def test_a_scene_is_never_tested_by_a_probe_that_saw_it() -> None:
    scenes = [f"s{number // 3}" for number in range(45)]
    fold = folds_of(scenes, seed=2)
    assert all(len(set(fold[np.array(scenes) == scene])) == 1 for scene in scenes)
    assert sorted(np.bincount(fold[::3])) == [3] * 5
    # a feature that names the scene, and a target that is the scene's own: nothing of it can be known elsewhere
    own = np.random.default_rng(0).normal(0, 1, 15)
    y = np.array([[own[int(scene[1:])]] for scene in scenes])
    predicted, mean = predict_unseen(np.eye(15)[[int(scene[1:]) for scene in scenes]], y, fold)
    np.testing.assert_allclose(predicted, mean, atol=1e-9)


def scan_of(states: np.ndarray) -> Scan:
    """A sequence [V][T][Q]<answer> of made hidden states (blocks + 1, S, D)."""
    length = states.shape[1]
    return Scan(
        states=torch.from_numpy(states),
        attention=torch.zeros(BLOCKS, length, length),
        thinking_logits=torch.zeros(K, 5),
        slots=torch.arange(SLOT_COUNT),
        filled=torch.ones(SLOT_COUNT, dtype=torch.bool),
        labels=torch.zeros(SLOT_COUNT, dtype=torch.long),
        thinking=torch.arange(SLOT_COUNT, SLOT_COUNT + K),
        question=torch.arange(SLOT_COUNT + K, length - 1),
        answer=length - 1,
    )


def tally(planted: str, scenes: int = 60) -> DecodingTally:
    """Scenes of random objects, whose numbers by label are written at the positions that ``planted`` names."""
    draw = np.random.default_rng(7)
    write = draw.normal(0, 1, (len(LABELS), WIDTH))
    found = DecodingTally(LABELS)
    for number in range(scenes):
        label = draw.integers(0, len(LABELS), int(draw.integers(2, 6)))
        center = draw.uniform(0, 4, (len(label), 3))
        states = draw.normal(0, 1, (BLOCKS + 1, SLOT_COUNT + K + 4, WIDTH))
        told = 3 * np.bincount(label, minlength=len(LABELS)) @ write
        places = slice(SLOT_COUNT, SLOT_COUNT + K) if planted == "thinking" else slice(0, SLOT_COUNT)
        if planted != "nowhere":
            states[:, places] += told
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


@pytest.mark.parametrize(("planted", "other"), [("thinking", "slots"), ("slots", "thinking")])
def test_what_was_planted_is_found_there_and_not_elsewhere(planted: str, other: str) -> None:
    places = {"thinking": (THINKING, ALL_THINKING), "slots": (SLOTS, SOME_SLOTS)}
    targets = tally(planted).result()["targets"]
    assert list(targets) == [NUMBER, NUMBERS, PRESENCE, NEAREST, DISTANCE]
    for name, told in targets.items():
        for place in places[planted]:
            assert told["positions"][place]["over_chance_ci95"][0] > 0, (name, place)
        for place in places[other]:
            assert told["positions"][place]["over_chance_ci95"][0] <= 0, (name, place)
    for place, counterpart in zip(places["thinking"], places["slots"], strict=True):
        entry = targets[NUMBER]["positions"][place]
        assert entry["counterpart"] == counterpart
        low, high = entry["over_counterpart_ci95"]
        assert (low > 0) if planted == "thinking" else (high < 0)


def test_nothing_is_found_where_nothing_is() -> None:
    for told in tally("nowhere").result()["targets"].values():
        for entry in told["positions"].values():
            assert entry["over_chance_ci95"][0] <= 0
            assert len(entry["blocks"]) == BLOCKS + 1


def test_too_few_scenes_are_not_probed() -> None:
    assert tally("slots", FEWEST - 1).result()["targets"] == {}
    assert tally("slots", FEWEST).result()["targets"]


def test_scores_by_hand() -> None:
    """A probe that can know nothing earns chance exactly."""
    fold = np.array([0, 1, 0, 1])
    flat = np.zeros((4, 2))
    there = np.array([[1.0, 0], [1, 0], [1, 1], [0, 0]])
    told = score(PRESENCE, there, flat, fold)
    np.testing.assert_allclose(told.gained, told.chance)
    np.testing.assert_allclose(told.chance, [1, 2, 0, 1])  # always says what is commoner in the other fold; a tie: no
    assert told.weight.tolist() == [2, 2, 2, 2]
    nearest = score(NEAREST, np.array([[1.0, 1, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]]), flat, fold)
    np.testing.assert_allclose(nearest.gained, nearest.chance)
    squares = score(NUMBER, np.array([[1.0], [2], [3], [6]]), flat, fold)
    np.testing.assert_allclose(squares.gained, 0, atol=1e-12)
    np.testing.assert_allclose(squares.weight, [9, 0, 1, 16])
