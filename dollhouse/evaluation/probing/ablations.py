"""Ablations: the same questions with something else at the thinking positions.

If accuracy stays the same, what was replaced did not matter.

Axes: R questions of one length, K thinking tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from dollhouse.evaluation.probing.prefix_surgery import (
    SplitPrompt,
    append_thinking,
    concatenate_caches,
    split_at_thinking,
    thinking_embeddings,
)
from dollhouse.inference.generation import PlainDecoder, equal_length_batches, generate
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.generation import GeneratedTokens

PLAIN_WORD = " the"  #: the ordinary word whose tokens replace thinking tokens
MAX_ANSWER_TOKENS = 24  #: judged answers are far shorter


@dataclass
class AblationInputs:
    """What replacements are made from."""

    model: DollhouseForConditionalGeneration
    trained: Tensor  #: (K, D) embeddings of the thinking tokens
    plain: Tensor  #: (K, D) embeddings of as many ordinary tokens
    generator: torch.Generator

    @classmethod
    def of(cls, pipeline: DollhousePipeline, seed: int) -> AblationInputs:
        """Collect them from a student; ``seed`` is that of the noise."""
        trained = thinking_embeddings(pipeline.model)
        words = pipeline.processor.tokenizer(PLAIN_WORD, add_special_tokens=False)["input_ids"]
        ids = torch.tensor(list(islice(cycle(words), len(trained))), device=trained.device)
        plain = pipeline.model.get_input_embeddings()(ids).detach()
        return cls(pipeline.model, trained, plain, torch.Generator().manual_seed(seed))


#: Extends the prompt's cache as the ablation wants it, given the same questions' prompt in another scene; returns how
#: many positions stay empty before what follows.
Apply = Callable[[SplitPrompt, SplitPrompt | None, AblationInputs], int]


@dataclass(frozen=True)
class Ablation:
    """One way of filling the thinking positions."""

    name: str
    description: str  #: what is replaced by what
    apply: Apply
    needs_other_scene: bool = False


def replace_embeddings(choose: Callable[[AblationInputs], Tensor]) -> Apply:
    """Make an ablation that puts other embeddings (K, D) at the thinking positions."""

    def apply(prompt: SplitPrompt, other: SplitPrompt | None, inputs: AblationInputs) -> int:
        append_thinking(inputs.model, prompt, choose(inputs))
        return 0

    return apply


def noise(inputs: AblationInputs) -> Tensor:
    """Draw random directions, each with the norm of the embedding it replaces."""
    drawn = torch.randn(inputs.trained.shape, generator=inputs.generator).to(inputs.trained)
    return drawn * (inputs.trained.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))


def shuffle(prompt: SplitPrompt, other: SplitPrompt | None, inputs: AblationInputs) -> int:
    """Take keys and values of the thinking positions, of all layers, from another scene."""
    assert other is not None
    append_thinking(inputs.model, other, inputs.trained)
    count = len(inputs.trained)
    for number, layer in enumerate(other.cache.layers):
        prompt.cache.update(layer.keys[:, :, -count:], layer.values[:, :, -count:], number)
    return 0


UNMODIFIED = Ablation("unmodified", "the student as it was trained", replace_embeddings(lambda inputs: inputs.trained))
ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "zeros", "thinking embeddings are zero", replace_embeddings(lambda inputs: torch.zeros_like(inputs.trained))
    ),
    Ablation(
        "noise", "thinking embeddings are random, with the norm of the trained ones, new for every group of questions",
        replace_embeddings(noise),
    ),
    Ablation(
        "first repeated",
        "every thinking embedding is the first",
        replace_embeddings(lambda inputs: inputs.trained[:1].expand_as(inputs.trained)),
    ),
    Ablation(
        "plain tokens",
        f'thinking embeddings are those of as many ordinary words ("{PLAIN_WORD.strip()}")',
        replace_embeddings(lambda inputs: inputs.plain),
    ),
    Ablation(
        "shuffled",
        "keys and values of all layers at the thinking positions come from another scene with the same question",
        shuffle,
        needs_other_scene=True,
    ),
    Ablation(
        "masked",
        "nothing attends to the thinking positions; all else keeps its position",
        lambda prompt, other, inputs: len(inputs.trained),
    ),
    Ablation("removed", "no thinking tokens; what follows them moves up", lambda prompt, other, inputs: 0),
)  # fmt: skip


def ablated_answers(
    session: SceneSession,
    other: SceneSession | None,
    questions: Sequence[str],
    ablations: Sequence[Ablation],
    inputs: AblationInputs,
) -> dict[str, list[str]]:
    """Answer questions greedily under each ablation.

    Args:
        session: the scene of the questions.
        other: another scene of the same student, for ablations that need one.
        questions: texts.
        ablations: what to do with the thinking positions.
        inputs: what replacements are made from.

    Returns:
        Answers in the order of the questions, by the ablation's name.

    Raises:
        ValueError: an ablation needs another scene and there is none.
    """
    if other is None and any(ablation.needs_other_scene for ablation in ablations):
        raise ValueError("some ablation needs another scene")
    processor, device = session.pipeline.processor, session.pipeline.model.device
    ids = [processor.question_ids(question) for question in questions]
    answers = {ablation.name: [""] * len(ids) for ablation in ablations}
    with torch.inference_mode():
        for rows, batch in equal_length_batches(ids, device):
            for group, generated in _generate(session, other, batch, ablations, inputs):
                places = ((ablation.name, row) for ablation in group for row in rows)
                for (name, row), tokens in zip(places, generated, strict=True):
                    text = processor.tokenizer.decode(tokens.token_ids, skip_special_tokens=True)
                    answers[name][row] = text.strip()
    return answers


def _generate(
    session: SceneSession,
    other: SceneSession | None,
    ids: Tensor,
    ablations: Sequence[Ablation],
    inputs: AblationInputs,
) -> Iterator[tuple[list[Ablation], list[GeneratedTokens]]]:
    """Ablations whose sequences have one length, and the answers under each of them to questions (R, T)."""
    prompt = split_at_thinking(session, ids)
    elsewhere = None if other is None else split_at_thinking(other, ids)
    by_length: dict[tuple[int, int], list[tuple[Ablation, SplitPrompt]]] = {}
    for ablation in ablations:
        own = prompt.copy()
        skip = ablation.apply(own, None if elsewhere is None else elsewhere.copy(), inputs)
        by_length.setdefault((own.cache.get_seq_length(), skip), []).append((ablation, own))
    decoder = PlainDecoder(inputs.model)
    for (_, skip), group in by_length.items():
        cache = concatenate_caches([own.cache for _, own in group])
        rest = prompt.rest.repeat(len(group), 1)
        yield [ablation for ablation, _ in group], generate(decoder, cache, rest, MAX_ANSWER_TOKENS, skip)
