"""Hidden states and attention weights of one question about one scene, computed in one forward pass.

Axes: S positions of the sequence, N object slots, K thinking tokens, D text width, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dollhouse.errors import ModelError
from dollhouse.inference.torch_session import TorchSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

NEUTRAL = "describe the room."  #: names no object, so that scenes can be compared after it


@dataclass(frozen=True, eq=False)
class Activations:
    """The sequence ``[V][T][Q]<answer>`` or ``[V][Q][T]<answer>`` after the last pass over the thinking tokens."""

    hidden_states: Tensor  #: (layers + 1, S, D) after 0, 1, ... layers; the last is normalised
    attention: Tensor  #: (layers, S, S) mean over heads: row attends to column
    thinking_logits: Tensor  #: (K, vocabulary)
    slots: Tensor  #: (N,) positions of the object slots
    filled: Tensor  #: (N,) bool: which hold an object; all False for a blind student
    labels: Tensor  #: (N,) likeliest label of each slot, -1 where it is empty
    thinking: Tensor  #: (K,) positions
    question: Tensor  #: positions of the question's tokens, without the answer token
    answer: int  #: position of the answer token, whose output is the answer's first token
    cells: Tensor = field(default_factory=lambda: torch.arange(0))  #: positions of the cells of the views, if any


@contextmanager
def eager_attention(model: DollhouseForConditionalGeneration) -> Iterator[None]:
    """Make the language model return attention weights within the context."""
    before = model.language_model.config._attn_implementation
    model.language_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.language_model.set_attn_implementation(before)


def record_activations(session: TorchSession, question: str) -> Activations:
    """Run ``question`` about a scene; call it within :func:`eager_attention`.

    Raises ModelError for a language model that returns no attention weights.
    """
    model, config = session.pipeline.model, session.pipeline.model.config
    before = list(config.thinking_ids) if config.thinking_placement == "before_question" else []
    ids = torch.tensor([before + session.pipeline.processor.question_ids(question)], device=model.device)
    with torch.inference_mode():
        prefix = session.prefix.to(model.dtype)
        embeds = torch.cat([prefix, model.get_input_embeddings()(ids)], 1)
        length = prefix.shape[1]
        mask = torch.nn.functional.pad(model.thinking_mask(ids), (length, 0))
        embeds = model.apply_thinking_passes(embeds, mask)
        output = model.language_model(
            inputs_embeds=embeds, use_cache=False, output_hidden_states=True, output_attentions=True
        )
    if not output.attentions or output.attentions[0] is None:
        raise ModelError(f"{session.pipeline.model_id}: its language model returns no attention weights to probe")
    thinking = mask[0].nonzero().squeeze(-1).cpu()
    last = embeds.shape[1] - 1
    words = [place for place in range(length, last) if place not in set(thinking.tolist())]
    objects = session.perception.objects if session.perception is not None and config.prefix == "objects" else None
    slots = torch.arange(length if objects is None else config.num_objects)
    filled, labels = torch.zeros(len(slots), dtype=torch.bool), torch.full((len(slots),), -1)
    if objects is not None:
        filled = (objects.present[0] > 0).cpu()
        labels = torch.where(filled, objects.label_logits[0].argmax(-1).cpu(), labels)
    return Activations(
        hidden_states=torch.cat(output.hidden_states).float().cpu(),
        attention=torch.stack([layer[0].float().mean(0) for layer in output.attentions]).cpu(),
        thinking_logits=output.logits[0, thinking].float().cpu(),
        slots=slots,
        filled=filled,
        labels=labels,
        thinking=thinking,
        question=torch.tensor(words, dtype=torch.long),
        answer=last,
        cells=torch.arange(len(slots), length),
    )
