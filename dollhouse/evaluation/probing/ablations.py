"""Ablations: the same questions with something else at the thinking positions.

Axes: R questions of one length, K thinking tokens, D text width, T text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.inference.generation import equal_length_batches, generate
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.modeling_language import select_scenes
from dollhouse.questions.written_steps import final_answer

PLAIN_WORD = " the"  #: the ordinary word whose tokens replace thinking tokens
MAX_ANSWER_TOKENS = 24  #: judged answers are far shorter


class SplitPrompt(NamedTuple):
    """Everything before the thinking tokens of R questions, and what follows them."""

    cache: DynamicCache  #: keys and values of R rows; grows in place
    rest: Tensor  #: (R, T) ids after the thinking tokens; the answer token is the last

    def copy(self) -> SplitPrompt:
        """Copy the cache, so that it can be continued differently."""
        return SplitPrompt(select_scenes(self.cache, torch.arange(len(self.rest), device=self.rest.device)), self.rest)


@dataclass
class AblationInputs:
    """What replacements are made from."""

    model: DollhouseForConditionalGeneration
    trained: Tensor  #: (K, D) embeddings of the thinking tokens
    plain: Tensor  #: (K, D) embeddings of as many ordinary tokens
    generator: torch.Generator  #: of the noise

    @classmethod
    def of(cls, pipeline: DollhousePipeline, seed: int) -> AblationInputs:
        """Collect them from a student; ``seed`` is that of the noise."""
        model, tokenizer = pipeline.model, pipeline.processor.tokenizer
        ids = list(model.config.thinking_ids)
        words = list(islice(cycle(tokenizer(PLAIN_WORD, add_special_tokens=False)["input_ids"]), len(ids)))
        trained, plain = model.get_input_embeddings()(torch.tensor([ids, words], device=model.device)).detach()
        return cls(model, trained, plain, torch.Generator().manual_seed(seed))


#: Extends the prompt's cache as the ablation wants it, given the same questions' prompt in another scene; returns how
#: many positions stay empty before what follows.
Apply = Callable[[SplitPrompt, SplitPrompt, AblationInputs], int]


class Ablation(NamedTuple):
    """One way of filling the thinking positions."""

    name: str
    description: str  #: what is replaced by what
    apply: Apply


def replace_embeddings(choose: Callable[[AblationInputs], Tensor]) -> Apply:
    """Make an ablation that puts other embeddings (K, D) at the thinking positions."""

    def apply(prompt: SplitPrompt, other: SplitPrompt, inputs: AblationInputs) -> int:
        model = inputs.model
        embeds = choose(inputs).to(model.dtype).expand(len(prompt.rest), -1, -1)
        mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        embeds = model.apply_thinking_passes(embeds, mask, past_key_values=prompt.cache)
        model.language_model.base_model(inputs_embeds=embeds, past_key_values=prompt.cache, use_cache=True)
        return 0

    return apply


def noise(inputs: AblationInputs) -> Tensor:
    """Draw random directions, each with the norm of the embedding it replaces."""
    drawn = torch.randn(inputs.trained.shape, generator=inputs.generator).to(inputs.trained)
    return drawn * (inputs.trained.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))


def shuffle(prompt: SplitPrompt, other: SplitPrompt, inputs: AblationInputs) -> int:
    """Take keys and values of the thinking positions, of all layers, from another scene."""
    UNMODIFIED.apply(other, other, inputs)
    count = len(inputs.trained)
    for number, layer in enumerate(other.cache.layers):
        prompt.cache.update(layer.keys[:, :, -count:], layer.values[:, :, -count:], number)
    return 0


UNMODIFIED = Ablation("unmodified", "the student as it was trained", replace_embeddings(lambda inputs: inputs.trained))
ABLATIONS: tuple[Ablation, ...] = (
    Ablation("zeros", "thinking embeddings are zero",
             replace_embeddings(lambda inputs: torch.zeros_like(inputs.trained))),
    Ablation("noise",
             "thinking embeddings are random, with the norm of the trained ones, new for every group of questions",
             replace_embeddings(noise)),
    Ablation("first repeated", "every thinking embedding is the first",
             replace_embeddings(lambda inputs: inputs.trained[:1].expand_as(inputs.trained))),
    Ablation("plain tokens", f'thinking embeddings are those of as many ordinary words ("{PLAIN_WORD.strip()}")',
             replace_embeddings(lambda inputs: inputs.plain)),
    Ablation("shuffled",
             "keys and values of all layers at the thinking positions come from another scene with the same question",
             shuffle),
    Ablation("masked", "nothing attends to the thinking positions; all else keeps its position",
             lambda prompt, other, inputs: len(inputs.trained)),
    Ablation("removed", "no thinking tokens; what follows them moves up", lambda prompt, other, inputs: 0),
)  # fmt: skip


def ablated_answers(
    session: TorchSession,
    other: TorchSession,
    questions: Sequence[str],
    ablations: Sequence[Ablation],
    inputs: AblationInputs,
) -> dict[str, list[str]]:
    """Answer questions greedily under each ablation.

    ``other`` is another scene of the same student, from which ``shuffled`` takes its content. Returns the answers in
    the order of the questions, by the ablation's name.
    """
    processor, decoder = session.pipeline.processor, session.decoder
    ids = [processor.question_ids(question) for question in questions]
    answers = {ablation.name: [""] * len(ids) for ablation in ablations}
    with torch.inference_mode():
        for rows, batch in equal_length_batches(ids, inputs.model.device):
            prompt, elsewhere = split_at_thinking(session, batch), split_at_thinking(other, batch)
            by_length: dict[tuple[int, int], list[tuple[str, DynamicCache]]] = {}
            for ablation in ablations:
                own = prompt.copy()
                skip = ablation.apply(own, elsewhere.copy(), inputs)
                by_length.setdefault((own.cache.get_seq_length(), skip), []).append((ablation.name, own.cache))
            for (_, skip), group in by_length.items():
                fed = prompt.rest.repeat(len(group), 1)
                cache = _concatenate([cache for _, cache in group])
                past = decoder.continued(cache, fed.shape[1] + MAX_ANSWER_TOKENS)
                generated = generate(decoder, past, fed, MAX_ANSWER_TOKENS, skip)
                places = ((name, row) for name, _ in group for row in rows)
                for (name, row), tokens in zip(places, generated, strict=True):
                    text = processor.tokenizer.decode(tokens.token_ids, skip_special_tokens=True)
                    answers[name][row] = final_answer(text).strip()
    return answers


def split_at_thinking(session: TorchSession, ids: Tensor) -> SplitPrompt:
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


def _concatenate(caches: Sequence[DynamicCache]) -> DynamicCache:
    """Stack caches of one length along the batch axis."""
    whole = DynamicCache()
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        keys, values = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("keys", "values"))
        whole.update(keys, values, number)
    return whole
