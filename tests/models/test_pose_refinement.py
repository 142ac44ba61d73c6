"""Poses are refined by the objects that views share, and unchanged where nothing is shared."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.models.dollhouse.pose_refinement import refine_cameras
from dollhouse.models.dollhouse.voting_head import VoteOutput
from dollhouse.runtime import registration
from dollhouse.runtime.registration import Array, ObjectSet, align, fit, transform

LABELS, COLOURS = 6, 4


def room(rng: np.random.Generator, count: int) -> ObjectSet:
    """``count`` objects of different kinds, somewhere in a room of 6 by 6 metres."""
    kinds = np.eye(LABELS)[rng.permutation(LABELS)[:count]]
    colours = np.eye(COLOURS)[rng.integers(0, COLOURS, count)]
    places = rng.uniform([-3, 0, 0], [3, 6, 1], (count, 3))
    return ObjectSet(places, kinds, colours, rng.normal(0, 0.3, (count, 3)), np.ones(count), np.full(count, 0.4))


def viewed_from(objects: ObjectSet, turn: float, position: Array) -> ObjectSet:
    """The objects in the frame of a camera that stands at ``position`` and is turned by ``turn``."""
    return replace(objects, position=transform(objects.position - position, -turn, np.zeros(3)))


@pytest.mark.parametrize("seed", range(8))
def test_a_wrong_pose_is_corrected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects = room(rng, 4)
    turn, position = rng.uniform(-np.pi, np.pi), np.append(rng.uniform(-2, 2, 2), 0.05)
    found_turn, found = fit(
        viewed_from(objects, turn, position), objects, (turn + 1.0, position + np.array([1.5, -1.0, 0.2]))
    )
    assert np.cos(found_turn - turn) == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(found, position, atol=1e-5)


def test_a_good_pose_is_unchanged() -> None:
    objects = room(np.random.default_rng(0), 4)
    position = np.array([1.0, 0.5, 0.0])
    noisy = (0.31, position + 0.03)
    assert fit(viewed_from(objects, 0.3, position), objects, noisy) is noisy


@pytest.mark.parametrize("count", [0, 1])
def test_one_shared_object_is_not_enough(count: int) -> None:
    objects = room(np.random.default_rng(1), 5)
    own = viewed_from(objects, 2.0, np.array([2.0, 2.0, 0.0]))
    few = ObjectSet(*[value[:count] for value in vars(own).values()])
    proposed = (0.0, np.zeros(3))
    assert fit(few, objects, proposed) is proposed


def test_a_wrong_match_does_not_spoil_the_rest() -> None:
    rng = np.random.default_rng(3)
    objects = room(rng, 5)
    own = viewed_from(objects, 1.2, np.array([1.0, -1.0, 0.0]))
    own.position[0] += [2.5, 1.0, 0.0]  # another one of its kind, elsewhere
    turn, shift = fit(own, objects, (0.0, np.zeros(3)))
    assert turn == pytest.approx(1.2, abs=0.05)
    np.testing.assert_allclose(shift, [1.0, -1.0, 0.0], atol=0.15)


def test_align_is_least_squares() -> None:
    """Beside the closed form, a search over turns."""
    rng = np.random.default_rng(4)
    objects = room(rng, 5)
    own = viewed_from(objects, 0.7, np.array([0.5, 0.2, 0.0]))
    own.position[:] += rng.normal(0, 0.1, own.position.shape)
    turns, shifts = align(own.position, objects.position[None].repeat(2, 0), np.full((2, 5), 0.3))
    turn, shift = float(turns[1]), shifts[1]

    def misfit(turn: float, shift: Array) -> float:
        return float(((transform(own.position, turn, shift) - objects.position) ** 2).sum())

    best = misfit(turn, shift)
    for other in np.linspace(turn - 0.2, turn + 0.2, 41):
        goal = (objects.position - transform(own.position, other, np.zeros(3))).mean(0)
        assert misfit(other, goal) >= best - 1e-9


def test_refined_cameras_keep_the_first_view() -> None:
    rng = np.random.default_rng(5)
    objects = room(rng, 4)
    objects = ObjectSet(*[value.repeat(5, axis=0) for value in vars(objects).values()])  # five patches show each
    patches = len(objects.position)
    turn, position = 1.0, np.array([1.5, 0.5, 0.0])
    views = [objects, viewed_from(objects, turn, position)]
    own = torch.tensor(np.concatenate([view.position for view in views]), dtype=torch.float32)[None]
    logits = torch.full((1, 2 * patches, LABELS + 1), -9.0)
    logits[..., :LABELS] += 18 * torch.tensor(np.tile(objects.label, (2, 1)), dtype=torch.float32)
    unit = torch.tensor([1.0, 0.0]).expand(1, 2 * patches, 2)
    votes = VoteOutput(
        label_logits=logits,
        colour_logits=9 * torch.tensor(np.tile(objects.colour, (2, 1)), dtype=torch.float32)[None],
        log_depth=torch.zeros(1, 2 * patches),
        center=own,
        own_center=own,
        log_size=torch.tensor(np.tile(objects.log_size, (2, 1)), dtype=torch.float32)[None],
        own_front=unit,
        own_axis=unit,
        front=unit,
        axis=unit,
    )
    heading = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    cameras = Cameras(torch.tensor([0.0, -1.0, 0.0]).expand(1, 2, 3), heading, torch.zeros(1, 2, 3), torch.ones(1, 2))
    corrected = refine_cameras(votes, cameras)
    assert torch.equal(corrected.heading[:, 0], heading[:, 0])
    assert torch.equal(corrected.position[:, 0], torch.zeros(1, 3))
    np.testing.assert_allclose(corrected.heading[0, 1], [np.cos(turn), np.sin(turn)], atol=1e-3)
    np.testing.assert_allclose(corrected.position[0, 1], position, atol=5e-3)
    placed = votes.with_cameras(corrected)
    np.testing.assert_allclose(placed.center[0, patches:], objects.position, atol=1e-2)


def test_many_equal_views_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object of a view is like all of fifteen earlier ones: without bounds 16,000 pairs, and their pairs."""
    rng = np.random.default_rng(4)
    single = room(rng, 6)
    own = replace(single.joined(single), label=np.ones((12, LABELS)) / LABELS**0.5)
    known = own
    for _ in range(14):
        known = known.joined(own)
    turn, position = 0.7, np.array([1.0, -0.5, 0.0])
    tracemalloc.start()
    found_turn, found = fit(viewed_from(own, turn, position), known, (0.0, np.zeros(3)))
    assert tracemalloc.get_traced_memory()[1] < 400e6
    tracemalloc.stop()
    assert np.cos(found_turn - turn) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(found, position, atol=0.05)
    monkeypatch.setattr(registration, "BLOCK", 10**9)
    again_turn, again = fit(viewed_from(single, turn, position), single, (0.0, np.zeros(3)))
    monkeypatch.setattr(registration, "BLOCK", 3)
    blocks_turn, blocks = fit(viewed_from(single, turn, position), single, (0.0, np.zeros(3)))
    assert again_turn == blocks_turn
    assert np.array_equal(again, blocks)
