"""The VGGT encoder with its camera, depth and point heads (``docs/specs/vggt.md``).

Frame 0 is the reference: predicted cameras and points are in its camera frame.

Axes: B batch, V views, P patches (row by row), S = 1 + registers special tokens, C width of a block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from dollhouse.models.vggt.aggregator import Aggregator
from dollhouse.models.vggt.camera_head import CameraHead
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.convert import licence_of, load_official, save_official
from dollhouse.models.vggt.dpt_head import DPTHead, activate_depth, activate_points
from dollhouse.models.vggt.efficientnet import EfficientNetLite0, EfficientNetPatchEmbed
from dollhouse.models.vggt.layers import LayerScale
from dollhouse.models.vggt.patch_embed import DinoPatchEmbed

HEAD_CHUNK = 8  #: default number of images that the DPT heads process at a time, as in the official code


@dataclass
class VggtOutput(ModelOutput):
    """Output of the encoder.

    Attributes:
        last_hidden_state: (B, V, S+P, 2C): the outputs of the last frame block and of the last global block,
            concatenated; no final norm is applied.
        layers: outputs of the requested rounds by number; each as ``last_hidden_state``.
        patch_start: S, the index of the first patch token.
        image_size: (H, W) of the images.
        embedded: patch tokens (B*V, P, C) before the first round, then the finer maps of an embedding that has them.
        depth: (B, V, H, W, 1) of the depth head, where it was predicted before and stored.
    """

    last_hidden_state: Tensor | None = None
    layers: dict[int, Tensor] | None = None
    patch_start: int | None = None
    image_size: tuple[int, int] | None = None
    embedded: tuple[Tensor, ...] | None = None
    depth: Tensor | None = None


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
            self.point_head = DPTHead(config, outputs=4)
        if "depth" in config.heads:
            self.depth_head = DPTHead(config, outputs=2)
        self.post_init()

    @classmethod
    def from_official(
        cls,
        path: str | os.PathLike[str],
        config: VggtConfig | None = None,
        dtype: torch.dtype = torch.float32,
        licence: str | None = None,
    ) -> VggtModel:
        """Load official weights, lazily: memory peaks at little more than the model in ``dtype``.

        Args:
            path: a ``.safetensors`` or ``.pt`` file, or its folder.
            config: default VGGT-1B; weights of heads that ``config.heads`` lacks are ignored.
            dtype: of the loaded weights.
            licence: stored in ``config.licence``; by default derived from ``path``.

        Raises:
            ModelError: where the file is no such checkpoint, listing what is missing, unexpected or misshapen.
        """
        with torch.device("meta"):
            model = cls(deepcopy(config) if config else VggtConfig())
        load_official(model, path, dtype)
        model.config.licence = licence or licence_of(path)
        return model.eval()

    def to_official(self, path: str | os.PathLike[str]) -> None:
        """Write the weights in the official layout as one ``.safetensors`` file, atomically.

        Raises StorageError where it cannot be written.
        """
        save_official(self, path)

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
        elif isinstance(module, DinoPatchEmbed):
            init.trunc_normal_(module.pos_embed, std=std)
            for token in (module.cls_token, module.register_tokens):
                init.trunc_normal_(token, std=1e-6)
            init.zeros_(module.mask_token)
        elif isinstance(module, Aggregator):
            init.trunc_normal_(module.camera_token, std=std)
            init.trunc_normal_(module.register_token, std=std)

    def forward(
        self, pixel_values: Tensor, output_layers: Sequence[int] | None = None, patch_bias: Tensor | None = None
    ) -> VggtOutput:
        """Encode all views of each scene together.

        Args:
            pixel_values: (B, V, 3, H, W), RGB in [0, 1], not normalised; H and W multiples of the patch size.
            output_layers: rounds to return beside the last one, counted from 0; others are not held in memory.
            patch_bias: (B, V, P, C), added to the patch tokens before the first round.

        Raises:
            ValueError: on another shape, or a round that does not exist.
        """
        patch = self.config.patch_size
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
            raise ValueError(f"pixel_values must be (batch, views, 3, height, width), not {tuple(pixel_values.shape)}")
        height, width = pixel_values.shape[-2:]
        if not height or not width or height % patch or width % patch:
            raise ValueError(f"images of {height} x {width} pixels: height and width must be multiples of {patch}")
        if not pixel_values.shape[1]:
            raise ValueError("a scene needs at least one view")
        rounds = tuple(output_layers or ())
        if any(not 0 <= index < self.config.num_hidden_layers for index in rounds):
            raise ValueError(f"output_layers {list(rounds)}: rounds go from 0 to {self.config.num_hidden_layers - 1}")
        last, layers, embedded = self.aggregator(pixel_values, rounds, patch_bias)
        special = 1 + self.config.num_register_tokens
        return VggtOutput(last, layers, special, (height, width), embedded)

    def predict_cameras(self, output: VggtOutput) -> list[Tensor]:
        """Predict pose encodings (B, V, 9) after each of four iterations; the last is the best."""
        if output.last_hidden_state is None or not hasattr(self, "camera_head"):
            raise ValueError("no camera head: build the model with 'camera' among config.heads")
        with torch.autocast(output.last_hidden_state.device.type, enabled=False):
            tokens = output.last_hidden_state[:, :, 0]
            return self.camera_head(tokens.to(self.camera_head.embed_pose.weight.dtype))

    @property
    def stem(self) -> EfficientNetLite0 | None:
        """The part of the patch embedding that has ImageNet weights; None for other patch embeddings."""
        embed = self.aggregator.patch_embed
        return embed.backbone if isinstance(embed, EfficientNetPatchEmbed) else None

    def freeze_before(self, layer: int) -> None:
        """Freeze the patch embedding, the special tokens and the rounds before ``layer``.

        Raises ValueError where there is no such round.
        """
        if not 0 <= layer < self.config.num_hidden_layers:
            raise ValueError(f"no round {layer}: they go from 0 to {self.config.num_hidden_layers - 1}")
        blocks = (self.aggregator.frame_blocks, self.aggregator.global_blocks)
        late = {parameter for group in blocks for parameter in group[layer:].parameters()}
        for parameter in self.aggregator.parameters():
            if parameter not in late:
                parameter.requires_grad_(False)

    def predict_depth(self, output: VggtOutput, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """Predict z-depth (B, V, H, W, 1) in the model's own scale, and its confidence (B, V, H, W).

        Args:
            output: of :meth:`forward` with ``output_layers=model.dense_layers``.
            chunk: images processed at a time; default ``config.views_at_once``, or 8.
        """
        return self._predict_dense("depth", activate_depth, output, chunk)

    def predict_points(self, output: VggtOutput, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """Predict points (B, V, H, W, 3) in the camera frame of view 0, and their confidence (B, V, H, W)."""
        return self._predict_dense("point", activate_points, output, chunk)

    @property
    def dense_layers(self) -> tuple[int, ...]:
        """Rounds that the depth and point heads need: pass them as ``output_layers``."""
        assert self.config.dpt_head is not None  # filled by the config
        return tuple(sorted(set(self.config.dpt_head["layers"])))

    def _predict_dense(
        self, name: str, activate: Callable[[Tensor], tuple[Tensor, Tensor]], output: VggtOutput, chunk: int | None
    ) -> tuple[Tensor, Tensor]:
        if name not in self.config.heads:
            raise ValueError(f"no {name} head: build the model with {name!r} among config.heads")
        layers = output.layers or {}
        if absent := set(self.dense_layers) - set(layers):
            raise ValueError(
                f"rounds {sorted(absent)} are missing: call the model with output_layers=model.dense_layers"
            )
        assert output.image_size is not None  # always set by forward
        head: DPTHead = getattr(self, f"{name}_head")
        patches = [layers[index][:, :, output.patch_start :] for index in head.layers]
        batch, views = patches[0].shape[:2]
        chunk = chunk or self.config.views_at_once or HEAD_CHUNK
        flat = [tokens.flatten(0, 1) for tokens in patches]
        values, confidences = [], []
        with torch.autocast(flat[0].device.type, enabled=False):
            for start in range(0, batch * views, chunk):
                pieces = [tokens[start : start + chunk].to(head.norm.weight.dtype) for tokens in flat]
                value, confidence = activate(head(pieces, output.image_size))
                values.append(value)
                confidences.append(confidence)
        return torch.cat(values).unflatten(0, (batch, views)), torch.cat(confidences).unflatten(0, (batch, views))
