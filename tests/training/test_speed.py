"""Operations and peaks behind the utilisation in a run's log."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dollhouse.models.onednn_linear import Linear
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.estimate.peak_flops import known_flops, matrix_flops
from dollhouse.training.speed import Speed, flop_counter
from dollhouse.training.train import distill
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, tiny_recipe


def test_products_are_counted_with_and_without_gradient() -> None:
    layer, rows = Linear(32, 48), torch.randn(100, 32)
    for enabled in (True, False):  # without gradient by oneDNN, which torch's counter does not know
        with torch.set_grad_enabled(enabled), flop_counter() as counter:
            layer(rows)
        assert counter.get_total_flops() == 2 * 100 * 32 * 48


@pytest.mark.parametrize("recomputed", [False, True])
def test_counted_operations_are_those_of_the_estimate(
    recomputed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first micro-batch; those of activations that are computed again do not count."""
    counted = []

    def measure(self: Speed, step: int) -> dict[str, float]:
        counted.append(self.flops)
        return {}

    monkeypatch.setattr(Speed, "measure", measure)
    losses, parts = [*PERCEPTION_LOSSES, "text"], [*PERCEPTION_PARTS, *LANGUAGE_PARTS]
    stage = {**STAGE, "steps": 1, "log_every": 1, "micro_batches": 2, "losses": losses, "train": parts}
    recipe = tiny_recipe(activation_checkpointing=recomputed, stages={"only": stage})
    distill(recipe, tmp_path, progress=False)
    estimate = dry_run(recipe)[0]
    assert estimate.micro_batches == 2
    assert 2 * counted[0] == pytest.approx(estimate.flops, rel=0.02)


def test_known_processors() -> None:
    assert known_flops("NVIDIA H100 80GB HBM3", True) == known_flops("NVIDIA H200", True) == 989e12
    assert known_flops("NVIDIA H100 PCIe", True) == 756e12
    assert known_flops("NVIDIA L4", False) == 30.3e12
    assert known_flops("NVIDIA L40S", True) == 362e12
    assert known_flops("NVIDIA RTX A1000", True) is None
    assert 1e9 < matrix_flops(False) < 1e16


def test_measuring_leaves_the_random_numbers() -> None:
    before = torch.random.get_rng_state()
    assert matrix_flops(False) > 0
    assert torch.equal(torch.random.get_rng_state(), before)
