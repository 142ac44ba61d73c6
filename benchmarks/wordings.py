"""Measure how much accuracy falls where questions are worded otherwise, and how often questions are refused.

python -m benchmarks.wordings MODEL --scenes homes:test/0-49
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dollhouse.evaluation.metrics.spatial import is_correct
from dollhouse.evaluation.protocol import SceneSessionLike
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.questions.variants import VARIANTS
from dollhouse.scenes.open import open_scenes

REFUSALS = ("there is no ", "there are ", "there is 1 view", "i can only answer")


class RobustnessScorer:
    """Asks every question in its own and in each other wording; counts right answers of both."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, session: SceneSessionLike, questions: Sequence[Question]) -> None:
        """Ask the questions of one scene; a wording that leaves a question as it is does not count."""
        judged = [question for question in questions if is_correct(question, "") is not None]
        answers = [answer.text for answer in session.answer([question.text for question in judged])]
        plain = [bool(is_correct(*pair)) for pair in zip(judged, answers, strict=True)]
        for question, answer in zip(judged, answers, strict=True):
            kind = "refusal" if question.family == "refusal" else "answer"
            self._counts[kind, "n"] += 1
            self._counts[kind, "refused"] += answer.startswith(REFUSALS)
        for name, variant in VARIANTS.items():
            rng = random.Random(f"{self.seed}|{name}|{judged[0].scene if judged else ''}")
            texts = [variant(question.text, rng) for question in judged]
            changed = [place for place, question in enumerate(judged) if texts[place] != question.text]
            right = self._right(session, [judged[p] for p in changed], [texts[p] for p in changed])
            self._counts[name, "n"] += len(changed)
            self._counts[name, "right"] += sum(right)
            self._counts[name, "plain"] += sum(plain[p] for p in changed)

    def result(self) -> dict[str, Any]:
        """Return accuracies and drops by kind of wording, and shares of right and wrong refusals."""
        counts = self._counts
        kinds = {
            name: {
                "n": counts[name, "n"],
                "accuracy": counts[name, "right"] / counts[name, "n"],
                "drop": (counts[name, "plain"] - counts[name, "right"]) / counts[name, "n"],
            }
            for name in VARIANTS
            if counts[name, "n"]
        }
        refusals = {
            name: {"n": counts[kind, "n"], "share": counts[kind, "refused"] / counts[kind, "n"]}
            for name, kind in (("right", "refusal"), ("wrong", "answer"))
            if counts[kind, "n"]
        }
        return {"wordings": kinds, "refusals": refusals}

    @staticmethod
    def _right(session: SceneSessionLike, questions: Sequence[Question], texts: Sequence[str]) -> list[bool]:
        answers = [answer.text for answer in session.answer(list(texts))]
        return [bool(is_correct(question, answer)) for question, answer in zip(questions, answers, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="folder, or nano")
    parser.add_argument("--scenes", default="homes:test/0-49")
    parser.add_argument("--questions", type=int, default=40, help="of each scene")
    given = parser.parse_args()
    pipeline, scorer = DollhousePipeline.from_pretrained(given.model), RobustnessScorer()
    for scene in open_scenes(given.scenes):
        scorer.add(pipeline.encode_scene(scene), generate_questions(scene, limit=given.questions))
    print(json.dumps(scorer.result(), indent=1))


if __name__ == "__main__":
    main()
