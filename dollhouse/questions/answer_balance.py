"""How often each answer occurs to each kind of question, and with what chance to ask it so that none stands out.

A reader without eyes knows the words of a question: its form and what is spoken of. Candidates that are
alike in that have one key, and :class:`AnswerBalance` holds how often each answer occurs under each key.
A question is asked with the probability *rarest answer / this answer*, which leaves all answers of a key
equally likely. Keys with one answer only, or with too few examples to tell, are not asked about at all.

The table for rooms ships with the package. ``python -m dollhouse.questions.answer_balance --rooms 30000`` made it, in
about eight minutes; make it anew whenever the rooms or the candidates change. On 1,000 rooms outside the count,
48 questions each, a guesser that knows the majority answer of 3,000 others for each form and the categories in it
was within a point and a half of chance in each of the four families. Knows nothing of geometry or wording.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path

from dollhouse.errors import QuestionError
from dollhouse.questions.facts import Key, SceneFacts
from dollhouse.scenes.scene import Scene

#: An answer with fewer examples under its key, or a smaller part of the most frequent one's, is never asked for.
LEAST_COUNT, LEAST_PART = 40, 0.03
#: Small pictures tell as well what is seen as large ones (99 in 100 objects alike), in a quarter of the time.
MEASURED_SIZE = 56
#: Kinds whose key says what can be answered at all.
_OF_CATEGORIES = ("existence", "counting", "attribute.best_view")
ROOMS_TABLE = Path(__file__).with_name("answer_balance_rooms.json.gz")


class AnswerBalance:
    """Counts key -> answer -> how often, and the probabilities of asking that follow from them."""

    def __init__(
        self,
        counts: Mapping[Key, Mapping[str, int]],
        least_count: int = LEAST_COUNT,
        least_part: float = LEAST_PART,
        by_kind: bool = False,
    ) -> None:
        self.by_kind = by_kind
        self.counts: dict[Key, dict[str, int]] = {}
        for key, answers in counts.items():
            least = max(least_count, least_part * max(answers.values()))
            kept = {answer: count for answer, count in answers.items() if count >= least}
            if len(kept) > 1:
                self.counts[key] = kept

    @classmethod
    def measure(
        cls,
        scenes: Iterable[Scene],
        least_count: int = LEAST_COUNT,
        least_part: float = LEAST_PART,
        by_kind: bool = False,
    ) -> AnswerBalance:
        """Counts over ``scenes``; each is let go once counted. With few of them give a smaller ``least_count``.

        ``by_kind`` balances each kind of question whatever it speaks of, for so few scenes that categories hardly ever
        come twice. What is larger by its name alone is then given away: a blind student tells how much.

        Errors as :class:`dollhouse.questions.facts.SceneFacts`.
        """
        counts: dict[Key, Counter[str]] = {}
        present: Counter[Key] = Counter()
        total = 0
        for scene in scenes:
            survey = SceneFacts(scene)
            total += 1
            for candidate in survey.candidates():
                if candidate.key is not None:
                    counts.setdefault(candidate.key, Counter())[candidate.answer] += 1
            present.update(("existence.label", label) for label in survey.labels_present)
            # A thing of unknown colour (colour "") makes every colour of its category doubtful.
            doubtful = {label for label, colour in survey.colours_present if not colour}
            present.update(("existence.colour", label, "") for label in doubtful)
            present.update(("existence.colour", *pair) for pair in survey.colours_present if pair[0] not in doubtful)
        for key, answers in counts.items():
            if key[0] == "existence.label":
                answers["no"] = total - present[key]
            elif key[0] == "existence.colour":
                answers["no"] = total - present[key] - present[(*key[:2], "")]
        if not by_kind:
            return cls(counts, least_count, least_part)
        together: dict[Key, Counter[str]] = {}
        for key, answers in counts.items():
            told = {answer: count for answer, count in answers.items() if not _names(key, answer)}
            if told:
                together.setdefault(_kind_of(key), Counter()).update(told)
        return cls(together, least_count, least_part, by_kind=True)

    def accept(self, key: Key | None, answer: str) -> float:
        """The probability with which a candidate is to be asked; 1 where there is nothing to balance (no key)."""
        if key is None or (self.by_kind and _names(key, answer)):
            return 1.0
        chances = self._chances.get(_kind_of(key) if self.by_kind else key)
        return chances.get(answer, 0.0) if chances else 0.0

    def answers(self, key: Key) -> tuple[str, ...]:
        """The answers that are asked for under this key, sorted."""
        return tuple(sorted(self.counts.get(_kind_of(key) if self.by_kind else key, ())))

    @cached_property
    def labels(self) -> list[str]:
        """Categories whose existence can be asked for."""
        return [key[1] for key in self.counts if key[0] == "existence.label"]

    @cached_property
    def colours(self) -> list[tuple[str, str]]:
        """(label, colour) whose existence can be asked for."""
        return [(key[1], key[2]) for key in self.counts if key[0] == "existence.colour"]

    @cached_property
    def _chances(self) -> dict[Key, dict[str, float]]:
        return {
            key: {answer: min(answers.values()) / count for answer, count in answers.items()}
            for key, answers in self.counts.items()
        }

    def save(self, path: Path) -> None:
        """Write the table as gzipped JSON, ``{kind: {"part|part": {answer: count}}}``, the same bytes each time."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for key in sorted(self.counts):
            table.setdefault(key[0], {})["|".join(key[1:])] = dict(sorted(self.counts[key].items()))
        text = json.dumps(table, separators=(",", ":"))
        path.write_bytes(gzip.compress(text.encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> AnswerBalance:
        """Read what :meth:`save` wrote. QuestionError where the file is missing or not such a table."""
        try:
            table = json.loads(gzip.decompress(path.read_bytes()))
            counts = {
                (kind, *key.split("|")): {str(answer): int(count) for answer, count in answers.items()}
                for kind, keys in table.items()
                for key, answers in keys.items()
            }
        except (OSError, EOFError, ValueError, AttributeError, TypeError) as error:
            raise QuestionError(
                f"{path}: not a table of answers ({error}); make one with AnswerBalance.measure and save"
            ) from error
        # What was dropped as too rare before saving is gone; what is there is all to be used.
        return cls(counts, least_count=0, least_part=0.0)


def _kind_of(key: Key) -> Key:
    """A key without categories, where those do not make the question (and the answers it has)."""
    return key if key[0].startswith(_OF_CATEGORIES) else key[:1]


def _names(key: Key, answer: str) -> bool:
    """Whether an answer is one of the things compared; who is named first is drawn evenly, so no word stands out."""
    return answer in key[1:]


@cache
def rooms_balance() -> AnswerBalance:
    """The shipped table for ``rooms:`` scenes."""
    return AnswerBalance.load(ROOMS_TABLE)


def main(arguments: list[str] | None = None) -> None:
    """Measure the table for rooms over the train split and write it where the package looks for it."""
    parser = argparse.ArgumentParser(prog="python -m dollhouse.questions.answer_balance", description=main.__doc__)
    parser.add_argument("--rooms", type=int, default=30_000, help="train rooms to count over (default 30000)")
    parser.add_argument("--out", type=Path, default=ROOMS_TABLE)
    options = parser.parse_args(arguments)
    # Rooms bring the ray caster with them, which reading the table does not need.
    from rich.progress import track

    from dollhouse.scenes.synthetic.room_scene import room_scene

    numbers = track(range(options.rooms), "counting answers")
    rooms = (room_scene("train", number, image_size=MEASURED_SIZE) for number in numbers)
    AnswerBalance.measure(rooms).save(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
