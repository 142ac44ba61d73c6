"""A larger model that begins by computing what a smaller one does.

Every width is doubled by holding each channel twice; where two copies are read again their weights are halved, and
told apart by noise that cancels as long as the copies are equal. So nothing learnt is lost, and training makes
something of the room (after Net2Net, arXiv 1511.05641). Knows nothing of training.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dollhouse.models.dollhouse.checkpoint import single_weights
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

#: parameters along which several widths lie one after the other: queries, keys, values; frame and global rounds
GROUPED = {".qkv.": 3, "trunk.norm_in.": 2, "trunk.proj_in.weight": 2}
UNLIKE = 0.5  #: how far the copies' weights are apart, in deviations of the weights themselves


def expanded_config(config: DollhouseConfig, width_multiplier: int = 2, use_rgbd: bool = False) -> DollhouseConfig:
    """Return the config of a model with every width multiplied by 1 or 2, and with RGB-D inputs if asked for."""
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

    Raises:
        ValueError: for a multiplier other than 1 and 2, or a language model other than GPT-NeoX, whose layout of
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
    kept = single_weights(narrow)  # the output table is the input's where they are tied
    modules = dict(model.named_modules())
    for name, value in model.state_dict().items():
        if name not in kept:
            continue
        module = modules[name.rpartition(".")[0]]
        groups = next((count for part, count in GROUPED.items() if part in name), 1)
        value.copy_(_twice(kept[name], value.shape, isinstance(module, (nn.Linear, nn.Conv2d)), groups))
    if wider and text.tie_word_embeddings:  # read and written by one table, whose two copies would be summed
        norm = model.language_model.base_model.final_layer_norm
        norm.weight.mul_(0.5)
        norm.bias.mul_(0.5)
        if model.config.thinking_passes > 1:  # which reads what the norm has halved
            model.thinking_map.weight.mul_(2)
    return model


def _twice(weight: Tensor, shape: torch.Size, reads: bool, groups: int) -> Tensor:
    """``weight`` brought to ``shape``, each axis of which is as long or twice as long.

    ``reads``: a matrix or convolution, whose second axis is what it reads. The first axis of ``groups`` is several
    widths one after the other, each of which is doubled in its place.
    """
    for axis, length in enumerate(shape):
        if weight.shape[axis] == length:
            continue
        reading = reads and axis == 1
        first = axis == (1 if groups == 2 and reads else 0)
        pieces = []
        for piece in weight.chunk(groups if first else 1, axis):
            noise = UNLIKE * 0.5 * piece.std() * torch.randn_like(piece) if reading else torch.zeros(())
            pieces += [piece / 2 + noise, piece / 2 - noise] if reading else [piece, piece]
        weight = torch.cat(pieces, axis)
    return weight
