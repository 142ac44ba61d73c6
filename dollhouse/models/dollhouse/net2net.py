"""Widen a trained student without changing what it computes (after Net2Net, arXiv 1511.05641).

Every channel is duplicated. Weights that take duplicated channels as inputs are halved, plus noise that cancels as long
as the duplicates are equal, so that training can tell them apart.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import single_weights

#: parameters that concatenate several widths: queries, keys, values; frame and global blocks
GROUPED = {".qkv.": 3, "trunk.norm_in.": 2, "trunk.proj_in.weight": 2}
#: the same, where depth is predicted from trunk and stem features; a stem with weights of its own keeps its width
GROUPED_STEM = {"depth_head.proj.weight": 2}
NOISE = 0.5  #: difference of the duplicates' weights, in standard deviations of the weights


def expanded_config(config: DollhouseConfig, width_multiplier: int = 2, use_rgbd: bool = False) -> DollhouseConfig:
    """Return the config of a model with every width multiplied by 1 or 2, and with RGB-D inputs if ``use_rgbd``."""
    values = copy.deepcopy(config.to_dict())
    for width in ("hidden_size", "num_attention_heads"):
        values["vision_config"][width] *= width_multiplier
        values["text_config"][width] *= width_multiplier
    values["text_config"]["intermediate_size"] *= width_multiplier
    for width in ("trunk_width", "trunk_heads"):
        values[width] *= width_multiplier
    return DollhouseConfig(**{**values, "use_rgbd": use_rgbd or config.use_rgbd})


@torch.no_grad()
def widen(
    narrow: DollhouseForConditionalGeneration, width_multiplier: int = 2, use_rgbd: bool = False
) -> DollhouseForConditionalGeneration:
    """Copy ``narrow`` into a model of :func:`expanded_config` that computes the same.

    New modules are initialised afresh; the RGB-D embedding starts at zero. Noise comes from torch's global generator.
    Raises ValueError for a multiplier other than 1 and 2, or a language model other than GPT-NeoX, whose layout of
    queries, keys and values is unknown here.
    """
    text = narrow.config.get_text_config()
    if width_multiplier not in (1, 2):
        raise ValueError(f"width_multiplier is {width_multiplier}; choose 1 or 2")
    wider = width_multiplier == 2
    if wider and text.model_type != "gpt_neox":
        raise ValueError(f"only GPT-NeoX language models can be made wider, not {text.model_type}")
    model = DollhouseForConditionalGeneration(expanded_config(narrow.config, width_multiplier, use_rgbd))
    model.generation_config = copy.deepcopy(narrow.generation_config)
    weights = single_weights(narrow)
    modules = dict(model.named_modules())
    grouped = GROUPED | (GROUPED_STEM if narrow.config.depth_from == "stem" else {})
    for name, value in model.state_dict().items():
        if name not in weights:
            continue
        module = modules[name.rpartition(".")[0]]
        groups = next((count for part, count in grouped.items() if part in name), 1)
        value.copy_(_duplicate(weights[name], value.shape, isinstance(module, (nn.Linear, nn.Conv2d)), groups))
    if wider and text.tie_word_embeddings:  # the tied output embedding sums both duplicates
        norm = model.language_model.base_model.final_layer_norm
        norm.weight.mul_(0.5)
        norm.bias.mul_(0.5)
        if model.config.thinking_passes > 1:  # its input is the norm's output
            model.thinking_map.weight.mul_(2)
    return model


def _duplicate(weight: Tensor, shape: torch.Size, has_inputs: bool, groups: int) -> Tensor:
    """Expand ``weight`` to ``shape``, each axis of which is as long or twice as long.

    ``has_inputs``: for matrices and convolutions, whose second axis are inputs. An axis that concatenates ``groups``
    widths is doubled group by group.
    """
    for axis, length in enumerate(shape):
        if weight.shape[axis] == length:
            continue
        is_input = has_inputs and axis == 1
        grouped = axis == (1 if groups == 2 and has_inputs else 0)
        pieces = []
        for piece in weight.chunk(groups if grouped else 1, axis):
            noise = NOISE * 0.5 * piece.std() * torch.randn_like(piece) if is_input else torch.zeros(())
            pieces += [piece / 2 + noise, piece / 2 - noise] if is_input else [piece, piece]
        weight = torch.cat(pieces, axis)
    return weight
