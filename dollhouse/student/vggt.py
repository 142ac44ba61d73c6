"""The VGGT encoder: photos of one place in, tokens that know about each other out (``specs/vggt.md``).

Knows nothing of language, questions or losses. Frame 0 is the reference: the encoder treats it apart, and every
camera and point that the heads predict is in its frame. Parameter names are the official checkpoint's own
(:mod:`dollhouse.student.vggt_weights`).

Axes: B batch, V views, P patches (row by row), S = 1 + registers special tokens, C width of a block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from dollhouse.student.config import VggtConfig
from dollhouse.student.patches import ConvolutionPatches, DinoPatches, Stem
from dollhouse.student.vggt_blocks import Block, LayerScale, RotaryTable, rotary_table
from dollhouse.student.vggt_camera import CameraHead
from dollhouse.student.vggt_dense import DenseHead, activate_depth, activate_points
from dollhouse.student.vggt_weights import load_official

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass
class VggtOutput(ModelOutput):
    """What the encoder saw.

    Attributes:
        last_hidden_state: (B, V, S+P, 2C): after the last frame block, then after the last global block. Not
            normalised: whoever reads it brings a norm.
        layers: the rounds asked for, by number; each as ``last_hidden_state``.
        patch_start: S, where the patches begin.
        image_size: (H, W) of the photos.
    """

    last_hidden_state: Tensor | None = None
    layers: dict[int, Tensor] | None = None
    patch_start: int | None = None
    image_size: tuple[int, int] | None = None


class Aggregator(nn.Module):
    """Patch embedding, then rounds of attention within each frame and across all frames."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        self.config = config
        width, heads = config.hidden_size, config.num_attention_heads
        self.patch_embed: nn.Module
        if config.patch_embed == "dinov2":
            self.patch_embed = DinoPatches(config)
        elif config.patch_embed == "conv":
            self.patch_embed = ConvolutionPatches(width, config.patch_size)
        else:
            self.patch_embed = Stem(width)
        # [:, 0] is for frame 0, [:, 1] for every other frame
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, width))

        def blocks() -> nn.ModuleList:
            shape = (width, heads, config.mlp_ratio, config.layerscale_value)
            return nn.ModuleList(Block(*shape, qk_norm=True) for _ in range(config.num_hidden_layers))

        self.frame_blocks = blocks()
        self.global_blocks = blocks()

    def forward(self, pixel_values: Tensor, output_layers: Sequence[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """(B, V, 3, H, W) in [0, 1] -> the last round (B, V, S+P, 2C), and the rounds asked for."""
        batch, views, _, height, width = pixel_values.shape
        images = pixel_values.flatten(0, 1)
        # float32 first, as the official code keeps them: in float64 the difference could be seen
        mean, std = (torch.tensor(row).to(images).view(3, 1, 1) for row in (IMAGE_MEAN, IMAGE_STD))
        patches = self.patch_embed((images - mean) / std)
        special = torch.cat([self.camera_token, self.register_token], 2)
        special = torch.cat([special[:, :1], special[:, 1:].expand(-1, views - 1, -1, -1)], 1)  # (1, V, S, C)
        special = special.expand(batch, -1, -1, -1).flatten(0, 1).to(patches.dtype)
        tokens = torch.cat([special, patches], 1)

        length = tokens.shape[1]
        frame_rotary = self.rotary(height, width, tokens)
        global_rotary = frame_rotary.repeat(views)
        kept: dict[int, Tensor] = {}
        size, last = self.config.aa_block_size, self.config.num_hidden_layers - 1
        for start in range(0, self.config.num_hidden_layers, size):
            rounds = range(start, start + size)
            wanted = {index for index in rounds if index == last or index in output_layers}
            within: dict[int, Tensor] = {}
            for index in rounds:
                tokens = self.frame_blocks[index](tokens, frame_rotary)
                if index in wanted:
                    within[index] = tokens
            tokens = tokens.view(batch, views * length, -1)
            for index in rounds:
                tokens = self.global_blocks[index](tokens, global_rotary)
                if index in wanted:
                    seen = within[index].view(batch, views, length, -1)
                    kept[index] = torch.cat([seen, tokens.view(batch, views, length, -1)], -1)
            tokens = tokens.view(batch * views, length, -1)
        return kept[last], {index: kept[index] for index in output_layers}

    def rotary(self, height: int, width: int, tokens: Tensor) -> RotaryTable:
        """Rotations of one frame: patches stand at (row + 1, column + 1), special tokens at (0, 0)."""
        rows, columns = height // self.config.patch_size, width // self.config.patch_size
        row, column = (torch.arange(1, count + 1, device=tokens.device) for count in (rows, columns))
        grid = torch.cartesian_prod(row, column)
        positions = torch.cat([grid.new_zeros(1 + self.config.num_register_tokens, 2), grid])
        head_width = self.config.hidden_size // self.config.num_attention_heads
        return rotary_table(positions, head_width, self.config.rope_theta, tokens.dtype)


class VggtModel(PreTrainedModel):
    """VGGT with whichever heads ``config.heads`` names."""

    config: VggtConfig
    config_class = VggtConfig
    base_model_prefix = "vggt"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012

    def __init__(self, config: VggtConfig) -> None:
        super().__init__(config)
        self.aggregator = Aggregator(config)
        if "camera" in config.heads:
            self.camera_head = CameraHead(config)
        if "point" in config.heads:
            self.point_head = DenseHead(config, outputs=4)
        if "depth" in config.heads:
            self.depth_head = DenseHead(config, outputs=2)
        self.post_init()

    @classmethod
    def from_official(
        cls,
        path: str | os.PathLike[str],
        config: VggtConfig | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> VggtModel:
        """The model with weights of the official layout, read from a ``.safetensors`` or ``.pt`` file.

        ``config`` is VGGT-1B unless given; heads that ``config.heads`` does not name are left out.

        Raises:
            ModelError: where the file is no such checkpoint, listing what is missing, unexpected or misshapen.
        """
        with torch.device("meta"):
            model = cls(config or VggtConfig())
        load_official(model, path, dtype)
        return model.eval()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            if module.weight is not None:
                init.ones_(module.weight)
                init.zeros_(module.bias)
        elif isinstance(module, LayerScale):
            init.constant_(module.gamma, module.initial)
        elif isinstance(module, DinoPatches):
            init.trunc_normal_(module.pos_embed, std=std)
            for token in (module.cls_token, module.register_tokens):
                init.trunc_normal_(token, std=1e-6)
            init.zeros_(module.mask_token)
        elif isinstance(module, Aggregator):
            init.trunc_normal_(module.camera_token, std=std)
            init.trunc_normal_(module.register_token, std=std)

    def forward(self, pixel_values: Tensor, output_layers: Sequence[int] | None = None) -> VggtOutput:
        """Look at all views of each scene together.

        Args:
            pixel_values: (B, V, 3, H, W), RGB in [0, 1], not normalised; H and W multiples of the patch size.
            output_layers: rounds to keep beside the last one, counted from 0; others are not held in memory.

        Raises:
            ValueError: on another shape, or a round that there is not.
        """
        patch = self.config.patch_size
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
            raise ValueError(f"pixel_values must be (batch, views, 3, height, width), not {tuple(pixel_values.shape)}")
        height, width = pixel_values.shape[-2:]
        if not height or not width or height % patch or width % patch:
            raise ValueError(f"photos of {height} x {width} pixels: height and width must be multiples of {patch}")
        if not pixel_values.shape[1]:
            raise ValueError("a scene needs at least one view")
        rounds = tuple(output_layers or ())
        if any(not 0 <= index < self.config.num_hidden_layers for index in rounds):
            raise ValueError(f"output_layers {list(rounds)}: rounds go from 0 to {self.config.num_hidden_layers - 1}")
        last, layers = self.aggregator(pixel_values, rounds)
        special = 1 + self.config.num_register_tokens
        return VggtOutput(last_hidden_state=last, layers=layers, patch_start=special, image_size=(height, width))

    def predict_cameras(self, seen: VggtOutput) -> list[Tensor]:
        """Pose encodings (B, V, 9) after each of four iterations; the last is the best (:mod:`.vggt_camera`)."""
        if seen.last_hidden_state is None or not hasattr(self, "camera_head"):
            raise ValueError("no camera head: build the model with 'camera' among config.heads")
        with torch.autocast(seen.last_hidden_state.device.type, enabled=False):
            tokens = seen.last_hidden_state[:, :, 0]
            return self.camera_head(tokens.to(self.camera_head.embed_pose.weight.dtype))

    def predict_depth(self, seen: VggtOutput, chunk: int = 8) -> tuple[Tensor, Tensor]:
        """z-depth (B, V, H, W, 1) in the model's own scale, and its confidence (B, V, H, W).

        ``seen`` must hold the rounds of :attr:`dense_layers`. ``chunk`` images are worked on at a time.
        """
        return self._predict_dense("depth", activate_depth, seen, chunk)

    def predict_points(self, seen: VggtOutput, chunk: int = 8) -> tuple[Tensor, Tensor]:
        """Points (B, V, H, W, 3) in the camera frame of view 0, and their confidence (B, V, H, W); see above."""
        return self._predict_dense("point", activate_points, seen, chunk)

    @property
    def dense_layers(self) -> tuple[int, ...]:
        """The rounds that the depth and point heads read: pass them as ``output_layers``."""
        assert self.config.dpt_head is not None  # filled by the config
        return tuple(sorted(set(self.config.dpt_head["layers"])))

    def _predict_dense(
        self, name: str, activate: Callable[[Tensor], tuple[Tensor, Tensor]], seen: VggtOutput, chunk: int
    ) -> tuple[Tensor, Tensor]:
        if name not in self.config.heads:
            raise ValueError(f"no {name} head: build the model with {name!r} among config.heads")
        layers = seen.layers or {}
        if absent := set(self.dense_layers) - set(layers):
            raise ValueError(f"rounds {sorted(absent)} were not kept: look with output_layers=model.dense_layers")
        if seen.image_size is None:
            raise ValueError("the size of the photos is not known: pass what the model's forward returned")
        head: DenseHead = getattr(self, f"{name}_head")
        patches = [layers[index][:, :, seen.patch_start :] for index in head.layers]
        batch, views = patches[0].shape[:2]
        flat = [tokens.flatten(0, 1) for tokens in patches]
        values, confidences = [], []
        with torch.autocast(flat[0].device.type, enabled=False):
            for start in range(0, batch * views, chunk):
                pieces = [tokens[start : start + chunk].to(head.norm.weight.dtype) for tokens in flat]
                value, confidence = activate(head(pieces, seen.image_size))
                values.append(value)
                confidences.append(confidence)
        return torch.cat(values).unflatten(0, (batch, views)), torch.cat(confidences).unflatten(0, (batch, views))
