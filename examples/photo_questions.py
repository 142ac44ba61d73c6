"""Write questions about photos with answers of the committee, where it is certain enough.

    PYTHONPATH=. python -m examples.photo_questions PHOTOS --weights WEIGHTS --out questions.jsonl
    dollhouse annotate --teacher file:questions.jsonl --scenes PHOTOS --geometry-teacher none --out records

Of contact, colours and neighbours it writes none: the committee's rules are too often wrong about them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from dollhouse.questions.referring import plural, with_article
from dollhouse.scenes.labels import default_labels
from dollhouse.scenes.open import open_scenes
from examples.committee import _kind
from examples.committee_answers import CommitteeTeacher, Found

PRESENT, POSSIBLE = 0.3, 0.15  #: scores from which an object is there, and below which it is not
CERTAIN = 0.5  #: score from which objects are counted and compared
ABSENT = 8  #: labels that a photo lacks, asked for by how often other photos have them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    teacher = CommitteeTeacher(given.weights, str(POSSIBLE))
    found = {scene.name: teacher._find(scene.views[0].image, 1) for scene in open_scenes(given.photos)}
    frequency = Counter(label for objects in found.values() for label in {each.label for each in objects})
    rng = np.random.default_rng(0)
    with given.out.open("w") as file:
        for name, objects in found.items():
            there = list(present(objects))
            lacking = list(absent(objects, frequency, rng))[: max(2, [answer for *_, answer in there].count("yes"))]
            for family, question, answer in [*there, *lacking, *pairs(objects, rng)]:
                row = {"scene": name, "family": family, "question": question, "answer": answer}
                file.write(json.dumps(row) + "\n")


def likely(found: Sequence[Found], score: float) -> dict[str, list[Found]]:
    """Return the objects of each label of which one object has at least a score."""
    kinds: dict[str, list[Found]] = {}
    for each in found:
        kinds.setdefault(_kind(each.label), []).append(each)
    return {same[0].label: same for same in kinds.values() if max(each.score for each in same) >= score}


def present(found: Sequence[Found]) -> Iterator[tuple[str, str, str]]:
    """Ask whether the labels found are there, and how many objects of those without doubtful ones."""
    for label, same in likely(found, PRESENT).items():
        yield "existence", f"is there {with_article(label)}?", "yes"
        if all(each.score >= CERTAIN for each in same) and len(same) <= 6:
            yield "counting", f"how many {plural(label)} are there?", str(len(same))


def absent(found: Sequence[Found], frequency: Counter[str], rng: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """Ask for labels of which no object was found."""
    kinds = {_kind(each.label) for each in found}
    labels = [label for label in default_labels() if _kind(label) not in kinds]
    weights = np.array([frequency[label] + 1.0 for label in labels])
    count = min(ABSENT, len(labels))
    for index in rng.choice(len(labels), count, replace=False, p=weights / weights.sum()):
        yield "existence", f"is there {with_article(labels[index])}?", "no"


def pairs(found: Sequence[Found], rng: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """Compare objects that are the only ones of their labels."""
    single = [same[0] for same in likely(found, CERTAIN).values() if len(same) == 1]
    for pair in combinations(single, 2):
        a, b = (pair[int(i)] for i in rng.permutation(2))
        if abs(a.x - b.x) > 0.12:
            side = "left" if a.x < b.x else "right"
            yield "orientation", f"is the {a.label} to the left or right of the {b.label}?", side
        if max(a.depth, b.depth) > 1.25 * min(a.depth, b.depth):
            nearer = min(a, b, key=lambda each: each.depth).label
            yield "proximity", f"which is closer to the camera, the {a.label} or the {b.label}?", nearer
        if max(a.surface, b.surface) > 2 * min(a.surface, b.surface):
            larger = max(a, b, key=lambda each: each.surface).label
            yield "size", f"which is larger, the {a.label} or the {b.label}?", larger


if __name__ == "__main__":
    main()
