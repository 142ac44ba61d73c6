"""A hundred thousand answers: how long scoring and verifying them takes, and how much memory.

    python benchmarks/score_rows.py [--rows 100000]

Writes made ScanQA questions and a predictions file, then runs in fresh processes, one after the other: `dollhouse
evaluate --benchmark scanqa --predictions ... --out`, `dollhouse evaluate --verify`, and every text scorer that is
installed, with one worker and with two. Prints seconds on the clock, seconds of processor, and the largest resident
memory of a process. Exit code 1 where scoring a file takes more than two minutes of processor on two cores, or 2 GB.
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
SECONDS, BYTES = 240.0, 2e9  #: of processor (two minutes on two cores), and of memory


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--errand", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.errand:
        print(json.dumps(measured(ERRANDS[options.errand[0]], Path(options.errand[1]))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.rows)
        print(f"{options.rows:,} answers")
        kept = {what: told(what, folder) for what in ERRANDS}
    scored = kept["score a file"]
    return int(scored["processor"] > SECONDS or scored["bytes"] > BYTES)


def write_rows(folder: Path, rows: int) -> None:
    """Questions of a thousand scenes with up to three answers, and predictions of which a third are right."""
    draw = random.Random(0)

    def said(longest: int) -> str:
        return " ".join(draw.choices(WORDS.split(), k=draw.randint(1, longest)))

    questions = [
        {
            "question_id": f"val-{number}",
            "scene_id": f"scene{number % 1000:04d}_00",
            "question": f"{draw.choice(('What', 'Where', 'How many'))} is {said(8)}?",
            "answers": [said(6) for _ in range(draw.randint(1, 3))],
        }
        for number in range(rows)
    ]
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for question in questions:
            text = question["answers"][0] if draw.random() < 1 / 3 else said(6)
            file.write(json.dumps({"id": question["question_id"], "prediction": text}) + "\n")


def score_a_file(folder: Path) -> None:
    command("--benchmark", "scanqa", "--annotations", str(folder / "questions.json"),
            "--predictions", str(folder / "predictions.jsonl"), "--out", str(folder / "report"))  # fmt: skip


def verify_it(folder: Path) -> None:
    command("--verify", str(folder / "report"))


def score_texts_with(workers: int) -> Callable[[Path], None]:
    def errand(folder: Path) -> None:
        from dollhouse.evaluation.metrics.text import SCORERS, score_texts

        rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
        answers = [question["answers"] for question in questions]
        score_texts([row["prediction"] for row in rows], answers, tuple(SCORERS), workers=workers)

    return errand


ERRANDS: dict[str, Callable[[Path], None]] = {
    "score a file": score_a_file,
    "verify it": verify_it,
    "every text score": score_texts_with(1),
    "every text score, two workers": score_texts_with(2),
}


def command(*arguments: str) -> None:
    """``dollhouse evaluate`` in this process, silent on standard output."""
    from contextlib import redirect_stdout

    from dollhouse import cli

    sys.argv = ["dollhouse", "evaluate", *arguments]
    with redirect_stdout(sys.stderr):
        try:
            cli.main()
        except SystemExit as ended:
            if ended.code:
                raise


def measured(errand: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """What an errand takes of this fresh process and its children."""
    started = time.perf_counter()
    errand(folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "clock": time.perf_counter() - started,
        "processor": sum(used.ru_utime + used.ru_stime for used in usage),
        "bytes": max(used.ru_maxrss for used in usage) * 1024,
    }


def told(what: str, folder: str) -> dict[str, float]:
    """Send a fresh process on an errand and print what it took."""
    arguments = [sys.executable, __file__, "--errand", what, folder]
    ran = subprocess.run(arguments, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    print(
        f"{what}: {found['clock']:.0f} s, of processor {found['processor']:.0f} s; "
        f"largest process {found['bytes'] / 1e9:.2f} GB",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
