"""Reading weight files: keys and shapes, near misses, merged checkpoints, sharded and single files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dollhouse.errors import ModelError
from dollhouse.models import checkpoints
from dollhouse.models.checkpoints import Checkpoint, compare_keys


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def test_near_misses_are_named() -> None:
    problems = compare_keys({"encoder.layer.0.weight": (3,)}, {"encoder.layers.0.weight": (3,), "bias": (1,)})
    assert problems == [
        "missing 1: encoder.layer.0.weight (3,) (similar: encoder.layers.0.weight)",
        "unexpected 2: encoder.layers.0.weight (3,), bias (1,)",
    ]
    many = compare_keys({}, {f"x{number}": (1,) for number in range(7)})
    assert many == ["unexpected 7: x0 (1,), x1 (1,), x2 (1,), x3 (1,), x4 (1,) and 2 more"]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_lazily_in_any_order(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "REMAP_BYTES", 8)  # maps the file again for almost every tensor
    weights = layers().state_dict()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    places = {name: f"{stem}-{number % 2}.{suffix}" for number, name in enumerate(weights)}
    for file in set(places.values()):
        shard = {name: tensor for name, tensor in weights.items() if places[name] == file}
        save_file(shard, tmp_path / file) if suffix == "safetensors" else torch.save(shard, tmp_path / file)
    (tmp_path / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": places}))
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.shapes == {name: tuple(tensor.shape) for name, tensor in weights.items()}
    with torch.device("meta"):
        model = layers()
    assert checkpoint.load_into(model, torch.float64) == []
    assert all(torch.equal(tensor, weights[name].double()) for name, tensor in model.state_dict().items())


def test_renamed_included_and_ignored_tensors(tmp_path: Path) -> None:
    weights = layers().state_dict()
    first = {f"net.{name}": tensor for name, tensor in weights.items() if name.startswith("0.")}
    save_file(first | {"step": torch.zeros(1)}, tmp_path / "first.safetensors")
    torch.save({name: tensor for name, tensor in weights.items() if name.startswith("1.")}, tmp_path / "second.pt")
    checkpoint, second = Checkpoint(tmp_path / "first.safetensors"), Checkpoint(tmp_path / "second.pt")
    checkpoint.include(second, {name: f"net.{name}" for name in second.shapes})
    model = layers()
    with torch.no_grad():
        model[0].weight.zero_()
    with pytest.raises(ModelError, match=r"unexpected 1: step \(1,\)"):
        checkpoint.load_into(model, torch.float32, key_of=lambda name: f"net.{name}")
    assert not model[0].weight.any()
    ignored = checkpoint.load_into(
        model, torch.float32, key_of=lambda name: f"net.{name}", ignore=lambda name: name == "step"
    )
    assert ignored == ["step"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights there"):
        Checkpoint(tmp_path)
    with pytest.raises(ModelError, match="no such file or folder"):
        Checkpoint(tmp_path / "absent.pt")
