"""Sampling of facts to ask: accepted by their answer balance, spread over families and kinds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.facts import Fact

FAMILIES = ("proximity", "contact", "size", "orientation")  #: the paper's four families
#: Families that train object look-up; not part of the paper's accuracy.
AUXILIARY = ("counting", "existence", "distance", "attribute", "description", "open", "refusal")
FOUR_FAMILIES_FRACTION = 0.6  #: of a limited number of questions


def sample_facts(facts: Sequence[Fact], balance: AnswerBalance, limit: int | None, rng: random.Random) -> list[Fact]:
    """Sample at most ``limit`` facts (None: all that are accepted), by family and kind in turn.

    The quota of a family with too few facts goes to the others.
    """
    pools: dict[str, dict[str, list[Fact]]] = {}
    for fact in facts:
        pools.setdefault(fact.kind.partition(".")[0], {}).setdefault(fact.kind, []).append(fact)
    families = [family for family in (*FAMILIES, *AUXILIARY) if family in pools]
    supplies: dict[str, Iterator[Fact]] = {}
    for family in families:
        kinds = list(pools[family])
        rng.shuffle(kinds)  # or the first kind would always get the odd question
        supplies[family] = _round_robin([_accepted(pools[family][kind], balance, rng) for kind in kinds])
    chosen: list[Fact] = []
    for family, quota in _quotas(families, limit).items():
        chosen += islice(supplies[family], quota)
    chosen += islice(_round_robin(list(supplies.values())), None if limit is None else max(0, limit - len(chosen)))
    return chosen


def _quotas(families: Sequence[str], limit: int | None) -> dict[str, int]:
    """Compute how many questions each family gives first; {} without a limit."""
    if limit is None:
        return {}
    total = round(FOUR_FAMILIES_FRACTION * limit)
    quotas: dict[str, int] = {}
    for names, count in ((FAMILIES, total), (AUXILIARY, limit - total)):
        group = [family for family in families if family in names]
        for place, family in enumerate(group):
            quotas[family] = count // len(group) + (place < count % len(group))
    return quotas


def _accepted(facts: list[Fact], balance: AnswerBalance, rng: random.Random) -> Iterator[Fact]:
    """Yield the facts in random order, each with the probability that balances its answer."""
    rng.shuffle(facts)
    for fact in facts:
        if rng.random() < balance.accept(fact.key, fact.answer):
            yield fact


def _round_robin(supplies: list[Iterator[Fact]]) -> Iterator[Fact]:
    """Yield one fact of each supply in turn, until all are empty."""
    while supplies:
        lasting = []
        for supply in supplies:
            for fact in islice(supply, 1):
                lasting.append(supply)
                yield fact
        supplies = lasting
