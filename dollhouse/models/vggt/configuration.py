"""Configuration of the VGGT encoder."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class VggtConfig(PreTrainedConfig):
    """Configure a VGGT encoder; the defaults are VGGT-1B (``docs/specs/vggt.md``, section 1).

    Args:
        image_size: side in pixels of the square image that ``pos_embed`` of the DINO patch embedding is stored for.
            Inputs may have any height and width that are multiples of ``patch_size``.
        patch_size: side of a patch in pixels.
        hidden_size: C, the width of a token; the encoder's output is 2C wide.
        num_hidden_layers: rounds; a round is one frame block and one global block.
        num_attention_heads, mlp_ratio: of the frame and global blocks.
        num_register_tokens: beside the one camera token, in front of every frame's patches.
        aa_block_size: frame blocks that run before as many global blocks.
        aa_order: which of "frame" and "global" goes first in a round.
        rope_theta: base of the rotary frequencies.
        layerscale_value: initial layer scale of the frame, global and camera blocks.
        patch_embed: "dinov2" (a DINOv2 ViT with registers), "conv" (one strided convolution), "stem" (a small
            convolutional stem, for encoders trained from scratch), or "efficientnet" (EfficientNet-Lite0, for small
            encoders that start from ImageNet weights).
        dino: num_hidden_layers, num_attention_heads, mlp_ratio, num_register_tokens, layerscale_value of the ViT.
        heads: which of "camera", "depth", "point" the model has.
        camera_head: num_hidden_layers, num_attention_heads, mlp_ratio of the camera head's trunk.
        dpt_head: features, out_channels and layers (the input rounds) of the depth and point heads.
        views_at_once: views that are processed together where no gradient is needed; memory for the others is only
            their tokens, keys and values. None: all.
        licence: licence of the weights; None where they are the user's own.

    Raises:
        ValueError: where the values contradict each other.
    """

    model_type = "dollhouse_vggt"

    image_size: int = 518
    patch_size: int = 14
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    mlp_ratio: float = 4.0
    num_register_tokens: int = 4
    aa_block_size: int = 1
    aa_order: list[str] | tuple[str, ...] = ("frame", "global")
    rope_theta: float = 100.0
    layerscale_value: float = 0.01
    initializer_range: float = 0.02
    patch_embed: str = "dinov2"
    dino: dict[str, Any] | None = None
    heads: list[str] | tuple[str, ...] = ("camera", "depth", "point")
    camera_head: dict[str, Any] | None = None
    dpt_head: dict[str, Any] | None = None
    views_at_once: int | None = None
    licence: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.heads, self.aa_order = list(self.heads), list(self.aa_order)
        self.dino = _filled("dino", self.dino, _DINO)
        self.camera_head = _filled("camera_head", self.camera_head, _CAMERA_HEAD)
        self.dpt_head = _filled("dpt_head", self.dpt_head, _DPT_HEAD)
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        if self.patch_embed not in ("dinov2", "conv", "stem", "efficientnet"):
            raise ValueError(f"patch_embed is {self.patch_embed!r}; choose dinov2, conv, stem or efficientnet")
        if self.patch_embed == "stem" and self.patch_size != 14:
            raise ValueError(f"the stem has patches of 14 pixels, not {self.patch_size}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 x num_attention_heads "
                f"(4 x {self.num_attention_heads}), since rotary positions split a head in four"
            )
        if self.num_hidden_layers % self.aa_block_size:
            raise ValueError(
                f"num_hidden_layers {self.num_hidden_layers} is no multiple of aa_block_size {self.aa_block_size}"
            )
        if sorted(self.aa_order) != ["frame", "global"]:
            raise ValueError(f"aa_order is {self.aa_order}; it must list frame and global, in either order")
        if unknown := set(self.heads) - {"camera", "depth", "point"}:
            raise ValueError(f"no such heads: {', '.join(sorted(unknown))}; choose among camera, depth and point")
        if self.views_at_once is not None and self.views_at_once < 1:
            raise ValueError(f"views_at_once is {self.views_at_once}; give 1 or more, or None for all")
        layers = self.dpt_head["layers"] if self.dpt_head else []
        if {"depth", "point"} & set(self.heads) and (len(layers) != 4 or max(layers) >= self.num_hidden_layers):
            raise ValueError(f"dpt_head has layers {layers}: choose four of 0..{self.num_hidden_layers - 1}")


_DINO = {
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4.0,
    "num_register_tokens": 4,
    "layerscale_value": 1.0,
}
_CAMERA_HEAD = {"num_hidden_layers": 4, "num_attention_heads": 16, "mlp_ratio": 4.0}
_DPT_HEAD = {"features": 256, "out_channels": [256, 512, 1024, 1024], "layers": [4, 11, 17, 23]}


def _filled(name: str, given: dict[str, Any] | None, defaults: dict[str, Any]) -> dict[str, Any]:
    """Fill ``given`` with ``defaults``; raises ValueError on a key that ``defaults`` lacks."""
    if unknown := set(given or {}) - set(defaults):
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; choose among {', '.join(defaults)}")
    return {**defaults, **(given or {})}
