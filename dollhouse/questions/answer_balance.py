"""Answer balance: how often each answer occurs, and the probability of asking that makes answers equally likely.

A question's words reveal its form and the objects it names. Facts with the same such words have one key, and
:class:`AnswerBalance` counts the answers of each key. A fact is asked with probability *rarest answer / this answer*,
so that all answers of a key are equally likely. Keys with a single answer or too few examples are never asked.

The table for synthetic rooms ships with the package. After a change of rooms or facts, measure it again with
``python -m dollhouse.questions.answer_balance --rooms 30000`` (eight minutes). On 1,000 other rooms, 48 questions each,
the majority answer for form and categories was within 1.5 points of chance in each of the four families.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from dollhouse.errors import QuestionError
from dollhouse.questions.facts import Key, SceneFacts
from dollhouse.questions.photo_facts import PhotoFacts
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import atomic_path
from dollhouse.system.read_files import MAX_BYTES, decode_json, decoding, read_bytes

#: Answers with fewer examples under their key, or a smaller fraction of the most frequent one's, are never asked.
LEAST_COUNT, LEAST_PART = 40, 0.03
#: Likewise where a data set is balanced by its own scenes, and the number of scenes from which categories repeat so
#: often that answers are balanced by category; with fewer, by kind of question only.
MIN_EXAMPLES, MANY_SCENES = 2, 50
#: Image size of the measurement: visibility agrees with larger images for 99 in 100 objects, in a quarter of the time.
MEASURED_SIZE = 56
#: Kinds whose possible answers depend on the category in the key.
_OF_CATEGORIES = ("existence", "counting", "attribute.best_view")
#: Least probability of asking a fact about photos, even where the categories reveal the answer.
OBVIOUS_SHARE = 0.1
ROOMS_TABLE = Path(__file__).with_name("answer_balance_rooms.json.gz")
HOMES_TABLE = Path(__file__).with_name("answer_balance_homes.json.gz")


@dataclass(frozen=True)
class SceneAnswers:
    """The answers of one scene's facts, counted."""

    counts: Mapping[Key, Mapping[str, int]]
    unkeyed: Mapping[str, int]  #: facts with nothing to balance, by family
    labels: frozenset[str]  #: categories present, visible or not
    colours: frozenset[tuple[str, str]]  #: (label, colour) present; colour "" unknown

    @classmethod
    def count(cls, scene: Scene) -> SceneAnswers:
        """Count the answers of a scene. Errors as :class:`~dollhouse.questions.facts.SceneFacts`."""
        facts = PhotoFacts(scene) if is_photographic(scene) else SceneFacts(scene)
        counts: dict[Key, Counter[str]] = {}
        unkeyed = Counter({"description": 1})
        for fact in facts.facts():
            if fact.key is None:
                unkeyed[fact.kind.partition(".")[0]] += 1
            else:
                counts.setdefault(fact.key, Counter())[fact.answer] += 1
        return cls(counts, unkeyed, frozenset(facts.labels_present), frozenset(facts.colours_present))

    def expected(self, balance: AnswerBalance) -> Counter[str]:
        """Return the expected number of questions under ``balance``, in thousandths, by family."""
        found = Counter({family: 1000 * count for family, count in self.unkeyed.items()})
        for key, row in self.counts.items():
            accepted = sum(count * balance.accept(key, answer) for answer, count in row.items())
            found[key[0].partition(".")[0]] += round(1000 * accepted)
        absent: list[Key] = [("existence.label", label) for label in balance.labels if label not in self.labels]
        absent += [
            ("existence.colour", *pair)
            for pair in balance.colours
            if pair not in self.colours and (pair[0], "") not in self.colours
        ]
        found["existence"] += round(1000 * sum(balance.accept(key, "no") for key in absent))
        return found


class AnswerBalance:
    """Answer counts (key -> answer -> count) and the acceptance probabilities that follow from them."""

    def __init__(
        self,
        counts: Mapping[Key, Mapping[str, int]],
        least_count: int = LEAST_COUNT,
        least_part: float = LEAST_PART,
        by_kind: bool = False,
        floor: float = 0.0,
    ) -> None:
        self.by_kind = by_kind
        self.floor = floor  #: least probability of asking a fact, for training, which needs obvious facts, too
        self.counts: dict[Key, dict[str, int]] = {}
        for key, answers in counts.items():
            least = max(least_count, least_part * max(answers.values()))
            frequent = {answer: count for answer, count in answers.items() if count >= least}
            if len(frequent) > 1:
                self.counts[key] = frequent

    @classmethod
    def measure(
        cls,
        scenes: Iterable[Scene],
        least_count: int = LEAST_COUNT,
        least_part: float = LEAST_PART,
        by_kind: bool = False,
    ) -> AnswerBalance:
        """Count the answers over ``scenes``, one at a time. Errors as :class:`~dollhouse.questions.facts.SceneFacts`.

        Args:
            scenes: the data set.
            least_count: least number of examples of an answer; give a smaller one for few scenes.
            least_part: least fraction of the most frequent answer's examples.
            by_kind: balance each kind of question regardless of categories, for data sets in which categories hardly
                ever repeat. Typical sizes of categories then remain a cue; a blind student measures how much.
        """
        return cls._merge(map(SceneAnswers.count, scenes), least_count, least_part, by_kind)

    @classmethod
    def of_data_set(cls, answers: Iterable[SceneAnswers], scenes: int) -> AnswerBalance:
        """Balance a data set of ``scenes`` scenes: by category, or by kind of question where they are few.

        The one policy of annotation, training and evaluation.
        """
        return cls._merge(answers, MIN_EXAMPLES, LEAST_PART, by_kind=scenes < MANY_SCENES)

    @classmethod
    def _merge(
        cls, answers: Iterable[SceneAnswers], least_count: int, least_part: float, by_kind: bool
    ) -> AnswerBalance:
        counts: dict[Key, Counter[str]] = {}
        present: Counter[Key] = Counter()
        total = 0
        for total, scene in enumerate(answers, 1):  # noqa: B007 the last number counts the scenes
            for key, row in scene.counts.items():
                counts.setdefault(key, Counter()).update(row)
            present.update(("existence.label", label) for label in scene.labels)
            # An object of unknown colour (colour "") makes every colour of its category uncertain.
            uncertain = {label for label, colour in scene.colours if not colour}
            present.update(("existence.colour", label, "") for label in uncertain)
            present.update(("existence.colour", *pair) for pair in scene.colours if pair[0] not in uncertain)
        for key, row in counts.items():
            if key[0] == "existence.label":
                row["no"] = total - present[key]
            elif key[0] == "existence.colour":
                row["no"] = total - present[key] - present[(*key[:2], "")]
        if not by_kind:
            return cls(counts, least_count, least_part)
        merged: dict[Key, Counter[str]] = {}
        for key, row in counts.items():
            if unnamed := {answer: count for answer, count in row.items() if not _is_named(key, answer)}:
                merged.setdefault(_kind_key(key), Counter()).update(unnamed)
        return cls(merged, least_count, least_part, by_kind=True)

    def accept(self, key: Key | None, answer: str) -> float:
        """Return the probability of asking a fact; 1 where there is nothing to balance (no key)."""
        if key is None or (self.by_kind and _is_named(key, answer)):
            return 1.0
        counts = self.counts.get(_kind_key(key) if self.by_kind else key, {})
        return max(self.floor, min(counts.values()) / counts[answer] if answer in counts else 0.0)

    def with_floor(self, floor: float) -> AnswerBalance:
        """Return the balance with another least probability of asking a fact."""
        return AnswerBalance(self.counts, 0, 0.0, self.by_kind, floor)

    def answers(self, key: Key) -> tuple[str, ...]:
        """Return the answers that are asked under this key, sorted."""
        return tuple(sorted(self.counts.get(_kind_key(key) if self.by_kind else key, ())))

    @cached_property
    def labels(self) -> list[str]:
        """List the categories whose existence can be asked."""
        return [key[1] for key in self.counts if key[0] == "existence.label"]

    @cached_property
    def colours(self) -> list[tuple[str, str]]:
        """List the (label, colour) pairs whose existence can be asked."""
        return [(key[1], key[2]) for key in self.counts if key[0] == "existence.colour"]

    def save(self, path: Path) -> None:
        """Write gzipped JSON, ``{kind: {"part|part": {answer: count}}}``, reproducibly."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for key in sorted(self.counts):
            table.setdefault(key[0], {})["|".join(key[1:])] = dict(sorted(self.counts[key].items()))
        with atomic_path(path) as unfinished:
            unfinished.write_bytes(gzip.compress(json.dumps(table, separators=(",", ":")).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> AnswerBalance:
        """Read what :meth:`save` wrote; QuestionError where the file is missing or invalid."""
        advice = "save one with AnswerBalance.save"
        content = read_bytes(path, QuestionError, advice)
        with decoding(path, "a table of answers", QuestionError, advice):
            table = decode_json(gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_BYTES))
            counts = {
                (kind, *key.split("|")): {str(answer): int(count) for answer, count in answers.items()}
                for kind, keys in table.items()
                for key, answers in keys.items()
            }
        return cls(counts, least_count=0, least_part=0.0)  # rare answers were dropped before saving


def _kind_key(key: Key) -> Key:
    """Drop the categories from a key, unless they determine the possible answers."""
    return key if key[0].startswith(_OF_CATEGORIES) else key[:1]


def _is_named(key: Key, answer: str) -> bool:
    """Return whether an answer is one of the compared objects; their order is random, so none is more likely."""
    return answer in key[1:]


@cache
def rooms_balance() -> AnswerBalance:
    """Load the shipped table for ``rooms:`` scenes."""
    return AnswerBalance.load(ROOMS_TABLE)


@cache
def homes_balance() -> AnswerBalance:
    """Load the shipped table for ``homes:`` scenes."""
    return AnswerBalance.load(HOMES_TABLE)


def is_photographic(scene: Scene) -> bool:
    """Return whether a scene's questions are those of photos by default."""
    return scene.metadata.get("source") == "homes"


def has_shipped_balance(scene: Scene) -> bool:
    """Return whether the package has the answer balance of a scene's data set."""
    return scene.metadata.get("source") in ("rooms", "homes")


def shipped_balance(scene: Scene) -> AnswerBalance:
    """Return the answer balance of a synthetic scene's data set; QuestionError for other scenes."""
    if not has_shipped_balance(scene):
        raise QuestionError(f"{scene.name}: not a procedural room; give balance=AnswerBalance.measure(scenes)")
    return homes_balance() if scene.metadata["source"] == "homes" else rooms_balance()


def main(arguments: list[str] | None = None) -> None:
    """Measure the table over the train split of the synthetic rooms and write it to the package."""
    parser = argparse.ArgumentParser(prog="python -m dollhouse.questions.answer_balance", description=main.__doc__)
    parser.add_argument("--rooms", type=int, default=30_000, help="number of rooms (default 30000)")
    parser.add_argument("--homes", action="store_true", help="of homes, with the questions of photos")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    out = options.out or (HOMES_TABLE if options.homes else ROOMS_TABLE)
    # Imported here: reading the table needs no ray caster.
    from rich.progress import track

    from dollhouse.scenes.synthetic.homes.home_scene import home_scene
    from dollhouse.scenes.synthetic.room_scene import room_scene

    open_room = home_scene if options.homes else room_scene
    numbers = track(range(options.rooms), "counting answers")
    rooms = (open_room("train", number, image_size=MEASURED_SIZE) for number in numbers)
    AnswerBalance.measure(rooms, MIN_EXAMPLES if options.homes else LEAST_COUNT).save(out)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
