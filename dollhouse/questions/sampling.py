"""Which of a scene's candidates are asked: each with the chance that balances it, evenly over families and kinds.

Knows nothing of wording.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.facts import Candidate

#: The paper's four families.
FAMILIES = ("proximity", "contact", "size", "orientation")
#: Families that teach looking things up; not part of the paper's accuracy.
AUXILIARY = ("counting", "existence", "distance", "attribute", "description")
#: Of a limited number of questions, this part comes from the four families.
FOUR_FAMILIES_PART = 0.6


def select(
    candidates: Sequence[Candidate], balance: AnswerBalance, limit: int | None, rng: random.Random
) -> list[Candidate]:
    """At most ``limit`` of the candidates (None: all that are accepted), by family and kind in turn.

    A family that runs dry leaves its part to the others.
    """
    pools: dict[str, dict[str, list[Candidate]]] = {}
    for candidate in candidates:
        pools.setdefault(candidate.kind.partition(".")[0], {}).setdefault(candidate.kind, []).append(candidate)
    families = [family for family in (*FAMILIES, *AUXILIARY) if family in pools]
    supplies: dict[str, Iterator[Candidate]] = {}
    for family in families:
        kinds = list(pools[family])
        rng.shuffle(kinds)  # or the first kind would always have the odd question
        supplies[family] = _in_turn([_accepted(pools[family][kind], balance, rng) for kind in kinds])
    chosen: list[Candidate] = []
    for family, quota in _quotas(families, limit).items():
        chosen += islice(supplies[family], quota)
    chosen += islice(_in_turn(list(supplies.values())), None if limit is None else max(0, limit - len(chosen)))
    return chosen


def _quotas(families: Sequence[str], limit: int | None) -> dict[str, int]:
    """How many questions each family gives first; none where there is no limit."""
    if limit is None:
        return {}
    four = [family for family in families if family in FAMILIES]
    rest = [family for family in families if family not in FAMILIES]
    total = round(FOUR_FAMILIES_PART * limit)
    quotas: dict[str, int] = {}
    for group, part in ((four, total), (rest, limit - total)):
        for place, family in enumerate(group):
            quotas[family] = part // len(group) + (place < part % len(group))
    return quotas


def _accepted(candidates: list[Candidate], balance: AnswerBalance, rng: random.Random) -> Iterator[Candidate]:
    """The candidates in random order, each kept with the probability that balances its answer."""
    rng.shuffle(candidates)
    for candidate in candidates:
        if rng.random() < balance.accept(candidate.key, candidate.answer):
            yield candidate


def _in_turn(supplies: list[Iterator[Candidate]]) -> Iterator[Candidate]:
    """One from each supply after the other, until all are empty."""
    while supplies:
        lasting = []
        for supply in supplies:
            for candidate in islice(supply, 1):
                lasting.append(supply)
                yield candidate
        supplies = lasting
