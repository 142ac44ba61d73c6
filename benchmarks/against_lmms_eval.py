"""Compare our VSI-Bench and 3DSRBench scores with those of lmms-eval on generated answers.

    pip install --no-deps lmms-eval pandas datasets loguru
    python benchmarks/against_lmms_eval.py [--rows 4000]

Prints each figure of lmms-eval 0.7 beside ours; exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import random
import sys
from importlib import import_module
from importlib.metadata import version

from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.answer_parsing import first_number
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.benchmarks.summary import summarise

ODD = "and about the m -2.5 3 3. 12.75 b2 one, Two- - 1,000 twenty-one A ONE é 0"
CHOICES = dict(zip("ABCD", ("the sofa", "the chair", "the bed", "the lamp"), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    options = parser.parse_args()
    print(f"lmms-eval {version('lmms-eval')}")
    draw = random.Random(0)
    agree = [numbers(draw, 50 * options.rows), vsibench(draw, options.rows), threedsrbench(draw, options.rows // 4)]
    return 0 if all(agree) else 1


def numbers(draw: random.Random, count: int) -> bool:
    theirs = import_module("lmms_eval.tasks.vsibench.utils")
    words = [
        *theirs._NUMBER_WORDS,
        *ODD.split(),
    ]
    odd = 0
    for _ in range(count):
        text = draw.choice((" ", "", "-", ", ")).join(draw.choices(words, k=draw.randint(0, 6)))
        odd += theirs.extract_number(text) != first_number(text)
    print(f"numbers read in {count:,} answers: {odd} differ")
    return not odd


def vsibench(draw: random.Random, count: int) -> bool:
    theirs = import_module("lmms_eval.tasks.vsibench.utils")
    samples, texts = [], []
    for number in range(count):
        kind = draw.choice((*theirs.MCA_QUESTION_TYPES, *theirs.NA_QUESTION_TYPES))
        truth = draw.choice("ABCD") if kind in theirs.MCA_QUESTION_TYPES else f"{draw.uniform(0.5, 20):.1f}"
        facts = {"options": [f"{letter}. {text}" for letter, text in CHOICES.items()]}
        samples.append(Sample(str(number), f"s{number % 50}", kind, "?", (truth,), facts))
        texts.append(
            draw.choice((truth, f"{truth}.", f"about {truth}", f"{draw.uniform(0.5, 20):.1f} m", "two", "(B)"))
        )
    ours = summarise(BENCHMARKS["vsibench"].score(samples, texts))["credits"]["lmms_eval"]["value"]
    rows = [
        theirs.vsibench_process_results({"question_type": sample.kind, "ground_truth": sample.answers[0]}, [text])
        for sample, text in zip(samples, texts, strict=True)
    ]
    return same(
        "VSI-Bench, overall", theirs._compute_all_subscores([row["vsibench_overall"] for row in rows])["overall"], ours
    )


def threedsrbench(draw: random.Random, count: int) -> bool:
    theirs = import_module("lmms_eval.tasks.3dsrbench.utils")
    samples, texts, rows = [], [], []
    for number in range(count):
        category = draw.choice(list(theirs.CATEGORY_MAPPING))
        for ending in draw.choice((("", "-1", "-flip", "-flip-1"), ("", "-1"), ("", "-flip"))):
            truth, id = draw.choice("ABCD"), f"{number:08d}{ending}"
            texts.append(truth if draw.random() < 0.8 else draw.choice("ABCD"))
            samples.append(Sample(id, f"{number:08d}", category, "?", (truth,), {"choices": CHOICES}))
            document = {"index": id, "qid": id, "answer": truth, "category": category}
            rows.append(theirs.process_results(document, texts[-1:]))
    summary = summarise(BENCHMARKS["3dsrbench"].score(samples, texts))
    pairs = {
        "vanilla_accuracy": summary["scores"]["vanilla"],
        "flip_accuracy": summary["scores"]["flip"],
        "circular_accuracy": summary["overall"],
        "flip_circular_accuracy": summary["scores"]["circular_flip"],
    }
    agree = [
        same(f"3DSRBench, {name}", getattr(theirs, f"aggregate_{name}")([row[name] for row in rows]), ours["value"])
        for name, ours in pairs.items()
    ]
    return all(agree)


def same(name: str, theirs: float, ours: float) -> bool:
    print(f"{name}: lmms-eval {theirs!r}, ours {ours!r}")
    return theirs == ours


if __name__ == "__main__":
    sys.exit(main())
