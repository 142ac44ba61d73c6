"""A question's sequence split at its thinking tokens, so that other embeddings or keys can take their place.

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
class SplitPrompt:
    """Everything before the thinking tokens of R questions, and what follows them."""

    cache: DynamicCache  #: keys and values of R rows; grows in place
    rest: Tensor  #: (R, T) ids after the thinking tokens; the answer token is the last

    def copy(self) -> SplitPrompt:
        """Copy the cache, so that it can be continued differently."""
        return SplitPrompt(select_scenes(self.cache, torch.arange(len(self.rest), device=self.rest.device)), self.rest)


def concatenate_caches(caches: Sequence[DynamicCache]) -> DynamicCache:
    """Stack caches of one length along the batch axis."""
    whole = DynamicCache()
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        keys, values = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("keys", "values"))
        whole.update(keys, values, number)
    return whole


def split_at_thinking(session: SceneSession, ids: Tensor) -> SplitPrompt:
    """Prefill questions ``ids`` (R, T) of one length up to their thinking tokens."""
    model = session.pipeline.model
    count = model.config.num_thinking_tokens
    cache = session.dynamic_cache(len(ids))
    if model.config.thinking_placement == "before_question":
        cache.crop(-count)
        return SplitPrompt(cache, ids)
    first = int(model.thinking_mask(ids[:1]).nonzero()[0, 1])
    model.language_model.base_model(input_ids=ids[:, :first], past_key_values=cache, use_cache=True)
    return SplitPrompt(cache, ids[:, first + count :])


def append_thinking(model: DollhouseForConditionalGeneration, prompt: SplitPrompt, embeddings: Tensor) -> None:
    """Append thinking tokens with input ``embeddings`` (K, D) to the cache of ``prompt``."""
    rows = len(prompt.rest)
    embeds = embeddings.to(model.dtype).expand(rows, -1, -1)
    mask = torch.ones(rows, len(embeddings), dtype=torch.bool, device=embeds.device)
    embeds = model.apply_thinking_passes(embeds, mask, past_key_values=prompt.cache)
    model.language_model.base_model(inputs_embeds=embeds, past_key_values=prompt.cache, use_cache=True)


def thinking_embeddings(model: DollhouseForConditionalGeneration) -> Tensor:
    """Return the trained input embeddings (K, D) of the thinking tokens."""
    ids = torch.tensor(list(model.config.thinking_ids), device=model.device)
    return model.get_input_embeddings()(ids).detach()
