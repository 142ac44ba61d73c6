"""Losses against slow references, and gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import DepthBins
from dollhouse.training.losses.depth import aligned_depth, depth_bin_kl, depth_bin_loss, depth_loss
from dollhouse.training.losses.feature import label_kl, patch_depth_loss
from dollhouse.training.losses.relation import relation_kl
from dollhouse.training.losses.spatial import feature_distance
from dollhouse.training.losses.text import text_kl

BINS = DepthBins(6, 0.5, 8.0)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def randn_with_grad(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


# text


def top_k(teacher: Tensor, count: int) -> tuple[Tensor, Tensor]:
    best = teacher.log_softmax(-1).sort(descending=True)
    return best.indices[:, :count], best.values[:, :count]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_text_kl_of_a_whole_vocabulary_is_the_exact_kl(temperature: float) -> None:
    teacher, logits, lengths = torch.randn(5, 9), torch.randn(5, 9), torch.tensor([2.0, 2, 3, 3, 3])
    got = text_kl(logits, *top_k(teacher, 9), lengths, temperature)
    p, q = (teacher / temperature).softmax(-1), (logits / temperature).softmax(-1)
    weight = lengths.rsqrt()
    exact = (weight * (p * (p / q).log()).sum(-1)).sum() / (1 / lengths).sum() * temperature**2
    torch.testing.assert_close(got, exact, atol=1e-5, rtol=1e-5)
    assert float(text_kl(teacher, *top_k(teacher, 9), lengths, temperature)) == pytest.approx(0, abs=1e-5)


def test_text_kl_has_one_outcome_for_all_other_tokens() -> None:
    teacher, logits = torch.randn(4, 9), torch.randn(4, 9)
    ids, log_probs = top_k(teacher, 3)
    log_probs[1, 2] = -torch.inf  # at this token only two are known
    got = float(text_kl(logits, ids, log_probs, torch.ones(4), 2.0))
    expected = 0.0
    for row in range(4):
        known = [k for k in range(3) if math.isfinite(log_probs[row, k])]
        p = [math.exp(log_probs[row, k]) for k in known]
        own = logits[row].softmax(-1).tolist()
        q = [own[ids[row, k]] for k in known]
        p, q = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
        p, q = [x**0.5 for x in p], [x**0.5 for x in q]
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        expected += 4 * sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)) / 4
    assert got == pytest.approx(expected, rel=1e-4)


def test_text_kl_gradient_outside_the_top_tokens() -> None:
    """Also from tokens outside the teacher's top K, and with a top probability of 1."""
    logits = torch.zeros(1, 6)
    logits[0, 5] = 3.0
    logits.requires_grad_()
    ids, log_probs = torch.tensor([[0, 1]]), torch.tensor([[0.0, -30.0]])
    loss = text_kl(logits, ids, log_probs, torch.ones(1), 1.0)
    loss.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[0, 5] > 0 > logits.grad[0, 0]
    assert float(loss.detach()) == pytest.approx(float(-logits.detach().log_softmax(-1)[0, 0]), rel=1e-4)


def test_text_kl_gradient() -> None:
    ids, log_probs = top_k(torch.randn(3, 7, dtype=torch.float64), 3)

    def loss(logits: Tensor) -> Tensor:
        return text_kl(logits, ids, log_probs, torch.ones(3, dtype=torch.float64), 2.0)

    logits = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert gradcheck(loss, logits, eps=1e-3, atol=1e-3)  # it computes in float32


# depth


def depths(*shape: int) -> Tensor:
    depth = torch.rand(*shape, dtype=torch.float64) * 5 + 0.4
    return depth * (torch.rand(*shape) > 0.2)


def test_bins_are_uniform_in_log_depth() -> None:
    middles = BINS.middles()
    assert BINS.of(middles).tolist() == list(range(6))
    torch.testing.assert_close(middles[1:] / middles[:-1], torch.full((5,), 16 ** (1 / 6)))
    assert BINS.of(torch.tensor([0.01, 0.5, 7.99, 8.0, 100.0])).tolist() == [0, 0, 5, 5, 5]


def known_pixels(depth: Tensor, patch: int) -> list[float]:
    row, column = divmod(patch, 2)
    pixels = depth[row * 3 : row * 3 + 3, column * 3 : column * 3 + 3].flatten().tolist()
    return [depth for depth in pixels if depth > 0]


def reference_bin(depth: float) -> int:
    return min(max(int(math.log(depth / 0.5) / math.log(16) * 6), 0), 5)


def test_depth_bin_losses_match_a_reference() -> None:
    depth, logits = depths(2, 2, 6, 6), torch.randn(2, 2, 4, 6, dtype=torch.float64)
    depth[1, 0, :3, :3] = 0  # a patch without known depth
    choices, divergences = [], []
    for scene in range(2):
        for view in range(2):
            for patch in range(4):
                known = sorted(known_pixels(depth[scene, view], patch))
                if not known:
                    continue
                log_probs = logits[scene, view, patch].log_softmax(-1)
                choices.append(-float(log_probs[reference_bin(known[(len(known) - 1) // 2])]))
                share = [sum(reference_bin(value) == b for value in known) / len(known) for b in range(6)]
                divergences.append(sum(p * (math.log(p) - float(log_probs[b])) for b, p in enumerate(share) if p))
    assert len(choices) == 15
    assert float(depth_bin_loss(logits, depth, BINS)) == pytest.approx(sum(choices) / 15)
    assert float(depth_bin_kl(logits, depth, BINS)) == pytest.approx(sum(divergences) / 15)
    assert gradcheck(lambda x: depth_bin_loss(x, depth, BINS), logits.requires_grad_())
    assert gradcheck(lambda x: depth_bin_kl(x, depth, BINS), logits)


def test_depth_bin_kl_of_the_exact_histogram_is_zero() -> None:
    depth = torch.tensor([[0.6, 0.6], [3.0, 3.0]]).view(1, 1, 2, 2)
    logits = torch.full((1, 1, 1, 6), -30.0)
    logits[..., BINS.of(torch.tensor([0.6, 3.0]))] = 0.0
    assert float(depth_bin_kl(logits, depth, BINS)) == pytest.approx(0, abs=1e-6)
    assert float(depth_bin_loss(logits, depth, BINS)) == pytest.approx(math.log(2), rel=1e-5)


def test_relative_depth_is_aligned() -> None:
    depth, log_depth = depths(2, 2, 6, 6), randn_with_grad(2, 2, 6, 6)
    exact = torch.tensor([True, False])
    aligned = aligned_depth(log_depth, depth, exact)
    torch.testing.assert_close(aligned[0], depth[0])
    again = aligned_depth(log_depth, torch.stack([depth[0], 7 * depth[1]]), exact)
    torch.testing.assert_close(again, aligned)
    truth = torch.where(depth > 0, depth, torch.ones_like(depth)).log()
    assert float(depth_loss(truth + torch.tensor([0.0, 0.4]).view(2, 1, 1, 1), depth, exact)) == pytest.approx(0)
    assert float(depth_loss(truth + 0.4, depth, torch.tensor([True, True]))) == pytest.approx(0.2)


def test_depth_loss_is_absolute_relative_and_of_edges() -> None:
    depth, log_depth = depths(2, 1, 5, 6), randn_with_grad(2, 1, 5, 6)
    metric = torch.tensor([True, False])
    absolute, relative, edges = [], [], {0: [], 1: []}  # type: ignore[var-annotated]
    for row in range(2):
        error = {
            (i, j): float(log_depth[row, 0, i, j].detach()) - math.log(float(depth[row, 0, i, j]))
            for i in range(5)
            for j in range(6)
            if depth[row, 0, i, j] > 0
        }
        mean = sum(error.values()) / len(error)
        absolute += [abs(value) for value in error.values()] if metric[row] else []
        relative += [abs(value - mean) for value in error.values()]
        for (i, j), value in error.items():
            for axis, other in enumerate(((i + 4, j), (i, j + 4))):
                edges[axis] += [abs(error[other] - value)] if other in error and metric[row] else []
    expected = 0.5 * np.mean(absolute) + np.mean(relative) + 0.5 * (np.mean(edges[0]) + np.mean(edges[1]))
    assert float(depth_loss(log_depth, depth, metric)) == pytest.approx(expected)
    assert gradcheck(lambda x: depth_loss(x, depth, metric), log_depth)


# relations


def test_relation_kl_matches_a_reference() -> None:
    logits = randn_with_grad(2, 4, 4, 2)
    probabilities = torch.rand(3, 3, 2, dtype=torch.float64)
    probabilities[0, 2, 1] = torch.nan
    probabilities[1, 2, 0] = 1.0
    matches = [(torch.tensor([3, 0, 2]), torch.tensor([0, 1, 2])), None]
    total = []
    for a in range(3):
        for b in range(a + 1, 3):
            for axis in range(2):
                p = float(probabilities[a, b, axis])
                if math.isnan(p):
                    continue
                q = float(logits.detach()[0, matches[0][0][a], matches[0][0][b], axis].sigmoid())  # type: ignore[index]
                total.append(sum(x * math.log(x / y) for x, y in ((p, q), (1 - p, 1 - q)) if x))
    got = relation_kl(logits, [probabilities, probabilities], matches)
    assert got is not None
    assert len(total) == 5
    assert float(got.detach()) == pytest.approx(sum(total) / 5)
    assert gradcheck(lambda x: relation_kl(x, [probabilities, None], matches), logits)
    assert relation_kl(logits, [None, probabilities], matches) is None
    assert relation_kl(logits, [probabilities * torch.nan, None], matches) is None
    assert relation_kl(logits, [probabilities, None], [(torch.tensor([1]), torch.tensor([0])), None]) is None


# feature


def test_feature_distance_matches_a_reference() -> None:
    mapped, teacher = randn_with_grad(1, 3, 4), 50 * torch.randn(1, 3, 4, dtype=torch.float64) + 7
    known = torch.tensor([[1.0, 0, 1]])
    expected = []
    for patch in (0, 2):
        target = teacher[0, patch]
        target = (target - target.mean()) / (target.var(correction=0) + 1e-5).sqrt()
        expected.append(float((mapped[0, patch] - target).square().mean()))
    assert float(feature_distance(mapped, teacher, known)) == pytest.approx(sum(expected) / 2)
    assert gradcheck(lambda x: feature_distance(x, teacher, known), mapped)


# feature


def test_label_kl_and_patch_depth_loss_match_a_reference() -> None:
    logits, probs = torch.randn(1, 3, 4), torch.rand(1, 3, 4)
    probs[0, 1] = 0
    expected = []
    for patch in (0, 2):
        p, q = probs[0, patch] / probs[0, patch].sum(), logits[0, patch].softmax(-1)
        expected.append(float(probs[0, patch].sum() * (p * (p / q).log()).sum()))
    assert float(label_kl(logits, probs)) == pytest.approx(sum(expected) / float(probs.sum()), rel=1e-4)  # type: ignore[arg-type]
    assert label_kl(logits, torch.zeros(1, 3, 4)) is None
    log_depth, depth = randn_with_grad(1, 3), torch.tensor([[2.0, 0.0, 3.0]], dtype=torch.float64)
    hand = (float(log_depth[0, 0]) - math.log(2)) ** 2 + (float(log_depth[0, 2]) - math.log(3)) ** 2
    assert float(patch_depth_loss(log_depth, depth)) == pytest.approx(hand / 2)  # type: ignore[arg-type]
    assert patch_depth_loss(log_depth, 0 * depth) is None
    assert gradcheck(lambda x: patch_depth_loss(x, depth), log_depth)
    assert gradcheck(lambda x: label_kl(x, probs.double()), randn_with_grad(1, 3, 4), eps=1e-3, atol=1e-3)
    same = F.one_hot(torch.tensor([[0, 1, 2]]), 4).float()
    assert float(label_kl(200 * same, same)) == pytest.approx(0)  # type: ignore[arg-type]
