"""A teacher's answers to the questions of annotated scenes, judged by geometry as a student's are.

Knows the protocol of teachers and no single one of them; asks the very questions that
:func:`dollhouse.evaluation.evaluate.evaluate` asks a model, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dollhouse.evaluation.benchmark_runner import BenchmarkRun, make_folder, score_answers
from dollhouse.evaluation.benchmarks import rooms
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.predictions import Predictions
from dollhouse.questions.sources import GeneratedQuestions
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.protocol import Teacher


def ask_about_scenes(
    teacher: Teacher,
    scenes: Sequence[Scene],
    *,
    limit: int = 40,
    out: Path | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: bool = True,
) -> BenchmarkRun:
    """Ask ``teacher`` at most ``limit`` questions a scene and score what it says.

    With ``out`` the folder gets ``predictions.jsonl`` and ``report.json``. Raises QuestionError for a scene of which
    nothing can be asked, TeacherError where the teacher cannot look at it, StorageError where ``out`` cannot be
    written.
    """
    make_folder(out)
    asking = GeneratedQuestions(scenes, limit, seed)
    samples: list[Sample] = []
    texts: list[str] = []
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        for scene in bar.track(scenes, total=len(scenes)):
            questions = asking(scene)
            texts += [answer.text for answer in teacher.answer(scene, questions)]
            samples += map(rooms.sample_of_question, questions)
    prompts: list[str | None] = [rooms.BENCHMARK.prompt_of(sample) for sample in samples]
    told = teacher.provenance()
    said = Predictions(str(told.get("teacher")), texts, prompts)
    return score_answers(
        rooms.BENCHMARK, samples, said, out=out, model=told, seed=seed, command=command, progress=progress
    )
