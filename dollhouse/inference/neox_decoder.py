"""GPT-NeoX in float32 without module overhead, for small models on CPUs.

Axes: R rows (questions), T tokens, N prefix tokens, D text width, H heads, W head width, L places, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache

from dollhouse.inference.generation import Decoder, PlainDecoder
from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel


@dataclass
class Past:
    """Keys and values of all layers (layers, R, 2, H, L, W), of which the first ``length`` places are filled.

    In one tensor, because the places of a step are then cut out once and not once a layer.
    """

    told: Tensor
    length: int


@dataclass(frozen=True)
class _Layer:
    """One block's weights and biases, to be used without modules around them, which cost as much as they compute."""

    norm: tuple[Tensor, Tensor]
    read: tuple[Tensor, Tensor]  #: queries, keys and values in one matrix, see :func:`_packed`
    write: tuple[Tensor, Tensor | None]
    norm_after: tuple[Tensor, Tensor]
    widen: tuple[Tensor, Tensor]
    act: Callable[[Tensor], Tensor]
    narrow: tuple[Tensor, Tensor]


class NeoxDecoder:
    """GPT-NeoX, every operation that it needs and no other; the same numbers but for rounding."""

    def __init__(self, model: SceneLanguageModel) -> None:
        """Pack the weights of ``model``, which :func:`supports_neox_decoder` accepts; later changes have no effect."""
        base = model.language_model.base_model
        config = base.config
        self.model = model
        self.weights = list(model.language_model.parameters())
        self.made_of = _state(self.weights)
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.parallel = bool(config.use_parallel_residual)
        self.frequencies = base.rotary_emb.inv_freq.float()
        self.turning = 2 * len(self.frequencies)  # channels of a head that turn with the place
        self.embed, self.head = base.embed_in, model.language_model.get_output_embeddings()
        self.shape, self.eps = (config.hidden_size,), config.layer_norm_eps
        self.norm = _both(base.final_layer_norm)
        with torch.no_grad():
            self.layers = [
                _Layer(
                    _both(layer.input_layernorm),
                    _packed(layer.attention.query_key_value, self.heads, self.turning),
                    _both(layer.attention.dense),
                    _both(layer.post_attention_layernorm),
                    _both(layer.mlp.dense_h_to_4h),
                    F.gelu if config.hidden_act == "gelu" else layer.mlp.act,
                    _both(layer.mlp.dense_4h_to_h),
                )
                for layer in base.layers
            ]

    def encode_prefix(self, prefix: Tensor) -> Past:
        states = torch.cat([prefix.float(), self.embed(self.model.scene_thinking_ids(len(prefix)))], 1)
        past = self._empty(len(states), states.shape[1], states)
        self._read(past, states)
        return past

    def expand(self, scene: Past, rows: int, max_tokens: int) -> Past:
        past = self._empty(rows, scene.length + max_tokens, scene.told)
        past.told[..., : scene.length, :] = scene.told
        past.length = scene.length
        return past

    def step(self, past: Past, ids: Tensor, skip: int = 0) -> Tensor:
        states = self._read(past, self.embed(ids), skip)
        logits: Tensor = self.head(F.layer_norm(states[:, -1], self.shape, *self.norm, self.eps))
        return logits

    def is_current(self, model: SceneLanguageModel) -> bool:
        """Whether this is a decoder of ``model`` with the weights that it has now."""
        same = self.model is model and next(model.language_model.parameters()) is self.weights[0]
        return same and _state(self.weights) == self.made_of

    def dynamic_cache(self, scene: Past, rows: int) -> DynamicCache:
        cache = DynamicCache()
        for number, layer in enumerate(scene.told):
            keys, values = layer.repeat(rows, 1, 1, 1, 1).unbind(1)
            cache.update(keys, values, number)
        return cache

    def _empty(self, rows: int, places: int, like: Tensor) -> Past:
        return Past(like.new_empty(len(self.layers), rows, 2, self.heads, places, self.width), 0)

    def _read(self, past: Past, states: Tensor, skip: int = 0) -> Tensor:
        """Embeddings (R, T, D) after ``past`` -> states (R, T, D) after the last block; ``past`` grows by them."""
        rows, count, _ = states.shape
        start, end = past.length, past.length + count
        angles = torch.arange(start + skip, end + skip, device=states.device).unsqueeze(-1) * self.frequencies
        angles = torch.cat([angles, angles], -1).view(count, 1, 1, self.turning)
        cosines, sines = angles.cos(), angles.sin()
        later = states.new_full((count, end), -torch.inf).triu(start + 1) if count > 1 else None
        fields, partners = 3 * self.heads * self.width, 2 * self.heads * self.turning
        added = past.told.narrow(4, start, count).unbind()
        known_keys, known_values = past.told.narrow(4, 0, end).unbind(2)
        known_keys = known_keys.transpose(3, 4)
        for layer, place, keys, values in zip(self.layers, added, known_keys, known_values, strict=True):
            told = F.linear(F.layer_norm(states, self.shape, *layer.norm, self.eps), *layer.read)
            own, swapped = told.split((fields, partners), 2)
            own = own.view(rows, count, 3, self.heads, self.width)
            turned = own.narrow(2, 0, 2).narrow(4, 0, self.turning)
            turned.mul_(cosines).addcmul_(swapped.view(turned.shape), sines)
            own = own.permute(2, 0, 3, 1, 4)
            place.copy_(own.narrow(0, 1, 2).transpose(0, 1))
            weights = own[0] @ keys
            if later is not None:
                weights += later
            mixed = (weights.softmax(-1) @ values).transpose(1, 2).reshape(states.shape)
            written = F.linear(mixed, *layer.write).add_(states)
            after = F.layer_norm(states if self.parallel else written, self.shape, *layer.norm_after, self.eps)
            states = F.linear(layer.act(F.linear(after, *layer.widen)), *layer.narrow).add_(written)
        past.length = end
        return states


def _packed(read: nn.Linear, heads: int, turning: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that give queries, keys and values, and then what is turned into queries and keys by sines.

    Queries come divided by the root of their width. In the first ``turning`` channels of a head, channel j is turned
    with channel j + turning/2; so its partner, with its sign, is one more output instead of two more operations.
    """
    width = read.out_features // (3 * heads)
    told = [read.weight] if read.bias is None else [read.weight, read.bias.unsqueeze(-1)]
    fields = torch.cat(told, 1).view(heads, 3, width, -1).transpose(0, 1).clone()  # (3, H, W, D + 1)
    fields[0] *= width**-0.5
    low, high = fields[:2, :, :turning].chunk(2, 2)
    partners = torch.cat([-high, low], 2)
    both = torch.cat([fields.flatten(0, 2), partners.flatten(0, 2)])
    if read.bias is None:
        return both, both.new_zeros(len(both))
    return both[:, :-1].contiguous(), both[:, -1].contiguous()


def supports_neox_decoder(model: SceneLanguageModel) -> bool:
    """Whether :class:`NeoxDecoder` computes what this model does."""
    config = model.config.get_text_config()
    return (
        config.model_type == "gpt_neox"
        and config.rope_parameters["rope_type"] == "default"
        and model.config.thinking_passes == 1
        and all(weight.dtype == torch.float32 for weight in model.language_model.parameters())
    )


def _both(layer: Any) -> tuple[Tensor, Any]:
    """Weight and bias of a layer."""
    return layer.weight, layer.bias


def _state(weights: Sequence[Tensor]) -> list[tuple[int, torch.dtype, int]]:
    """Something that changes with weights: where each lies, as what, and how often it was written to."""
    return [(one.data_ptr(), one.dtype, 0 if one.is_inference() else one._version) for one in weights]


def select_decoder(model: SceneLanguageModel, kept: Decoder | None = None) -> Decoder:
    """The quickest decoder of a model in evaluation: ``kept`` while it is that, else another."""
    if isinstance(kept, NeoxDecoder) and kept.is_current(model) and model.config.thinking_passes == 1:
        return kept
    return NeoxDecoder(model) if supports_neox_decoder(model) else PlainDecoder(model)
