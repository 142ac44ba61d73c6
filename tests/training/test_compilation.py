"""torch.compile of parts of the student: the losses of an eager run, and its names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from dollhouse.errors import RecipeError
from dollhouse.training.compilation import check_compiler
from dollhouse.training.train import distill
from tests.conftest import LONG
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, tiny_recipe


def test_missing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RecipeError, match=r"^compile: there is no C\+\+ compiler \(g\+\+\) on PATH: .*$"):
        check_compiler()


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("recomputed", [False, True])
def test_losses_and_names_are_those_of_an_eager_run(recomputed: bool, tmp_path: Path) -> None:
    """A compiled run also continues as an eager one."""
    try:
        check_compiler()
    except RecipeError as error:
        pytest.skip(str(error))
    losses, parts = [*PERCEPTION_LOSSES, "text"], [*PERCEPTION_PARTS, *LANGUAGE_PARTS]
    stage = {**STAGE, "steps": 4, "log_every": 1, "losses": losses, "train": parts}
    settings = {"activation_checkpointing": recomputed, "stages": {"only": stage}}
    distill(tiny_recipe(**settings), tmp_path / "eager", progress=False)
    distill(tiny_recipe(**settings, compile=True), tmp_path / "compiled", progress=False)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("eager", "compiled")
    ]
    for name in ("loss", "text", "voting", "detection", "camera", "depth_reg", "grad_norm"):
        assert np.allclose(*[[line[name] for line in each] for each in lines], rtol=1e-4, atol=1e-5), name
    checkpoint = Path("only", "checkpoint-4", "model.safetensors")
    expected, got = (load_file(tmp_path / name / checkpoint) for name in ("eager", "compiled"))
    assert expected.keys() == got.keys()
    assert max(float((expected[name].float() - got[name].float()).abs().max()) for name in expected) < 1e-3
    (tmp_path / "compiled" / "only" / "student.safetensors").unlink()
    distill(tiny_recipe(**settings), tmp_path / "compiled", progress=False)
