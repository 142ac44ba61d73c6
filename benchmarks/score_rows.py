"""Time and memory of scoring and verifying 100,000 answers.

    python benchmarks/score_rows.py [--rows 100000]

Writes generated ScanQA questions and predictions, then runs each job in a fresh process: scoring the file with a
report, verifying the report, and all text scorers. Prints wall time, processor time, and
peak memory. Exit code 1 where scoring takes more than 240 s of processor time or 2 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORDS = (
    "a an the two three black brown white wooden small large round left right chair chairs table desk sofa couch bed "
    "lamp door window wall floor shelf bookshelf cabinet monitor keyboard trash can near next to behind in front of "
    "under on top of between facing it's don't rectangular 3.5 yes no"
)
SECONDS, BYTES = 240.0, 2e9  #: processor time (two minutes on two cores), and memory


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--job", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(JOBS[options.job[0]], Path(options.job[1]))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.rows)
        print(f"{options.rows:,} answers")
        results = {name: run_job(name, folder) for name in JOBS}
    scored = results["score a file"]
    return int(scored["processor"] > SECONDS or scored["bytes"] > BYTES)


def write_rows(folder: Path, rows: int) -> None:
    """Write questions about 1,000 scenes with up to three answers, and predictions of which a third are correct."""
    draw = random.Random(0)

    def text(longest: int) -> str:
        return " ".join(draw.choices(WORDS.split(), k=draw.randint(1, longest)))

    questions = [
        {
            "question_id": f"val-{number}",
            "scene_id": f"scene{number % 1000:04d}_00",
            "question": f"{draw.choice(('What', 'Where', 'How many'))} is {text(8)}?",
            "answers": [text(6) for _ in range(draw.randint(1, 3))],
        }
        for number in range(rows)
    ]
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for question in questions:
            prediction = question["answers"][0] if draw.random() < 1 / 3 else text(6)
            file.write(json.dumps({"id": question["question_id"], "prediction": prediction}) + "\n")


def score_a_file(folder: Path) -> None:
    from dollhouse.evaluation.benchmark_runner import score_predictions

    score_predictions("scanqa", folder / "predictions.jsonl", [folder / "questions.json"], out=folder / "report")


def verify_it(folder: Path) -> None:
    from dollhouse.evaluation.verify import verify_report

    assert verify_report(folder / "report").agrees


def every_text_score(folder: Path) -> None:
    from dollhouse.evaluation.metrics.text import SCORERS, score_texts

    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    answers = [question["answers"] for question in questions]
    score_texts([row["prediction"] for row in rows], answers, tuple(SCORERS))


JOBS: dict[str, Callable[[Path], None]] = {
    "score a file": score_a_file,
    "verify it": verify_it,
    "every text score": every_text_score,
}


def measure(job: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """Run a job, and measure this process and its children."""
    started = time.perf_counter()
    job(folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "clock": time.perf_counter() - started,
        "processor": sum(used.ru_utime + used.ru_stime for used in usage),
        "bytes": max(used.ru_maxrss for used in usage) * 1024,
    }


def run_job(name: str, folder: str) -> dict[str, float]:
    """Run a job in a fresh process, and print its time and memory."""
    arguments = [sys.executable, __file__, "--job", name, folder]
    ran = subprocess.run(arguments, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    print(
        f"{name}: {result['clock']:.0f} s, of processor {result['processor']:.0f} s; "
        f"largest process {result['bytes'] / 1e9:.2f} GB",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
