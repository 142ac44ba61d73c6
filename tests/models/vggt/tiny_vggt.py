"""A VGGT small enough for tests."""

from __future__ import annotations

import torch

from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel

HEADS = ("camera", "depth", "point")


def tiny_config(patch_embed: str = "stem", heads: tuple[str, ...] = (), **changes: object) -> VggtConfig:
    """Return a config of a few thousand parameters, with ``changes``."""
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


def tiny_model(config: VggtConfig, seed: int = 0) -> VggtModel:
    """Build a model in which no parameter is zero or one, so that each has an effect."""
    torch.manual_seed(seed)
    model = VggtModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
