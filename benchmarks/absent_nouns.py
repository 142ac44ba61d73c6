"""Write questions about objects that no room has, for ``dollhouse benchmark real-photos``.

    python -m benchmarks.absent_nouns absent.jsonl
    dollhouse benchmark real-photos --data real/ --annotations absent.jsonl --out absent/

The nouns are drawn anew for each scene from those of the list that are held out from training; the answer is always no.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from dollhouse.evaluation.benchmarks.real_photos import BENCHMARK
from dollhouse.questions.nouns import absent_nouns
from dollhouse.system.atomic_io import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--nouns", type=int, default=20, help="of each scene")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator, nouns = np.random.default_rng(given.seed), absent_nouns(held_out=True)
    rows = []
    for scene in dict.fromkeys(sample.scene for sample in BENCHMARK.samples(())):
        for number, noun in enumerate(generator.choice(nouns, given.nouns, replace=False).tolist()):
            article = "an" if noun[0] in "aeiou" else "a"
            row = {"scene": scene, "id": f"{scene}#absent{number}", "family": "absent"}
            rows.append(row | {"question": f"is there {article} {noun}?", "answer": "no", "accept": ["no"]})
    write_text(given.out, "".join(json.dumps(row) + "\n" for row in rows))
    print(f"{given.out}: {len(rows)} questions with {len(nouns)} nouns to draw from")


if __name__ == "__main__":
    main()
