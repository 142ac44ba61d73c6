"""VGGT's aggregator: patch embedding, then rounds of frame and global attention (``docs/specs/vggt.md``, section 2).

Axes: B batch, V views, N images (B x V), P patches (row by row), S = 1 + registers special tokens, C width of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dollhouse.models.vggt import efficientnet
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.layers import Block, RotaryTable, rotary_table
from dollhouse.models.vggt.patch_embed import ConvPatchEmbed, ConvStem, DinoPatchEmbed

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Encode all views of a scene by alternating frame attention and global attention."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        self.config = config
        width, heads = config.hidden_size, config.num_attention_heads
        self.patch_embed: nn.Module
        if config.patch_embed == "dinov2":
            self.patch_embed = DinoPatchEmbed(config)
        elif config.patch_embed == "conv":
            self.patch_embed = ConvPatchEmbed(width, config.patch_size)
        elif config.patch_embed == "efficientnet":
            self.patch_embed = efficientnet.EfficientNetPatchEmbed(width, config.patch_size)
        else:
            self.patch_embed = ConvStem(width)
        pretrained = config.patch_embed == "efficientnet"
        self.image_norm = (efficientnet.MEAN, efficientnet.STD) if pretrained else (IMAGE_MEAN, IMAGE_STD)
        # [:, 0] is for frame 0, [:, 1] for every other frame
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, width))

        def blocks() -> nn.ModuleList:
            shape = (width, heads, config.mlp_ratio, config.layerscale_value)
            return nn.ModuleList(Block(*shape, qk_norm=True) for _ in range(config.num_hidden_layers))

        self.frame_blocks = blocks()
        self.global_blocks = blocks()

    def forward(
        self, pixel_values: Tensor, output_layers: Sequence[int], patch_bias: Tensor | None = None
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...]]:
        """Encode images.

        Args:
            pixel_values: (B, V, 3, H, W) in [0, 1].
            output_layers: rounds whose output is returned beside the last.
            patch_bias: (B, V, P, C), added to the patch tokens.

        Returns:
            The output of the last round (B, V, S+P, 2C), those of ``output_layers`` by number, and what
            :meth:`embed_patches` returned.
        """
        batch, views, _, height, width = pixel_values.shape
        step = self.config.views_at_once
        if step is not None and (step >= batch * views or self._needs_gradient(pixel_values)):
            step = None
        embedded = self.embed_patches(pixel_values.flatten(0, 1), step)
        patches = embedded[0]
        if patch_bias is not None:
            patches = patches + patch_bias.flatten(0, 1).to(patches.dtype)
        grid = height // self.config.patch_size, width // self.config.patch_size
        last, outputs = self.attend(patches, views, grid, output_layers, step)
        return last, outputs, embedded

    def attend(
        self, patches: Tensor, views: int, grid: tuple[int, int], output_layers: Sequence[int] = (),
        step: int | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:  # fmt: skip
        """Run the rounds of attention over patch tokens (N, P, C) of ``views`` views a scene, P = rows x columns.

        Returns the output of the last round (B, V, S+P, 2C), and those of ``output_layers`` by number.
        """
        batch = patches.shape[0] // views
        if self.camera_token.dtype != torch.float32:  # weights of 16 bits, behind a stem in float32
            patches = patches.to(self.camera_token.dtype)
        special = torch.cat([self.camera_token, self.register_token], 2)
        special = torch.cat([special[:, :1], special[:, 1:].expand(-1, views - 1, -1, -1)], 1)  # (1, V, S, C)
        special = special.expand(batch, -1, -1, -1).flatten(0, 1).to(patches.dtype)
        tokens = torch.cat([special, patches], 1)

        length = tokens.shape[1]
        frame_rotary = self.rotary(*grid, tokens)
        global_rotary = frame_rotary.repeat(views)
        outputs: dict[int, Tensor] = {}
        size, last = self.config.aa_block_size, self.config.num_hidden_layers - 1
        for start in range(0, self.config.num_hidden_layers, size):
            rounds = range(start, start + size)
            wanted = {index for index in rounds if index == last or index in output_layers}
            halves: dict[tuple[str, int], Tensor] = {}
            for kind in self.config.aa_order:
                for index in rounds:
                    if kind == "frame":
                        tokens = self.frame_attention(self.frame_blocks[index], tokens, frame_rotary, step)
                    else:
                        tokens = tokens.view(batch, views * length, -1)
                        tokens = self.global_attention(self.global_blocks[index], tokens, global_rotary, step, length)
                        tokens = tokens.view(batch * views, length, -1)
                    if index in wanted:
                        halves[kind, index] = tokens if step is None else tokens.clone()
            for index in wanted:
                both = [halves.pop((kind, index)) for kind in ("frame", "global")]
                outputs[index] = torch.cat(both, -1).view(batch, views, length, -1)
        return outputs[last], {index: outputs[index] for index in output_layers}

    def embed_patches(self, images: Tensor, step: int | None) -> tuple[Tensor, ...]:
        """Embed images (N, 3, H, W) in [0, 1] as patch tokens (N, P, C), ``step`` images at a time.

        Behind the tokens come the finer maps of an embedding that has them.
        """
        # float32 first, as the official code keeps them: in float64 the difference would show
        mean, std = (torch.tensor(row).to(images).view(3, 1, 1) for row in self.image_norm)
        if step is None:  # no split, which would fix the number of images in an exported graph
            dtype = next(self.patch_embed.parameters()).dtype
            embedded = self.patch_embed(((images - mean) / std).to(dtype))
            return embedded if isinstance(embedded, tuple) else (embedded,)
        chunks = [self.embed_patches(chunk, None) for chunk in images.split(step)]
        return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))

    @staticmethod
    def frame_attention(block: nn.Module, tokens: Tensor, rotary: RotaryTable, step: int | None) -> Tensor:
        """Apply ``block`` within frames (N, S+P, C); with ``step``, so many at a time and in place."""
        if step is None:
            return block(tokens, rotary)
        for start in range(0, len(tokens), step):
            tokens[start : start + step] = block(tokens[start : start + step], rotary)
        return tokens

    @staticmethod
    def global_attention(
        block: nn.Module, tokens: Tensor, rotary: RotaryTable, step: int | None, length: int
    ) -> Tensor:
        """Apply ``block`` across all frames (B, V x (S+P), C); with ``step``, as above."""
        assert isinstance(block, Block)
        return block(tokens, rotary) if step is None else block.forward_chunked(tokens, rotary, step * length)

    def _needs_gradient(self, pixel_values: Tensor) -> bool:
        return torch.is_grad_enabled() and (
            pixel_values.requires_grad or any(parameter.requires_grad for parameter in self.parameters())
        )

    def rotary(self, rows: int, columns: int, tokens: Tensor) -> RotaryTable:
        """Compute the rotations of a frame: patches at (row + 1, column + 1), special tokens at (0, 0)."""
        row, column = (torch.arange(1, count + 1, device=tokens.device) for count in (rows, columns))
        grid = torch.cartesian_prod(row, column)
        positions = torch.cat([grid.new_zeros(1 + self.config.num_register_tokens, 2), grid])
        head_width = self.config.hidden_size // self.config.num_attention_heads
        return rotary_table(positions, head_width, self.config.rope_theta, tokens.dtype)
