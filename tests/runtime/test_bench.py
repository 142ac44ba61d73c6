"""``dollhouse bench``: medians and ratios of known figures, a run of the shipped student, a model that cannot run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dollhouse.deploy import benchmark as bench
from dollhouse.errors import ModelError
from tests.cli.command import needs_model, run

FIGURES = ("cold_s", "cold_cpu_s", "load_ms", "encode_ms_per_view", "first_ms", "later_ms", "tokens_per_s", "peak_mb")


def test_medians_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: dict[str, int] = {}

    def measured(settings: dict[str, Any]) -> dict[str, float]:
        rounds[settings["model"]] = number = rounds.get(settings["model"], 0) + 1
        return dict.fromkeys(FIGURES, (1.0, 9.0, 2.0)[number - 1] * (4 if settings["model"] == "slow" else 1))

    monkeypatch.setattr(bench, "_measure_apart", measured)
    systems = [bench.System("slow", "torch"), bench.System("quick", "onnx", "int8")]
    result = bench.benchmark(systems, "example", "?")
    assert result["systems"]["quick onnx int8"]["later_ms"] == {"median": 2.0, "min": 1.0, "max": 9.0}
    assert result["times_faster"]["quick onnx int8"]["first_ms"] == 4.0
    assert set(result["times_faster"]["slow torch"].values()) == {1.0}


def test_a_system_that_cannot_run_is_named() -> None:
    with pytest.raises(ModelError, match="no_such_model"):
        bench.systems_of("no_such_model")


@pytest.mark.slow
@needs_model
def test_the_shipped_student_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bench.json"
    code, shown, error = run(capsys, monkeypatch, "bench", "nano", "--rounds", "1", "--repeats", "1", "--out", str(out))
    assert code == 0, error
    assert "cold start s" in shown
    (figures, *_) = json.loads(out.read_text())["systems"].values()
    assert all(figures[name]["median"] > 0 for name in FIGURES)
    assert figures["first_ms"]["median"] > figures["encode_ms_per_view"]["median"]
