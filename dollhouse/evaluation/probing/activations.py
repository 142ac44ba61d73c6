"""One question about one scene, read in one piece, with everything that the language model computed on the way.

Knows how the sequence lies; nothing of what is made of it.

Axes: S positions of the sequence, N object slots, K thinking tokens, D text width, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dollhouse.errors import ModelError
from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

NEUTRAL = "describe the room."  #: names nothing, so that scenes can be compared after it


@dataclass(frozen=True, eq=False)
class Scan:
    """The sequence ``[V][T][Q]<answer>`` (or ``[V][Q][T]<answer>``) after the last pass over the thinking tokens."""

    states: Tensor  #: (blocks + 1, S, D) hidden states after 0, 1, ... blocks; the last is normalised
    attention: Tensor  #: (blocks, S, S) mean over heads: row looks at column
    thinking_logits: Tensor  #: (K, vocabulary) what the untrained read-out gives
    slots: Tensor  #: (N,) positions of the object slots
    filled: Tensor  #: (N,) bool: which hold an object; all False for a blind student
    labels: Tensor  #: (N,) likeliest label of each slot, -1 where it is empty
    thinking: Tensor  #: (K,) positions
    question: Tensor  #: positions of the question's words, the answer's mark left out
    answer: int  #: position of the answer's mark, from which the answer is said


@contextmanager
def attention_kept(model: DollhouseForConditionalGeneration) -> Iterator[None]:
    """Within, the language model computes attention so that its weights can be looked at."""
    before = model.language_model.config._attn_implementation
    model.language_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.language_model.set_attn_implementation(before)


def scan(memory: SceneSession, question: str) -> Scan:
    """Read ``question`` about a seen scene; call it within :func:`attention_kept`.

    Raises ModelError for a language model without attention weights.
    """
    model, config = memory.pipeline.model, memory.pipeline.model.config
    before = list(config.thinking_ids) if config.thinking_placement == "before_question" else []
    ids = torch.tensor([before + memory.pipeline.processor.question_ids(question)], device=model.device)
    with torch.inference_mode():
        prefix = memory.prefix.to(model.dtype)
        embeds = torch.cat([prefix, model.get_input_embeddings()(ids)], 1)
        slots = torch.arange(prefix.shape[1])
        marks = torch.nn.functional.pad(model.thinking_mask(ids), (len(slots), 0))
        output = model.language_model(
            inputs_embeds=model.apply_thinking_passes(embeds, marks),
            use_cache=False,
            output_hidden_states=True,
            output_attentions=True,
        )
    if not output.attentions or output.attentions[0] is None:
        raise ModelError(f"{memory.pipeline.model_id}: its language model keeps no attention weights to look at")
    thinking = marks[0].nonzero().squeeze(-1).cpu()
    last = embeds.shape[1] - 1
    words = [place for place in range(len(slots), last) if place not in set(thinking.tolist())]
    filled, labels = _slots_of(memory, len(slots))
    return Scan(
        states=torch.stack(list(output.hidden_states))[:, 0].float().cpu(),
        attention=torch.stack([layer[0].float().mean(0) for layer in output.attentions]).cpu(),
        thinking_logits=output.logits[0, thinking].float().cpu(),
        slots=slots,
        filled=filled,
        labels=labels,
        thinking=thinking,
        question=torch.tensor(words, dtype=torch.long),
        answer=last,
    )


def _slots_of(memory: SceneSession, count: int) -> tuple[Tensor, Tensor]:
    """Which slots hold an object, and its likeliest label (-1: none)."""
    if memory.perception is None:
        return torch.zeros(count, dtype=torch.bool), torch.full((count,), -1)
    objects = memory.perception.objects
    filled = (objects.present[0] > 0).cpu()
    labels = objects.label_logits[0].argmax(-1).cpu()
    return filled, torch.where(filled, labels, torch.full_like(labels, -1))
