"""Several passes over the thinking tokens before an answer.

The last hidden states at the thinking tokens are fed back as their embeddings in the next pass, all K in parallel
(Coconut, arXiv 2412.06769, feeds them back one by one).

Axes: B batch, T text, D text width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ThinkingMap(nn.Linear):
    """Map a thinking token's last hidden state to an offset of its next embedding; initialised to zero."""


def iterate_thinking(
    language_model: nn.Module,
    thinking_map: ThinkingMap,
    times: int,
    embeds: Tensor,
    thinking: Tensor,
    past_key_values: Any = None,
    **context: Any,
) -> Tensor:
    """Return input embeddings (B, T, D) after ``times`` passes over the tokens marked by ``thinking`` (B, T).

    ``language_model`` is a decoder without its head; ``past_key_values`` and ``context`` (masks and positions) are
    passed to it. The cache keeps its length.
    """
    past = None if past_key_values is None or not past_key_values.get_seq_length() else past_key_values
    first = embeds
    for _ in range(times):
        output = language_model(inputs_embeds=embeds, past_key_values=past, use_cache=past is not None, **context)
        if past is not None:
            past.crop(-embeds.shape[1])
        updated = first + thinking_map(output.last_hidden_state).to(first.dtype)
        embeds = updated.where(thinking.unsqueeze(-1), first)
    return embeds
