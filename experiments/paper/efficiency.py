"""Table IV and Fig. 2: how fast, how large and how hungry teacher and student are, asked in turn on one machine.

The same rooms and questions, the same number of tokens an answer, the same decoding, each model in a process of its
own. Knows nothing of how well they answer.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import RecipeError
from dollhouse.evaluation.report.report_schema import package_versions
from dollhouse.questions.generate import generate_questions
from dollhouse.records.scene_source import scene_sources
from dollhouse.scenes.open import open_scenes
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine
from experiments.paper import paper
from experiments.paper.archive import model_key, short_key
from experiments.paper.bench import Bench
from experiments.paper.drawing import draw_bars
from experiments.paper.paired import Estimate, Statistic, estimate, rate, ratio
from experiments.paper.plan import Job
from experiments.paper.stopwatch import Stopwatch
from experiments.paper.table import Column, Result, Row

KEY, FIGURE = "IV", "fig2"
TIMING_VERSION = 1  #: raise it whenever the same models would be measured otherwise
MEGA = 1e6
COLUMNS = [
    Column("first answer", "lower", digits=1, unit=" ms"),
    Column("later answer", "lower", digits=1, unit=" ms"),
    Column("answers/s, many at once", "higher", digits=1),
    Column("parameters", "lower", digits=2, unit=" M"),
    Column("on disk", "lower", digits=1, unit=" MB"),
    Column("peak memory", "lower", digits=0, unit=" MB"),
    Column("of it for the model", "lower", digits=0, unit=" MB"),
]
TIMES = Column("", digits=1, unit="×")
AGAIN = "teacher, looking again"
METHOD = (
    "first answer: photos in memory to the last token, looking included. later answer: the same scene asked again; "
    "teacher and student both remember what they saw. Looking again: LLaVA-3D has no such memory and the paper times "
    "it so; every answer of the teacher is then a first one. "
    "many at once: all questions of a room about a scene already seen. Each is timed five times in a room and the "
    "median counts; means over rooms; intervals resample rooms. "
    "peak memory: the process's, Python and torch included; for the model: what it rose above the process without a "
    "model."
)


def jobs(bench: Bench) -> list[Job]:
    timing = bench.extent.timing
    count = 1 if bench.teacher_folder is None else 2
    seconds = count * (12 + timing.rooms * 2.0)
    return [Job("timing", KEY, 2, seconds, lambda: _time(bench), lambda: _file(bench).is_file())]


def results(bench: Bench) -> list[Result]:
    """Table IV and Fig. 2; none before the timing was done."""
    if not _file(bench).is_file():
        return []
    told = json.loads(_file(bench).read_text(encoding="utf-8"))
    more: dict[str, Any] = {"machine": told["machine"], "packages": told["packages"], "threads": told["threads"]}
    rows = [Row(name, _values(told["models"][name])) for name in told["models"]]
    sentences = []
    if "teacher" in told["models"]:
        teacher, student = told["models"]["teacher"], told["models"]["student"]
        ratios = _ratios(teacher, student)
        again = _looking_again(teacher, student)
        rows.insert(1, Row(AGAIN, {"later answer": _mean(teacher["first"], 1000)}))
        rows.append(Row("teacher / student", {name: TIMES.told(value) for name, value in ratios.items()}))
        rows.append(Row(f"{AGAIN} / student", {"later answer": TIMES.told(again)}))
        sentences = _sentences(ratios, again)
        ratios["later answer, teacher looking again"] = again
        more["ratios"] = {name: one.as_json() if isinstance(one, Estimate) else one for name, one in ratios.items()}
    how = f"{METHOD} {told['tokens']} tokens an answer, {told['rooms']} rooms, one model after the other in every room."
    left_out = [] if "teacher" in told["models"] else ["the teacher: none was given (--teacher MODEL)"]
    table = Result(KEY, "Table IV: efficiency", COLUMNS, rows, paper.EFFICIENCY, sentences, [how], left_out, more)
    figure = Result(
        FIGURE, "Fig. 2: speed, size, memory", [], [], paper.EFFICIENCY, [], ["The figures of Table IV."], left_out
    )
    models = told["models"]
    figure.picture = lambda out: draw_bars(_bars(models), out)
    return [table, figure]


def first_answers_a_second(bench: Bench) -> dict[str, float]:
    """Frames a second as the paper has them, {"teacher", "student"}: scenes looked at and asked once, in a second."""
    if not _file(bench).is_file():
        return {}
    told = json.loads(_file(bench).read_text(encoding="utf-8"))
    return {name: 1 / float(np.mean(entry["first"])) for name, entry in told["models"].items()}


def _time(bench: Bench) -> None:
    """Ask the models in turn and keep every time."""
    timing = bench.extent.timing
    folders = {"teacher": bench.teacher_folder, "student": bench.student_folder}
    scenes = open_scenes(bench.extent.compared)[: timing.rooms + 1]
    if len(scenes) < 2:
        raise RecipeError(
            f"compared={bench.extent.compared} is one room, and the first only warms up: name two or more"
        )
    names = scene_sources(scenes, bench.extent.compared)
    told: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        watches = {name: stack.enter_context(Stopwatch(folder)) for name, folder in folders.items() if folder}
        for name, watch in watches.items():
            told[name] = {**watch.told, "first": [], "later": [], "all": [], "questions": []}
        for number, scene in enumerate(scenes):
            questions = [question.text for question in generate_questions(scene, limit=timing.batch)]
            turn = list(watches) if number % 2 else list(reversed(watches))
            for name in turn:
                seconds = watches[name].ask(names[number], questions, timing.tokens)
                if number:  # the first room warms up
                    told[name]["questions"].append(len(questions))
                    for part, value in seconds.items():
                        told[name][part].append(value)
        for name, watch in watches.items():
            told[name] |= watch.memory()
    found = {
        "models": told,
        "tokens": timing.tokens,
        "rooms": len(scenes) - 1,
        "machine": describe_machine() | {"load": os.getloadavg()},
        "packages": package_versions(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
    }
    _file(bench).parent.mkdir(parents=True, exist_ok=True)
    write_text(_file(bench), json.dumps(found, indent=1))


def _file(bench: Bench) -> Path:
    """Where the times of these very models, rooms and code are kept."""
    teacher = None if bench.teacher_folder is None else model_key(bench.teacher_folder)
    code = TIMING_VERSION
    settings = [bench.extent.compared, bench.extent.timing.model_dump()]
    return bench.out / "timing" / f"{short_key([teacher, model_key(bench.student_folder), settings, code])}.json"


def _mean(values: list[float], scale: float = 1.0) -> Estimate | None:
    return estimate([rate([scale * value for value in values], [1.0] * len(values))], len(values), len(values))


def _values(entry: dict[str, Any]) -> dict[str, Any]:
    rooms = len(entry["first"])
    throughput = estimate([rate(entry["questions"], entry["all"])], rooms, sum(entry["questions"]))
    numbers = [entry["parameters"], entry["bytes"], entry["peak"], entry["peak"] - entry["empty"]]
    figures = [_mean(entry["first"], 1000), _mean(entry["later"], 1000), throughput, *(one / MEGA for one in numbers)]
    return dict(zip((column.name for column in COLUMNS), figures, strict=True))


def _ratios(teacher: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    """Teacher over student, figure by figure; of times with intervals, paired by room."""
    rooms = len(teacher["first"])

    def statistic(entry: dict[str, Any], part: str) -> Statistic:
        return rate(entry[part], entry["questions"] if part == "all" else [1.0] * rooms)

    found: dict[str, Any] = {}
    for column, part in zip(COLUMNS, ("first", "later"), strict=False):
        found[column.name] = estimate([ratio(statistic(teacher, part), statistic(student, part))], rooms, rooms)
    found[COLUMNS[2].name] = estimate([ratio(statistic(student, "all"), statistic(teacher, "all"))], rooms, rooms)
    ours, theirs = _values(student), _values(teacher)
    return found | {column.name: theirs[column.name] / ours[column.name] for column in COLUMNS[3:]}


def _looking_again(teacher: dict[str, Any], student: dict[str, Any]) -> Estimate | None:
    """A later answer of a teacher that remembers nothing, over the student's, paired by room."""
    rooms = len(teacher["first"])
    once = [1.0] * rooms
    return estimate([ratio(rate(teacher["first"], once), rate(student["later"], once))], rooms, rooms)


def _sentences(ratios: dict[str, Any], again: Estimate | None) -> list[str]:
    first, later, size = ratios["first answer"], ratios["later answer"], ratios["parameters"]
    return [
        f"The teacher's first answer takes {TIMES.told(first)} the student's time. A later one takes "
        f"{TIMES.told(again)} where the teacher looks at the scene again for every question, as LLaVA-3D does and the "
        f"paper times it, and {TIMES.told(later)} where it is given the student's memory of a scene. The student has "
        f"{size:.1f}× fewer parameters. The paper says 8.72× and 3.1×.",
    ]


def _bars(models: dict[str, Any]) -> list[tuple[str, str, list[tuple[str, float]]]]:
    def of(part: str) -> list[tuple[str, float]]:
        return [(name, _bar(entry, part)) for name, entry in models.items()]

    return [
        ("first answers a second", "higher is better", of("first")),
        ("later answers a second", "higher is better", of("later")),
        ("parameters (M)", "lower is better", of("parameters")),
        ("peak memory (MB)", "lower is better", of("peak")),
    ]


def _bar(entry: dict[str, Any], part: str) -> float:
    return 1 / float(np.mean(entry[part])) if part in ("first", "later") else entry[part] / MEGA
