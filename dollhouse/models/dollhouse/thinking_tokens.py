"""Going over the thinking tokens several times before anything is said.

What the language model made of the thinking tokens in one pass is fed back at their places in the next, all K of them
in parallel (Coconut, arXiv 2412.06769, feeds one thought after another). Knows nothing of where the tokens stand or
of what is asked.

Axes: B batch, T text, D text width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ThinkingMap(nn.Linear):
    """Last hidden state at a thinking token -> what is added to its embedding in the next pass; born silent."""


def iterate_thinking(
    language_model: nn.Module,
    thinking_map: ThinkingMap,
    times: int,
    embeds: Tensor,
    thinking: Tensor,
    past_key_values: Any = None,
    **context: Any,
) -> Tensor:
    """Input embeddings (B, T, D) after ``times`` passes over the tokens that ``thinking`` (B, T) marks.

    ``language_model`` is a decoder without its head; ``past_key_values`` (what stands before the sequence) and
    ``context`` (masks and positions) go to it. The cache is as long afterwards as before.
    """
    past = None if past_key_values is None or not past_key_values.get_seq_length() else past_key_values
    first = embeds
    for _ in range(times):
        made = language_model(inputs_embeds=embeds, past_key_values=past, use_cache=past is not None, **context)
        if past is not None:
            past.crop(-embeds.shape[1])
        again = first + thinking_map(made.last_hidden_state).to(first.dtype)
        embeds = again.where(thinking.unsqueeze(-1), first)
    return embeds
