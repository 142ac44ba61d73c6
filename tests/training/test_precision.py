"""Products in bfloat16, with parameters and the optimizer's states in float32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from dollhouse.training.train import distill
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, tiny_recipe


def test_bfloat16_products_with_float32_masters(tmp_path: Path) -> None:
    dtypes: Counter[torch.dtype] = Counter()

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, nn.Linear) and isinstance(output, Tensor):
            dtypes[output.dtype] += 1

    losses, parts = [*PERCEPTION_LOSSES, "text"], [*PERCEPTION_PARTS, *LANGUAGE_PARTS]
    stage = {**STAGE, "steps": 2, "losses": losses, "train": parts}
    hook = register_module_forward_hook(count)
    try:
        distill(tiny_recipe(precision="bfloat16", stages={"only": stage}), tmp_path, progress=False)
    finally:
        hook.remove()
    assert dtypes[torch.bfloat16] > 0.9 * dtypes.total() > 0
    checkpoint = tmp_path / "only" / "checkpoint-2"
    weights = load_file(checkpoint / "model.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    states = torch.load(checkpoint / "optimizer.pt", weights_only=True)["parts"]
    kept = {value.dtype for part in states for state in part["state"].values() for value in state.values()}
    assert kept == {torch.float32}
