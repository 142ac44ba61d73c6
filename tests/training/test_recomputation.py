"""Activation checkpointing: the same weights from fewer kept activations."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from dollhouse.training.train import distill
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, tiny_recipe
from tests.training.test_interruptions import assert_same_weights


def kept_bytes(out: Path, enabled: bool) -> int:
    """Train in ``out``; return the bytes of activations that were kept for the backward passes."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    losses, parts = [*PERCEPTION_LOSSES, "text"], [*PERCEPTION_PARTS, *LANGUAGE_PARTS]
    stage = {**STAGE, "steps": 2, "losses": losses, "train": parts}
    recipe = tiny_recipe(activation_checkpointing=enabled, stages={"one": stage, "two": stage})
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        distill(recipe, out, progress=False)
    return kept


def test_same_weights_from_fewer_kept_activations(tmp_path: Path) -> None:
    assert kept_bytes(tmp_path / "less", True) < 0.7 * kept_bytes(tmp_path / "all", False)
    assert_same_weights(tmp_path / "all", tmp_path / "less")
