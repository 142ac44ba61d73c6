"""Official VGGT checkpoints: loading, refused files, saving, and the peak of memory."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dollhouse.errors import ModelError, StorageError
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.convert import COMMERCIAL, NON_COMMERCIAL, licence_of, load_official
from dollhouse.models.vggt.modeling import VggtModel
from tests.models.vggt.tiny_vggt import HEADS, tiny_config, tiny_model


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_official_layout_loads_without_the_heads_that_are_not_wanted(ending: str, tmp_path: Path) -> None:
    weights = tiny_model(tiny_config("conv", HEADS)).state_dict() | {
        "track_head.tracker.query_ref_token": torch.zeros(3)
    }
    path = tmp_path / f"model.{ending}"
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    model = VggtModel.from_official(path, tiny_config("conv", ("depth",)), torch.bfloat16)
    assert {name.split(".")[0] for name in model.state_dict()} == {"aggregator", "depth_head"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name].bfloat16())
    assert VggtModel.from_official(tmp_path, tiny_config("conv")).dtype == torch.float32


def test_saving_back_gives_the_official_tensors_of_the_heads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config("dinov2", HEADS)
    weights = tiny_model(config).state_dict()
    save_file(weights | {"track_head.tracker.fmap_norm.bias": torch.zeros(8)}, tmp_path / "official.safetensors")
    with caplog.at_level("INFO", "dollhouse.models.vggt.convert"):
        model = VggtModel.from_official(tmp_path / "official.safetensors", config)
    assert "ignored 1 tensors of track_head" in caplog.text
    model.to_official(tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())


def test_writing_fails_in_one_line(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"written as \.safetensors"):
        model.to_official(tmp_path / "model.pt")
    with pytest.raises(StorageError, match="cannot write"):
        model.to_official(tmp_path / "file" / "model.safetensors")


def test_licence_is_stored_in_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "models--facebook--VGGT-1B-Commercial"
    folder.mkdir()
    config = tiny_config("conv")
    for path in (tmp_path, folder):
        save_file(tiny_model(config).state_dict(), path / "model.safetensors")
    assert VggtModel.from_official(tmp_path, config).config.licence == NON_COMMERCIAL
    assert VggtModel.from_official(folder, config).config.licence == COMMERCIAL
    model = VggtModel.from_official(folder, config, licence="my own")
    model.save_pretrained(tmp_path / "ours")
    assert VggtModel.from_pretrained(tmp_path / "ours").config.licence == "my own"
    assert config.licence is None, "the caller's config must stay as it was"
    assert licence_of("somewhere/model.pt") == NON_COMMERCIAL


def test_mismatches_are_listed(tmp_path: Path) -> None:
    config = tiny_config("conv")
    good = tiny_model(config).state_dict()

    def message(weights: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> str:
        path = tmp_path / "model.safetensors"
        save_file(weights, path)
        with pytest.raises(ModelError) as caught:
            VggtModel.from_official(path, config, dtype)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    token, norm = "aggregator.camera_token", "aggregator.frame_blocks.0.norm1.weight"
    assert f"missing 1: {token} (1, 2, 1, 48)" in message({name: t for name, t in good.items() if name != token})
    assert "unexpected 1: aggregator.more (2,)" in message(good | {"aggregator.more": torch.zeros(2)})
    assert f"misshapen 1: {norm} (3,), expected (48,)" in message(good | {norm: torch.zeros(3)})
    unrelated = message({"layer.weight": torch.zeros(2, 2)})
    assert "and" in unrelated
    assert "more" in unrelated
    assert "unexpected 1: layer.weight" in unrelated
    assert "overflows in torch.float16" in message(good | {norm: torch.full((48,), 1e6)}, torch.float16)
    assert "not finite" in message(good | {norm: torch.full((48,), torch.nan)})
    assert "stored as torch.int64" in message(good | {norm: torch.ones(48, dtype=torch.long)})


def test_other_files_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "executed",))

    whole = {"aggregator.camera_token": torch.zeros(1, 2, 1, 48)}
    torch.save({"weights": Trap()}, tmp_path / "trap.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Trap()))
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(whole, tmp_path / "whole.pt")
    save_file(whole, tmp_path / "whole.safetensors")
    for ending in ("pt", "safetensors"):
        bytes_ = (tmp_path / f"whole.{ending}").read_bytes()
        (tmp_path / f"cut.{ending}").write_bytes(bytes_[: len(bytes_) // 2])
        (tmp_path / f"empty.{ending}").write_bytes(b"")
    (tmp_path / "weights.txt").write_text("no weights")
    names = ["trap.pt", "bare.pt", "list.pt", "cut.pt", "cut.safetensors", "empty.pt", "empty.safetensors"]
    for name in [*names, "weights.txt", "absent.pt"]:
        with pytest.raises(ModelError, match=name.replace(".", r"\.")) as caught:
            VggtModel.from_official(tmp_path / name, tiny_config("conv"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_failed_load_leaves_the_model_unchanged(tmp_path: Path) -> None:
    """The last tensor overflows."""
    config = tiny_config("conv")
    weights = tiny_model(config).state_dict()
    last = list(weights)[-1]
    save_file(weights | {last: torch.full_like(weights[last], 1e6)}, tmp_path / "model.safetensors")
    model = tiny_model(config, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match="overflows"):
        load_official(model, tmp_path, torch.float16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.dtype == torch.float32


MEASURED = """
import sys, torch
from dollhouse.training.estimate.memory import peak_resident_bytes as peak
from dollhouse.models import checkpoints
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
checkpoints.REMAP_BYTES = 2**24
config = VggtConfig(patch_embed="conv", hidden_size=384, num_hidden_layers=16, num_attention_heads=6, heads=[])
before = peak()
model = VggtModel.from_official(sys.argv[1], config, torch.bfloat16)
print(peak() - before, sum(parameter.nbytes for parameter in model.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory has other units elsewhere")
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_loading_peaks_at_little_more_than_the_model(ending: str, tmp_path: Path) -> None:
    """The file is twice as large as the model (float32 to bfloat16), so holding all of it would show."""
    with torch.device("meta"):
        config = VggtConfig(patch_embed="conv", hidden_size=384, num_hidden_layers=16, num_attention_heads=6, heads=[])
        shapes = {name: tensor.shape for name, tensor in VggtModel(config).state_dict().items()}
    weights = {name: torch.full(shape, 0.1) for name, shape in shapes.items()}
    path = tmp_path / f"model.{ending}"
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    measured = subprocess.run([sys.executable, "-c", MEASURED, str(path)], check=True, capture_output=True, text=True)
    grown, model = map(int, measured.stdout.split())
    assert model > 110e6
    assert grown < 1.5 * model, f"{grown / 1e6:.0f} MB for a model of {model / 1e6:.0f} MB"
