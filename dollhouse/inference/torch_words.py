"""Answers about many scenes in one batch, with the torch engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from dollhouse.inference.neox_decoder import NeoxDecoder, Past
from dollhouse.models.generation import top_tokens
from dollhouse.runtime.word_batch import Integers, WordBatch


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
