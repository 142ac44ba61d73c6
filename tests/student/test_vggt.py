"""The VGGT encoder: what holds for any weights, checkpoints that are refused, and references beside fast paths."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from dollhouse.errors import ModelError
from dollhouse.student.attention import attention, plain_attention
from dollhouse.student.config import VggtConfig
from dollhouse.student.patches import DinoPatches
from dollhouse.student.vggt import VggtModel

HEADS = ("camera", "depth", "point")


def small(patch_embed: str = "stem", heads: tuple[str, ...] = (), **changes: object) -> VggtConfig:
    values = {
        "image_size": 56,
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "layerscale_value": 1.0,
        "dino": {"num_hidden_layers": 2, "num_attention_heads": 3},
        "camera_head": {"num_hidden_layers": 1, "num_attention_heads": 4, "mlp_ratio": 2},
        "dpt_head": {"features": 16, "out_channels": [8, 12, 16, 16], "layers": [0, 1, 2, 3]},
    }
    return VggtConfig(patch_embed=patch_embed, heads=heads, **{**values, **changes})


def made(config: VggtConfig, seed: int = 0) -> VggtModel:
    """A model whose every parameter matters: none is left at zero or one."""
    torch.manual_seed(seed)
    model = VggtModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 3, 42, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("patch_embed", ["dinov2", "conv", "stem"])
def test_shapes_and_that_only_the_layers_asked_for_are_kept(patch_embed: str, photos: torch.Tensor) -> None:
    model = made(small(patch_embed))
    with torch.no_grad():
        seen = model(photos, output_layers=[1, 3])
        assert model(photos).layers == {}
    assert seen.last_hidden_state.shape == (2, 3, 5 + 3 * 4, 96)
    assert (seen.patch_start, seen.image_size) == (5, (42, 56))
    assert list(seen.layers) == [1, 3]
    assert torch.equal(seen.layers[3], seen.last_hidden_state)


@pytest.mark.parametrize("block_size", [1, 2])
def test_views_other_than_the_first_are_interchangeable(block_size: int, photos: torch.Tensor) -> None:
    model = made(small(aa_block_size=block_size)).double()
    photos = photos.double()
    with torch.no_grad():
        seen = model(photos).last_hidden_state
        swapped = model(photos[:, [0, 2, 1]]).last_hidden_state
        turned = model(photos[:, [1, 0, 2]]).last_hidden_state
    torch.testing.assert_close(swapped, seen[:, [0, 2, 1]], atol=1e-10, rtol=0)
    assert (turned - seen[:, [1, 0, 2]]).abs().max() > 1e-3  # frame 0 is the reference


def test_frame_and_global_halves() -> None:
    """In round 0 the first half of a token depends on its own frame only, the second on all."""
    model = made(small())
    photos = torch.rand(1, 2, 3, 28, 28)
    other = torch.cat([photos[:, :1], torch.rand(1, 1, 3, 28, 28)], 1)
    with torch.no_grad():
        here, there = (model(images, [0]).layers[0][:, 0] for images in (photos, other))
    assert torch.equal(here[..., :48], there[..., :48])
    assert (here[..., 48:] - there[..., 48:]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 1, 3, 50, 56), "multiples of 14"),
        ((1, 1, 3, 56, 57), "multiples of 14"),
        ((1, 1, 3, 0, 56), "multiples of 14"),
        ((1, 3, 56, 56), "batch, views"),
        ((1, 1, 4, 56, 56), "batch, views"),
        ((1, 0, 3, 56, 56), "at least one view"),
    ],
)
def test_photos_of_another_shape_are_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        VggtModel(small())(torch.zeros(shape))


def test_rounds_and_heads_that_there_are_not(photos: torch.Tensor) -> None:
    model = VggtModel(small())
    with pytest.raises(ValueError, match="rounds go from 0 to 3"):
        model(photos, [4])
    seen = model(photos)
    with pytest.raises(ValueError, match="no camera head"):
        model.predict_cameras(seen)
    with pytest.raises(ValueError, match="no depth head"):
        model.predict_depth(seen)
    with_heads = VggtModel(small(heads=HEADS))
    with pytest.raises(ValueError, match=r"output_layers=model\.dense_layers"):
        with_heads.predict_points(with_heads(photos))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch_embed": "vit"}, "choose dinov2"),
        ({"heads": ["track"]}, "no such heads: track"),
        ({"num_attention_heads": 16}, "multiple of 4"),
        ({"aa_block_size": 3}, "aa_block_size"),
        ({"dino": {"depth": 2}}, "dino does not know depth"),
        ({"heads": ["depth"], "dpt_head": {"layers": [0, 1, 2, 9]}}, "name four of"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**changes)


def test_gradients_reach_every_parameter_and_checkpointing_changes_nothing(photos: torch.Tensor) -> None:
    model = made(small(heads=HEADS)).train()

    def loss() -> torch.Tensor:
        seen = model(photos, model.dense_layers)
        depth, depth_confidence = model.predict_depth(seen)
        points, point_confidence = model.predict_points(seen)
        parts = (*model.predict_cameras(seen), depth, depth_confidence, points, point_confidence)
        return sum(part.square().mean() for part in parts)

    loss().backward()
    plain = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None for gradient in plain.values())
    model.zero_grad()
    model.gradient_checkpointing_enable()
    loss().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])


def test_bfloat16_stays_near_float32(photos: torch.Tensor) -> None:
    model = VggtModel(small()).eval()
    with torch.no_grad():
        exact = model(photos).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(photos).last_hidden_state
        whole = model.bfloat16()(photos.bfloat16()).last_hidden_state
    for rough in (mixed, whole):
        assert (rough.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("length", [5, 86, 700])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_what_its_definition_says(length: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, length, 32, dtype=torch.float64)
    expected = plain_attention(query, key, value)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(fused, expected, atol=1e-12, rtol=0)
    found = attention(query.to(dtype), key.to(dtype), value.to(dtype))
    torch.testing.assert_close(found.double(), expected, atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=0)


@pytest.mark.parametrize("size", [(56, 56), (42, 56), (70, 28)])
def test_dino_is_that_of_transformers(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = DinoPatches(small("dinov2")).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14
        )
    ).double()
    if "encoder.layer.0.attention.q_proj.weight" not in theirs.state_dict():
        pytest.skip("this version of transformers names DINO's parameters otherwise")
    names = {
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.": "encoder.layer.",
        "attn.proj": "attention.o_proj",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    weights = {}
    for name, tensor in ours.state_dict().items():
        renamed = f"embeddings.{name}" if name in ("cls_token", "register_tokens", "mask_token") else name
        for old, other in names.items():
            renamed = renamed.replace(old, other)
        if name.startswith("norm."):
            renamed = f"layer{name}"
        if "attn.qkv" in renamed:
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                weights[renamed.replace("attn.qkv", f"attention.{letter}_proj")] = third
        else:
            weights[renamed] = tensor
    theirs.load_state_dict(weights)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(images).last_hidden_state[:, 5:]
        torch.testing.assert_close(ours(images), expected, atol=1e-6, rtol=0)


def test_saved_and_loaded_is_the_same(tmp_path: Path, photos: torch.Tensor) -> None:
    model = made(small(heads=HEADS))
    model.save_pretrained(tmp_path)
    again = VggtModel.from_pretrained(tmp_path)
    assert again.config.heads == list(HEADS)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(again(photos).last_hidden_state, model(photos).last_hidden_state)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_official_layout_loads_without_the_heads_that_are_not_wanted(ending: str, tmp_path: Path) -> None:
    weights = made(small("conv", HEADS)).state_dict() | {"track_head.tracker.query_ref_token": torch.zeros(3)}
    path = tmp_path / f"model.{ending}"
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    model = VggtModel.from_official(path, small("conv", ("depth",)), torch.bfloat16)
    assert {name.split(".")[0] for name in model.state_dict()} == {"aggregator", "depth_head"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name].bfloat16())
    assert VggtModel.from_official(tmp_path, small("conv")).dtype == torch.float32


def test_wrong_checkpoints_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    config = small("conv")
    good = made(config).state_dict()

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


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "sprung",))

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
            VggtModel.from_official(tmp_path / name, small("conv"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
