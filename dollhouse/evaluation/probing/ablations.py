"""Replacement controls: the same questions, with something else where the thinking tokens were.

If the answers stay as good, what was replaced did not matter. Knows nothing of scoring.

Axes: R questions of one length, K thinking tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from dollhouse.evaluation.probing.prefix_surgery import Lead, joined, lead_to_thoughts, think, thinking_embeddings
from dollhouse.inference.generation import PlainDecoder, generate
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import SceneSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

PLAIN = " the"  #: the ordinary words that stand in for thinking tokens
LONGEST_ANSWER = 24  #: tokens; answers that are judged are far shorter


@dataclass
class Materials:
    """What replacements are made of."""

    model: DollhouseForConditionalGeneration
    own: Tensor  #: (K, D) the trained embeddings of the thinking tokens
    plain: Tensor  #: (K, D) embeddings of as many ordinary tokens
    draw: torch.Generator

    @classmethod
    def of(cls, pipeline: DollhousePipeline, seed: int) -> Materials:
        """Those of a student; ``seed`` decides the noise."""
        own = thinking_embeddings(pipeline.model)
        words = pipeline.processor.tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
        ids = torch.tensor(list(islice(cycle(words), len(own))), device=own.device)
        plain = pipeline.model.get_input_embeddings()(ids).detach()
        return cls(pipeline.model, own, plain, torch.Generator().manual_seed(seed))


#: Grows the lead's cache as the control wants it, given the same questions' lead about another scene; returns how many
#: positions stay empty before what follows.
Enter = Callable[[Lead, Lead | None, Materials], int]


@dataclass(frozen=True)
class Control:
    """One way of filling the thinking positions."""

    name: str
    says: str  #: what is replaced by what, for a reader
    enter: Enter
    foreign: bool = False  #: whether it needs another scene


def embedded(choose: Callable[[Materials], Tensor]) -> Enter:
    """Other embeddings (K, D) at the thinking positions; all that the language model makes of them follows."""

    def enter(lead: Lead, other: Lead | None, materials: Materials) -> int:
        think(materials.model, lead, choose(materials))
        return 0

    return enter


def noise(materials: Materials) -> Tensor:
    """Random directions, drawn anew for every group of questions, each as long as the embedding it replaces."""
    own = materials.own
    drawn = torch.randn(own.shape, generator=materials.draw).to(own)
    return drawn * (own.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))


def shuffled(lead: Lead, other: Lead | None, materials: Materials) -> int:
    """Keys and values of the thinking positions, of all layers, as they came out in another scene."""
    assert other is not None
    think(materials.model, other, materials.own)
    count = len(materials.own)
    for number, layer in enumerate(other.cache.layers):
        lead.cache.update(layer.keys[:, :, -count:], layer.values[:, :, -count:], number)
    return 0


def removed(lead: Lead, other: Lead | None, materials: Materials) -> int:
    """No thinking positions: what follows moves up."""
    return 0


def hidden(lead: Lead, other: Lead | None, materials: Materials) -> int:
    """Nothing may look at the thinking positions; what follows stays where it was."""
    return len(materials.own)


UNTOUCHED = Control("untouched", "the student as it was trained", embedded(lambda materials: materials.own))
CONTROLS: tuple[Control, ...] = (
    Control("zeros", "thinking embeddings are zero", embedded(lambda materials: torch.zeros_like(materials.own))),
    Control("noise", "thinking embeddings are random, as long as the trained ones", embedded(noise)),
    Control(
        "first repeated",
        "every thinking embedding is the first one",
        embedded(lambda materials: materials.own[:1].expand_as(materials.own)),
    ),
    Control(
        "plain tokens",
        f'thinking embeddings are those of as many ordinary words ("{PLAIN.strip()}")',
        embedded(lambda materials: materials.plain),
    ),
    Control(
        "shuffled",
        "what the language model made of the thinking tokens (keys and values of all layers) comes from another scene "
        "that was asked the same",
        shuffled,
        foreign=True,
    ),
    Control("hidden", "nothing may look at the thinking tokens; all else stays where it was", hidden),
    Control("removed", "no thinking tokens; what follows them moves up", removed),
)


def answers(
    memory: SceneSession,
    other: SceneSession | None,
    questions: Sequence[str],
    controls: Sequence[Control],
    materials: Materials,
) -> dict[str, list[str]]:
    """Greedy answers to questions about a seen scene under each control, by its name.

    ``other`` is another scene of the same student. Raises ValueError where a control needs one and there is none.
    """
    if other is None and any(control.foreign for control in controls):
        raise ValueError("some control needs another scene")
    processor, device = memory.pipeline.processor, memory.pipeline.model.device
    ids = [processor.question_ids(question) for question in questions]
    told = {control.name: [""] * len(ids) for control in controls}
    with torch.inference_mode():
        for length in sorted({len(one) for one in ids}):
            rows = [row for row, one in enumerate(ids) if len(one) == length]
            batch = torch.tensor([ids[row] for row in rows], device=device)
            for together, spoken in _spoken(memory, other, batch, controls, materials):
                places = ((control.name, row) for control in together for row in rows)
                for (name, row), (tokens, _) in zip(places, spoken, strict=True):
                    told[name][row] = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return told


def _spoken(
    memory: SceneSession, other: SceneSession | None, ids: Tensor, controls: Sequence[Control], materials: Materials
) -> Iterator[tuple[list[Control], list[tuple[list[int], float]]]]:
    """Controls whose sequences are of one length, and what was said under each of them to questions (R, T)."""
    lead = lead_to_thoughts(memory, ids)
    elsewhere = None if other is None else lead_to_thoughts(other, ids)
    alike: dict[tuple[int, int], list[tuple[Control, Lead]]] = {}
    for control in controls:
        own, theirs = lead.copy(), None if elsewhere is None else elsewhere.copy()
        skip = control.enter(own, theirs, materials)
        alike.setdefault((own.cache.get_seq_length(), skip), []).append((control, own))
    decoder = PlainDecoder(materials.model)
    for (_, skip), several in alike.items():
        cache = joined([own.cache for _, own in several])
        rest = lead.rest.repeat(len(several), 1)
        yield [control for control, _ in several], generate(decoder, cache, rest, LONGEST_ANSWER, skip)
