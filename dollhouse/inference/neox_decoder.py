"""GPT-NeoX in float32 without module overhead, for small models on CPUs.

Axes: R rows (questions), T tokens, N prefix tokens, D text width, H heads, W head width, L positions, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache

from dollhouse.inference.generation import Decoder, PlainDecoder
from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel
from dollhouse.models.generation import top_tokens
from dollhouse.runtime.word_batch import Integers, WordBatch


@dataclass
class Past:
    """Keys and values of all layers (layers, R, 2, H, L, W), of which the first ``length`` positions are filled."""

    key_values: Tensor
    length: int


@dataclass(frozen=True)
class _Layer:
    """Weights and biases of one block, used without the overhead of modules."""

    norm: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]  #: see :func:`_pack_qkv`
    dense: tuple[Tensor, Tensor | None]
    norm_after: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    act: Callable[[Tensor], Tensor]
    mlp_out: tuple[Tensor, Tensor]


class NeoxDecoder:
    """Run GPT-NeoX with its tensor operations alone; equal to the plain decoder up to rounding."""

    def __init__(self, model: SceneLanguageModel) -> None:
        """Pack the weights of ``model``, which :func:`supports_neox_decoder` accepts; later changes have no effect."""
        base = model.language_model.base_model
        config = base.config
        self.model = model
        self.weights = list(model.language_model.parameters())
        self.weights_state = _state(self.weights)
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.parallel = bool(config.use_parallel_residual)
        self.frequencies = base.rotary_emb.inv_freq.float()
        self.rotary = 2 * len(self.frequencies)  # channels of a head with rotary positions
        self.embed, self.head = base.embed_in, model.language_model.get_output_embeddings()
        self.shape, self.eps = (config.hidden_size,), config.layer_norm_eps
        self.norm = _both(base.final_layer_norm)
        with torch.no_grad():
            self.layers = [
                _Layer(
                    _both(layer.input_layernorm),
                    _pack_qkv(layer.attention.query_key_value, self.heads, self.rotary),
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
        self._forward(past, states)
        return past

    def expand(self, scene: Past, rows: int, max_tokens: int) -> Past:
        past = self._empty(rows, scene.length + max_tokens, scene.key_values)
        past.key_values[..., : scene.length, :] = scene.key_values
        past.length = scene.length
        return past

    def step(self, past: Past, ids: Tensor, skip: int = 0, mask: Tensor | None = None) -> Tensor:
        """See :class:`Decoder`; ``mask`` (R, L + T) is 0 for padding at the left of rows and of their questions."""
        states = self._forward(past, self.embed(ids), skip, mask)
        logits: Tensor = self.head(F.layer_norm(states[:, -1], self.shape, *self.norm, self.eps))
        return logits

    def is_current(self, model: SceneLanguageModel) -> bool:
        """Return whether this decodes ``model`` with its present weights."""
        same = self.model is model and next(model.language_model.parameters()) is self.weights[0]
        return same and _state(self.weights) == self.weights_state

    def dynamic_cache(self, scene: Past, rows: int) -> DynamicCache:
        cache = DynamicCache()
        for number, layer in enumerate(scene.key_values):
            keys, values = layer.repeat(rows, 1, 1, 1, 1).unbind(1)
            cache.update(keys, values, number)
        return cache

    def continued(self, cache: DynamicCache, max_tokens: int) -> Past:
        first, length = cache.layers[0].keys, cache.get_seq_length()
        past = self._empty(len(first), length + max_tokens, first)
        for layer, known in zip(past.key_values, cache.layers, strict=True):
            layer[..., :length, :] = torch.stack([known.keys, known.values], 1)
        past.length = length
        return past

    def _empty(self, rows: int, positions: int, like: Tensor) -> Past:
        return Past(like.new_empty(len(self.layers), rows, 2, self.heads, positions, self.width), 0)

    def _forward(self, past: Past, states: Tensor, skip: int = 0, mask: Tensor | None = None) -> Tensor:
        """Run all blocks on embeddings (R, T, D) after ``past``, which grows; returns the last states (R, T, D)."""
        rows, count, _ = states.shape
        start, end = past.length, past.length + count
        positions = torch.arange(start + skip, end + skip, device=states.device)
        if mask is not None:
            positions = mask.cumsum(1)[:, start:] - 1
        angles = positions.unsqueeze(-1) * self.frequencies
        angles = torch.cat([angles, angles], -1).view(-1, count, 1, 1, self.rotary)
        cosines, sines = angles.cos(), angles.sin()
        later = states.new_full((count, end), -torch.inf).triu(start + 1) if count > 1 else None
        if mask is not None:
            padding = states.new_zeros(rows, 1, 1, end).masked_fill_(mask[:, None, None] == 0, -torch.inf)
            later = padding if later is None else padding + later
        fields, partners = 3 * self.heads * self.width, 2 * self.heads * self.rotary
        added = past.key_values.narrow(4, start, count).unbind()
        known_keys, known_values = past.key_values.narrow(4, 0, end).unbind(2)
        known_keys = known_keys.transpose(3, 4)
        for layer, new, keys, values in zip(self.layers, added, known_keys, known_values, strict=True):
            projected = F.linear(F.layer_norm(states, self.shape, *layer.norm, self.eps), *layer.qkv)
            own, swapped = projected.split((fields, partners), 2)
            own = own.view(rows, count, 3, self.heads, self.width)
            turned = own.narrow(2, 0, 2).narrow(4, 0, self.rotary)
            turned.mul_(cosines).addcmul_(swapped.view(turned.shape), sines)
            own = own.permute(2, 0, 3, 1, 4)
            new.copy_(own.narrow(0, 1, 2).transpose(0, 1))
            weights = own[0] @ keys
            if later is not None:
                weights += later
            attended = (weights.softmax(-1) @ values).transpose(1, 2).reshape(states.shape)
            residual = F.linear(attended, *layer.dense).add_(states)
            after = F.layer_norm(states if self.parallel else residual, self.shape, *layer.norm_after, self.eps)
            states = F.linear(layer.act(F.linear(after, *layer.mlp_in)), *layer.mlp_out).add_(residual)
        past.length = end
        return states


def _pack_qkv(linear: nn.Linear, heads: int, rotary: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias for queries, keys and values, and for the rotated halves of queries and keys.

    Queries are divided by the root of their width. Rotary positions combine channel j of the first ``rotary`` channels
    with channel j + rotary/2; that partner, with its sign, is one more output instead of two more operations.
    """
    width = linear.out_features // (3 * heads)
    parameters = [linear.weight] if linear.bias is None else [linear.weight, linear.bias.unsqueeze(-1)]
    fields = torch.cat(parameters, 1).view(heads, 3, width, -1).transpose(0, 1).clone()  # (3, H, W, D + 1)
    fields[0] *= width**-0.5
    low, high = fields[:2, :, :rotary].chunk(2, 2)
    partners = torch.cat([-high, low], 2)
    both = torch.cat([fields.flatten(0, 2), partners.flatten(0, 2)])
    if linear.bias is None:
        return both, both.new_zeros(len(both))
    return both[:, :-1].contiguous(), both[:, -1].contiguous()


def supports_neox_decoder(model: SceneLanguageModel) -> bool:
    """Return whether :class:`NeoxDecoder` can run this model."""
    config = model.config.get_text_config()
    return (
        config.model_type == "gpt_neox"
        and config.rope_parameters["rope_type"] == "default"
        and model.config.thinking_passes == 1
        and all(weight.dtype == torch.float32 for weight in model.language_model.parameters())
    )


def _both(layer: Any) -> tuple[Tensor, Any]:
    """Return weight and bias of a layer."""
    return layer.weight, layer.bias


def _state(weights: Sequence[Tensor]) -> list[tuple[int, torch.dtype, int]]:
    """Return what changes with the weights: address, dtype and version of each."""
    return [(weight.data_ptr(), weight.dtype, 0 if weight.is_inference() else weight._version) for weight in weights]


def select_decoder(model: SceneLanguageModel, current: Decoder | None = None) -> Decoder:
    """Return the fastest decoder of a model in evaluation mode: ``current`` while it is valid, else a new one."""
    if isinstance(current, NeoxDecoder) and current.is_current(model) and model.config.thinking_passes == 1:
        return current
    return NeoxDecoder(model) if supports_neox_decoder(model) else PlainDecoder(model)


class TorchWords(WordBatch[Past]):
    """A batch of :class:`NeoxDecoder`; its caches are those of sessions."""

    def __init__(self, decoder: NeoxDecoder, limit: int) -> None:
        super().__init__(decoder.model.config.eos_token_id, limit)
        self._decoder = decoder
        self._suppressed = torch.tensor(list(decoder.model.suppress_tokens()), dtype=torch.long)

    def _width(self, cache: Past) -> int:
        return cache.length

    def _joined(self, caches: Sequence[Past], room: int) -> Past:
        width = max(cache.length for cache in caches)
        layers, _, two, heads, _, channels = caches[0].key_values.shape
        rows = [cache.key_values.shape[1] for cache in caches]
        joined = caches[0].key_values.new_zeros(layers, sum(rows), two, heads, width + room, channels)
        for cache, place in zip(caches, joined.split(rows, 1), strict=True):
            place[..., width - cache.length : width, :] = cache.key_values[..., : cache.length, :]
        return Past(joined, width)

    def _selected(self, cache: Past, rows: Integers, first: int) -> Past:
        chosen = torch.from_numpy(rows).to(cache.key_values.device)
        return Past(cache.key_values[..., first:, :].index_select(1, chosen), cache.length - first)

    def _run(self, cache: Past, ids: Integers, mask: Integers) -> tuple[Past, Integers, NDArray[Any]]:
        device = cache.key_values.device
        with torch.inference_mode():
            logits = self._decoder.step(cache, torch.from_numpy(ids).to(device), mask=torch.from_numpy(mask).to(device))
            logits[:, self._suppressed] = -torch.inf
            log_probs, best = top_tokens(logits, 1)
        return cache, best[:, 0].cpu().numpy(), log_probs[:, 0].float().cpu().numpy()
