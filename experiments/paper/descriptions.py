"""Section IV's text metrics: how alike the student's descriptions of rooms are to the teacher's, and how long.

Knows rows of predictions, nothing of models. The length-normalised figures compare texts that were both cut to the
words of the shorter one, so that saying less or more costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dollhouse.errors import ScoreError
from dollhouse.evaluation.metrics.text.bleu import ORDERS, BleuCounts
from dollhouse.evaluation.metrics.text.meteor import score_meteor
from dollhouse.evaluation.metrics.text.ptb import split_captions
from dollhouse.evaluation.metrics.text.rouge import score_rouge
from dollhouse.evaluation.metrics.text.score import import_extra
from dollhouse.geometry import Array
from experiments.paper import paper
from experiments.paper.bench import Bench
from experiments.paper.drawing import draw_rows
from experiments.paper.measured import Counted, Measured
from experiments.paper.paired import Estimate, Statistic, estimate, rate
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row

KEY = "text"
ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
PLAIN, CUT = Column("as they are", "higher"), Column("length-normalised", "higher")
METHOD = (
    "Every room's description by the student against the teacher's. BLEU as COCO counts it, over all rooms at once; "
    "ROUGE as rouge-score has it, F1 where nothing is said; METEOR as NLTK has it. Length-normalised: both texts cut "
    "to the words of the shorter one before they are scored, so that brevity neither costs nor pays."
)


def jobs(bench: Bench) -> list[Job]:
    return bench.compared_jobs(KEY)


def results(bench: Bench) -> list[Result]:
    student, teacher = bench.student_measured, bench.teacher_measured
    if student is None or (bench.teacher_folder is not None and teacher is None):
        return []
    said, told = texts(student, teacher)
    scenes = [str(row["scene"]) for row in student.described()]
    full, cut = scores(said, told, scenes), scores(*shortened(said, told), scenes)
    rows = [Row(name, {PLAIN.name: full[name], CUT.name: cut[name]}) for name in full]
    lengths = {"student": words(said), "teacher": words(told)}
    rows += [
        Row(f"words, {name}", {PLAIN.name: estimate([rate(counts, np.ones(len(counts)))], len(counts), len(counts))})
        for name, counts in lengths.items()
    ]
    mean = {name: float(np.mean(counts)) for name, counts in lengths.items()}
    sentences = [
        f"The student describes a room in {mean['student']:.1f} words, the teacher in {mean['teacher']:.1f} "
        "(the paper: 8.2 and 63.5)."
    ]
    left_out = [] if teacher else ["the teacher: none was given, so geometry's own descriptions stand in for its own"]
    result = Result(KEY, "Section IV: text metrics", [PLAIN, CUT], rows, paper.TEXTS, sentences, [METHOD], left_out)
    result.picture = lambda out: draw_rows(result.columns, rows[:-2], None, out)
    return [result]


def texts(measured: Measured, teacher: Measured | None) -> tuple[list[str], list[str]]:
    """The descriptions that a model gave, and the teacher's of the same rooms (None: geometry's own).

    Raises ScoreError where the teacher was not asked the same.
    """
    rows = measured.described()
    said = [str(row["prediction"]) for row in rows]
    if teacher is None:
        return said, [str(row["answer"]) for row in rows]
    missing = [row["id"] for row in rows if row["id"] not in teacher.by_id]
    if missing:
        raise ScoreError(
            f"the teacher was not asked {missing[0]}: let the extent's runs be among the rooms compared, with the same "
            "number of questions"
        )
    return said, [str(teacher.by_id[row["id"]]["prediction"]) for row in rows]


def rouge_1(measured: Measured, teacher: Measured | None) -> Counted:
    """ROUGE-1 (F1) of a model's descriptions against the teacher's, as a statistic over its rooms."""
    said, told = texts(measured, teacher)
    if not said:
        return measured.scored([], [])
    found = score_rouge(said, [[text] for text in told])["rouge_1"]
    return measured.scored(measured.described(), found.rows.tolist())


def scores(said: Sequence[str], told: Sequence[str], scenes: Sequence[str]) -> dict[str, Estimate | None]:
    """Every score of N texts against their references, with intervals over their rooms."""
    names = list(dict.fromkeys(scenes))
    room = np.array([names.index(scene) for scene in scenes])
    here = np.zeros((len(said), len(names)))
    here[np.arange(len(said)), room] = 1.0

    def mean(values: Sequence[float] | Array) -> Estimate | None:
        return estimate([rate(np.asarray(values) @ here, here.sum(0))], len(names), len(said))

    found = {
        f"BLEU-{n + 1}": estimate([statistic], len(names), len(said))
        for n, statistic in enumerate(bleu_statistics(said, told, here))
    }
    scorer = import_extra("rouge_score.rouge_scorer", "rouge-score").RougeScorer(list(ROUGE.values()))
    rouge = [scorer.score(reference, text) for text, reference in zip(said, told, strict=True)]
    for name, kind in ROUGE.items():
        found[name] = mean([score[kind].fmeasure for score in rouge])
        found[f"{name} precision"] = mean([score[kind].precision for score in rouge])
        found[f"{name} recall"] = mean([score[kind].recall for score in rouge])
    meteor = score_meteor(said, [[text] for text in told])
    name, score = next(iter(meteor.items()))
    found["METEOR" if name == "meteor" else "METEOR without synonyms"] = mean(score.rows)
    return found


def bleu_statistics(said: Sequence[str], told: Sequence[str], here: Array) -> list[Statistic]:
    """BLEU-1 to BLEU-4 over the texts of drawn rooms; ``here`` (N, S) says which text is of which room."""
    pairs = zip(split_captions(said), split_captions(told), strict=True)
    counts = [BleuCounts.of(words, [reference]) for words, reference in pairs]
    table = here.T @ np.array(
        [[*one.matched, *one.predicted, one.length, one.closest] for one in counts], dtype=np.float64
    )

    def of_order(order: int) -> Statistic:
        return lambda times: np.array([_bleu(row)[order] for row in times @ table])

    return [of_order(order) for order in range(ORDERS)]


def shortened(said: Sequence[str], told: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both texts of every pair cut to the words of the shorter one."""
    pairs = [(a.split(), b.split()) for a, b in zip(said, told, strict=True)]
    cut = [(" ".join(a[: len(b)]), " ".join(b[: len(a)])) for a, b in pairs]
    return [a for a, _ in cut], [b for _, b in cut]


def words(texts: Sequence[str]) -> list[int]:
    """How many words each text has."""
    return [len(text.split()) for text in texts]


def _bleu(sums: Array) -> list[float]:
    counts: Any = BleuCounts()
    numbers = sums.tolist()
    counts.matched, counts.predicted = numbers[:ORDERS], numbers[ORDERS : 2 * ORDERS]
    counts.length, counts.closest = numbers[-2:]
    return list(counts.scores())
