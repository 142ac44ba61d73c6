"""Memory of each process of a run: the arithmetic, and estimates within a tenth of what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dollhouse.training.estimate.live_memory import LiveMemory, StepMemory, without_memory
from tests.conftest import LONG
from tests.fixtures.processes import finish, start
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, TINY, tiny_tree

MEMORY = StepMemory(frozen=1000, trained=400, gradients=360, states=800, activations=50, passes=380, update=30)


def test_one_process_holds_gradients_between_micro_batches_only() -> None:
    assert MEMORY.peak() == 1000 + 400 + 800 + max(380, 360 + 30)
    assert MEMORY.peak(micro_batches=2) == 1000 + 400 + 800 + 360 + 50


def test_replicas_hold_buckets_for_all_trained_weights() -> None:
    assert MEMORY.peak(2, "ddp") == 1000 + 400 + 800 + 400 + 50


def test_shards_hold_all_trained_weights_during_a_pass_only() -> None:
    shares = (400 + 800 + 360) // 4
    assert MEMORY.peak(4, "fsdp", cuda=True) == 1000 + shares + 400 + max(380, 400)
    in_main_memory = 1000 + 400 + 1000 + (400 + 800) // 4 + max(360 // 4 + 800, 400 + 800)
    assert MEMORY.peak(4, "fsdp") == in_main_memory


def test_gradients_count_apart_from_the_tensors_of_a_pass() -> None:
    fake, model = without_memory(lambda: nn.Sequential(nn.Linear(100, 100, False), nn.Linear(100, 100, False)))
    live = LiveMemory(model.parameters())
    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(lambda parameter: live.set_apart(parameter.grad))
    with fake, live:
        model(torch.empty(1, 100)).sum().backward()
    weight_bytes, row_bytes = 4 * 100 * 100, 4 * 100
    assert live.apart == 2 * weight_bytes
    assert 2 * weight_bytes < live.peak < 2 * weight_bytes + 10 * row_bytes
    assert weight_bytes < live.peak_without_apart < weight_bytes + 10 * row_bytes
    live.reset_peak()
    assert live.peak == live.now + live.apart
    model.zero_grad()
    assert live.apart == 0


MEASURE = """
import sys
from pathlib import Path
from dollhouse.training.estimate.memory import peak_resident_bytes
from dollhouse.training.recipes import read_recipe
from dollhouse.training.train import distill
distill(read_recipe(sys.argv[1], [sys.argv[2]]), Path(sys.argv[3]), progress=False)
print(peak_resident_bytes())
"""
ESTIMATE = """
import sys
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.estimate.memory import resident_bytes
from dollhouse.training.recipes import read_recipe
memory = dry_run(read_recipe(sys.argv[1], []))[0].memory
print(resident_bytes() + memory.peak(2, sys.argv[2]))
"""


def printed(code: str, count: int, *arguments: str) -> list[int]:
    """Run Python code in processes that join each other; return the number that each prints last."""
    processes = start([sys.executable, "-c", code, *arguments], count)
    outputs = finish(processes)
    assert [process.returncode for process in processes] == [0] * count, outputs
    return [int(text.splitlines()[-1]) for text, _ in outputs]


@LONG
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_estimated_memory_of_two_processes_is_within_a_tenth_of_the_measured(kind: str, tmp_path: Path) -> None:
    """A student of 164 million parameters: three layers of the paper's language model."""
    text = {"hidden_size": 2048, "num_hidden_layers": 3, "num_attention_heads": 16, "intermediate_size": 8192}
    student = {**TINY["student"], "image_size": 126, "text": {"model_type": "gpt_neox", **text}}
    parts = {"losses": [*PERCEPTION_LOSSES, "text"], "train": [*PERCEPTION_PARTS, *LANGUAGE_PARTS]}
    stage = {**STAGE, **parts, "steps": 2, "micro_batches": 2, "muon_learning_rate": 0}
    (tmp_path / "recipe.yaml").write_text(json.dumps(tiny_tree(student=student, stages={"only": stage})))
    recipe = str(tmp_path / "recipe.yaml")
    measured = max(printed(MEASURE, 2, recipe, f"parallel={kind}", str(tmp_path / "run")))
    estimated = printed(ESTIMATE, 1, recipe, kind)[0]
    print(
        f"{kind}: estimated {estimated / 1e9:.3f} GB, measured {measured / 1e9:.3f} GB: {estimated / measured - 1:+.1%}"
    )
    assert estimated == pytest.approx(measured, rel=0.1)
