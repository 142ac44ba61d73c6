"""Official checkpoints in every form they come in, and those that are refused."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig

from benchmarks.full_size_llava3d import SHARD, config_of, write_checkpoint
from dollhouse.errors import ModelError
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration
from dollhouse.models.llava3d.weights import official_name, weights_hash

VISION = "model.vision_tower.vision_tower.vision_model."
NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> dict[str, Tensor]:
    """The official keys and tensors of the tiny checkpoint."""
    shards = sorted(checkpoint.glob("*.bin"))
    assert len(shards) > 2
    return {name: tensor for shard in shards for name, tensor in torch.load(shard, weights_only=True).items()}


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with ``config.json`` and no weights yet."""
    shutil.copy(checkpoint / "config.json", tmp_path / "config.json")
    return tmp_path


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        Llava3DForConditionalGeneration.from_official(folder, **options)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_shards_fill_every_parameter(checkpoint: Path, weights: dict[str, Tensor]) -> None:
    model = Llava3DForConditionalGeneration.from_official(checkpoint, dtype=torch.float32)
    assert {official_name(name) for name in model.state_dict()} == set(weights)
    assert all(torch.equal(tensor, weights[official_name(name)]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in model.parameters())
    half = Llava3DForConditionalGeneration.from_official(checkpoint)
    assert half.dtype == torch.bfloat16
    assert weights_hash(half) != weights_hash(model)
    assert half.language_model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_single_files_and_buffers_of_older_versions(folder: Path, weights: dict[str, Tensor]) -> None:
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(6),
        f"{VISION}embeddings.position_ids": torch.zeros(1, 17, dtype=torch.long),
    }
    torch.save(weights | buffers, folder / "pytorch_model.bin")
    from_bin = Llava3DForConditionalGeneration.from_official(folder, dtype=torch.float32)
    save_file(weights, folder / "model.safetensors")  # preferred where both are there
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert weights_hash(Llava3DForConditionalGeneration.from_official(folder, dtype=torch.float32)) == weights_hash(
        from_bin
    )


def test_vision_tower_from_a_clip_folder(folder: Path, weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(
        {name: tensor for name, tensor in weights.items() if not name.startswith(VISION)}, folder / "model.safetensors"
    )
    assert "has no vision tower; give clip_folder" in refused(folder)
    clip = tmp_path / "clip"
    clip.mkdir()
    sizes = json.loads((folder / "config.json").read_text())["vision_config"]
    (clip / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": sizes}))
    parts = {f"vision_model.{name.removeprefix(VISION)}": weights[name] for name in weights if name.startswith(VISION)}
    torch.save(parts | {"text_model.x": torch.zeros(2), "logit_scale": torch.zeros(())}, clip / "pytorch_model.bin")
    model = Llava3DForConditionalGeneration.from_official(folder, dtype=torch.float32, clip_folder=clip)
    assert all(torch.equal(tensor, weights[official_name(name)]) for name, tensor in model.state_dict().items())
    parts.popitem()
    torch.save(parts, clip / "pytorch_model.bin")
    assert "missing 1: " + VISION in refused(folder, clip_folder=clip)
    torch.save({"text_model.x": torch.zeros(2)}, clip / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no CLIP weights there"):
        Llava3DForConditionalGeneration.from_official(folder, clip_folder=clip)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(NORM), f"missing 1: {NORM} (48,)"),
        (lambda w: w.update({"model.extra": torch.zeros(2)}), "unexpected 1: model.extra (2,)"),
        (lambda w: w.update({NORM: torch.zeros(3)}), f"misshapen 1: {NORM} (3,), expected (48,)"),
        (lambda w: w.update({NORM: torch.full((48,), 1e6)}), "overflows in torch.float16"),
        (lambda w: w.update({NORM: torch.full((48,), torch.nan)}), "not finite"),
        (lambda w: w.update({NORM: torch.ones(48, dtype=torch.long)}), "weights are floating-point"),
        (
            lambda w: (w.clear(), w.update({"layer.weight": torch.zeros(2, 2)})),
            "more; unexpected 1: layer.weight (2, 2)",
        ),
        (lambda w: (w.clear(), w.update({f"{VISION}x": torch.zeros(2)})), "more; unexpected 1: " + VISION),
    ],
)
def test_mismatches_are_listed(
    folder: Path, weights: dict[str, Tensor], change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    wrong = dict(weights)
    change(wrong)
    save_file(wrong, folder / "model.safetensors")
    assert message in refused(folder, dtype=torch.float16)


def test_broken_shards(checkpoint: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "executed",))

    def copied() -> tuple[Path, Path]:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkpoint, folder)
        return folder, sorted(folder.glob("*.bin"))[1]

    folder, shard = copied()
    shard.unlink()
    assert f"shards missing: {shard.name}" in refused(folder)
    for data in (shard_bytes(checkpoint)[:2000], b"", b"no checkpoint", pickle.dumps(Trap())):
        folder, shard = copied()
        shard.write_bytes(data)
        assert shard.name in refused(folder)
    for content in ({"x": Trap()}, [1, 2], {"x": 3}):
        folder, shard = copied()
        torch.save(content, shard)
        assert shard.name in refused(folder)
    assert not (tmp_path / "executed").exists()

    folder, shard = copied()
    first = sorted(folder.glob("*.bin"))[0]
    torch.save(torch.load(first, weights_only=True) | torch.load(shard, weights_only=True), first)
    assert "which pytorch_model-00001" in refused(folder)

    folder, shard = copied()
    index = folder / "pytorch_model.bin.index.json"
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "should hold a JSON object"),
        ("{}", "has no weight_map"),
        ('{"weight_map": {"x": "../../secret.bin"}}', "outside the folder"),
    ):
        index.write_text(text)
        assert message in refused(folder)
    index.unlink()
    assert "no weights there" in refused(folder)
    assert "no such folder" in refused(tmp_path / "absent")

    (folder / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    assert "not a complete safetensors file" in refused(folder)


def shard_bytes(checkpoint: Path) -> bytes:
    return sorted(checkpoint.glob("*.bin"))[1].read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["LlavaForConditionalGeneration"]}, "expected LlavaLlamaForCausalLM"),
        ({"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1, expected -2"),
        ({"mm_use_im_patch_token": None}, "mm_use_im_patch_token is missing, which means True, expected False"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'"),
        ({"mm_video_tower": "some/QFormer"}, "mm_video_tower is 'some/QFormer'"),
        ({"num_frames": 24}, "num_frames is 24, expected 20"),
        ({"num_frames": None}, "num_frames is missing, expected 20"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": 50}, "impossible sizes"),
        ({"vision_config": 3}, "impossible sizes"),
    ],
)
def test_unexpected_configs_are_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    change_config(folder, changes)
    assert message in refused(folder)


def change_config(folder: Path, changes: dict[str, object]) -> None:
    """Set keys of ``config.json``; None removes a key."""
    settings = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )


def test_supported_differences_can_be_accepted(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "model.safetensors")
    changes = {
        "num_frames": 24,
        "mm_vision_select_layer": -1,
        "mm_vision_tower": "./clip",
        "mm_patch_merge_type": "spatial",
    }
    change_config(folder, changes)
    error = refused(folder, accept=changes)
    assert "mm_patch_merge_type" in error
    assert "num_frames" not in error
    change_config(folder, {"mm_patch_merge_type": "flat"})
    config = Llava3DForConditionalGeneration.from_official(folder, accept=changes).config
    assert (config.num_frames, config.select_layer) == (24, -1)


MEASURE = """
import sys, torch
from pathlib import Path
from dollhouse.models import checkpoints
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

checkpoints.REMAP_BYTES = 8 << 20
before = peak = resident()
isfinite = torch.isfinite
def watched(tensor):
    global peak
    peak = max(peak, resident())
    return isfinite(tensor)
torch.isfinite = watched
model = Llava3DForConditionalGeneration.from_official(sys.argv[1], dtype=torch.bfloat16)
size = sum(p.nbytes for p in model.parameters())
print((max(peak, resident()) - before) / size)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory from /proc")
def test_loading_takes_little_more_memory_than_the_model(tmp_path: Path) -> None:
    sizes = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 20, "num_attention_heads": 8}
    config = replace(config_of("tiny"), text=LlamaConfig(vocab_size=400, **sizes))
    size = write_checkpoint(tmp_path, config, torch.bfloat16, SHARD)
    assert size > 100e6
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    # a fixed part is code; with the whole file mapped the ratio would be above 2
    assert float(measured.stdout) < 1.5
