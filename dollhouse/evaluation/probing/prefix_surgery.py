"""A student's sequence, cut open at its thinking tokens, so that something else can be put there.

Knows both placements; nothing of what is put there, or why.

Axes: R questions of one length, K thinking tokens, D text width, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.modeling_language import select_scenes


@dataclass
class Lead:
    """All that stands before the thinking tokens of R questions, and what follows them."""

    cache: DynamicCache  #: keys and values of R rows; it grows as more is read
    rest: Tensor  #: (R, T) ids after the thinking tokens; the answer's mark is the last

    def copy(self) -> Lead:
        """Another one, to go on from differently."""
        return Lead(select_scenes(self.cache, torch.arange(len(self.rest), device=self.rest.device)), self.rest)


def joined(caches: Sequence[DynamicCache]) -> DynamicCache:
    """Caches of one length as the rows of one cache."""
    whole = DynamicCache()
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        keys, values = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("keys", "values"))
        whole.update(keys, values, number)
    return whole


def lead_to_thoughts(memory: SceneSession, ids: Tensor) -> Lead:
    """Questions ``ids`` (R, T) of one length about a seen scene, read up to their thinking tokens."""
    model = memory.pipeline.model
    count = model.config.num_thinking_tokens
    cache = memory.dynamic_cache(len(ids))
    if model.config.thinking_placement == "before_question":
        cache.crop(-count)
        return Lead(cache, ids)
    first = int(model.thinking_mask(ids[:1]).nonzero()[0, 1])
    model.language_model.base_model(input_ids=ids[:, :first], past_key_values=cache, use_cache=True)
    return Lead(cache, ids[:, first + count :])


def think(model: DollhouseForConditionalGeneration, lead: Lead, embeddings: Tensor) -> None:
    """Let the model think after ``lead``, with ``embeddings`` (K, D) at the thinking positions of every question."""
    rows = len(lead.rest)
    embeds = embeddings.to(model.dtype).expand(rows, -1, -1)
    everywhere = torch.ones(rows, len(embeddings), dtype=torch.bool, device=embeds.device)
    embeds = model.apply_thinking_passes(embeds, everywhere, past_key_values=lead.cache)
    model.language_model.base_model(inputs_embeds=embeds, past_key_values=lead.cache, use_cache=True)


def thinking_embeddings(model: DollhouseForConditionalGeneration) -> Tensor:
    """The trained input embeddings (K, D) of the thinking tokens."""
    ids = torch.tensor(list(model.config.thinking_ids), device=model.device)
    return model.get_input_embeddings()(ids).detach()
