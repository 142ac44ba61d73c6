"""The VGGT encoder: properties for any weights, refused inputs, and fast paths against references."""

from pathlib import Path

import pytest
import torch
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.models.vggt.patch_embed import DinoPatchEmbed
from tests.models.vggt.tiny_vggt import HEADS, tiny_config, tiny_model


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 3, 42, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("patch_embed", ["dinov2", "conv", "stem"])
def test_shapes_and_that_only_requested_layers_are_returned(patch_embed: str, photos: torch.Tensor) -> None:
    model = tiny_model(tiny_config(patch_embed))
    with torch.no_grad():
        output = model(photos, output_layers=[1, 3])
        assert model(photos).layers == {}
    assert output.last_hidden_state.shape == (2, 3, 5 + 3 * 4, 96)
    assert (output.patch_start, output.image_size) == (5, (42, 56))
    assert list(output.layers) == [1, 3]
    assert torch.equal(output.layers[3], output.last_hidden_state)


@pytest.mark.parametrize("block_size", [1, 2])
def test_views_other_than_the_first_are_interchangeable(block_size: int, photos: torch.Tensor) -> None:
    model = tiny_model(tiny_config(aa_block_size=block_size)).double()
    photos = photos.double()
    with torch.no_grad():
        output = model(photos).last_hidden_state
        swapped = model(photos[:, [0, 2, 1]]).last_hidden_state
        turned = model(photos[:, [1, 0, 2]]).last_hidden_state
    torch.testing.assert_close(swapped, output[:, [0, 2, 1]], atol=1e-10, rtol=0)
    assert (turned - output[:, [1, 0, 2]]).abs().max() > 1e-3  # frame 0 is the reference


def test_frame_and_global_halves() -> None:
    """In round 0 the first half of a token depends on its own frame only, the second on all."""
    model = tiny_model(tiny_config())
    photos = torch.rand(1, 2, 3, 28, 28)
    other = torch.cat([photos[:, :1], torch.rand(1, 1, 3, 28, 28)], 1)
    with torch.no_grad():
        first, second = (model(images, [0]).layers[0][:, 0] for images in (photos, other))
    assert torch.equal(first[..., :48], second[..., :48])
    assert (first[..., 48:] - second[..., 48:]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 3, 50, 56), "multiples of 14"),
        ((1, 1, 3, 56, 57), "multiples of 14"),
        ((1, 1, 3, 0, 56), "multiples of 14"),
        ((1, 3, 56, 56), "batch, views"),
        ((1, 1, 4, 56, 56), "batch, views"),
        ((1, 0, 3, 56, 56), "at least one view"),
    ],
)
def test_photos_of_another_shape_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VggtModel(tiny_config())(torch.zeros(shape))


def test_absent_rounds_and_heads_are_refused(photos: torch.Tensor) -> None:
    model = VggtModel(tiny_config())
    with pytest.raises(ValueError, match="rounds go from 0 to 3"):
        model(photos, [4])
    output = model(photos)
    with pytest.raises(ValueError, match="no camera head"):
        model.predict_cameras(output)
    with pytest.raises(ValueError, match="no depth head"):
        model.predict_depth(output)
    with_heads = VggtModel(tiny_config(heads=HEADS))
    with pytest.raises(ValueError, match=r"output_layers=model\.dense_layers"):
        with_heads.predict_points(with_heads(photos))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_embed": "vit"}, "choose dinov2"),
        ({"heads": ["track"]}, "no such heads: track"),
        ({"views_at_once": 0}, "views_at_once is 0"),
        ({"aa_order": ["frame", "frame"]}, "frame and global"),
        ({"num_attention_heads": 16}, "multiple of 4"),
        ({"aa_block_size": 3}, "aa_block_size"),
        ({"dino": {"depth": 2}}, "dino has no setting depth"),
        ({"heads": ["depth"], "dpt_head": {"layers": [0, 1, 2, 9]}}, "choose four of"),
    ],
)
def test_contradictory_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


def test_gradients_reach_every_parameter_and_checkpointing_changes_nothing(photos: torch.Tensor) -> None:
    model = tiny_model(tiny_config(heads=HEADS)).train()

    def loss() -> torch.Tensor:
        output = model(photos, model.dense_layers)
        depth, depth_confidence = model.predict_depth(output)
        points, point_confidence = model.predict_points(output)
        parts = (*model.predict_cameras(output), depth, depth_confidence, points, point_confidence)
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
    model = VggtModel(tiny_config()).eval()
    with torch.no_grad():
        exact = model(photos).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(photos).last_hidden_state
        whole = model.bfloat16()(photos.bfloat16()).last_hidden_state
    for rough in (mixed, whole):
        assert (rough.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize(
    ("patch_embed", "block_size", "views_at_once"), [("dinov2", 1, 2), ("dinov2", 2, 4), ("stem", 2, 1)]
)
def test_views_in_chunks_give_the_same(
    patch_embed: str, block_size: int, views_at_once: int, photos: torch.Tensor
) -> None:
    whole = tiny_model(tiny_config(patch_embed, HEADS, aa_block_size=block_size)).double()
    chunked = tiny_model(
        tiny_config(patch_embed, HEADS, aa_block_size=block_size, views_at_once=views_at_once)
    ).double()
    chunked.load_state_dict(whole.state_dict())
    with torch.no_grad():
        output, chunked_output = whole(photos.double(), [0, 1, 2, 3]), chunked(photos.double(), [0, 1, 2, 3])
        for index in range(4):
            torch.testing.assert_close(chunked_output.layers[index], output.layers[index], atol=1e-10, rtol=0)
        torch.testing.assert_close(
            chunked.predict_depth(chunked_output)[0], whole.predict_depth(output)[0], atol=1e-10, rtol=0
        )


def test_no_chunks_where_a_gradient_is_needed(photos: torch.Tensor) -> None:
    model = tiny_model(tiny_config(views_at_once=1)).train()
    model(photos).last_hidden_state.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_order_of_a_round_keeps_the_order_of_the_halves(photos: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = tiny_model(tiny_config(num_hidden_layers=1, aa_order=["global", "frame"])).double()
    photos = photos.double()
    with torch.no_grad():
        output = model(photos, [0]).layers[0]
        global_outputs: list[torch.Tensor] = []
        hook = model.aggregator.global_blocks[0].register_forward_hook(lambda *call: global_outputs.append(call[2]))
        model(photos)
        hook.remove()
    torch.testing.assert_close(output[..., 48:], global_outputs[0].view(*output.shape[:3], 48), atol=0, rtol=0)


def test_freezing_by_depth_of_layer() -> None:
    model = tiny_model(tiny_config("dinov2", HEADS))
    model.freeze_before(2)
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {".".join(name.split(".")[:3]) for name in free if name.startswith("aggregator")} == {
        f"aggregator.{kind}_blocks.{index}" for kind in ("frame", "global") for index in (2, 3)
    }
    assert any(name.startswith("depth_head") for name in free)
    with pytest.raises(ValueError, match="no round 4"):
        model.freeze_before(4)


@pytest.mark.parametrize("size", [(56, 56), (42, 56), (70, 28)])
def test_dino_equals_that_of_transformers(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = DinoPatchEmbed(tiny_config("dinov2")).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14
        )
    ).double()
    if "encoder.layer.0.attention.q_proj.weight" not in theirs.state_dict():
        pytest.skip("this version of transformers has other parameter names")
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
    model = tiny_model(tiny_config(heads=HEADS))
    model.save_pretrained(tmp_path)
    again = VggtModel.from_pretrained(tmp_path)
    assert again.config.heads == list(HEADS)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(again(photos).last_hidden_state, model(photos).last_hidden_state)


def test_exported_graph_takes_any_number_of_views() -> None:
    model = tiny_model(tiny_config()).eval()
    views = torch.export.Dim("views", min=3, max=16)
    with torch.no_grad():
        program = torch.export.export(model, (torch.rand(1, 3, 3, 28, 28),), dynamic_shapes=({1: views},))
        photos = torch.rand(1, 5, 3, 28, 28)
        exported = program.module()(photos).last_hidden_state
        torch.testing.assert_close(exported, model(photos).last_hidden_state, atol=1e-5, rtol=0)
