"""Time opening, reading and checking a store of many small records: ``python -m benchmarks.many_records --out FOLDER``.

The records are written first, unless the folder exists: made-up answers and boxes of scenes with 20 views, without
syncing each file to the disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import record_id
from dollhouse.records.object_relations import Relation
from dollhouse.records.record import Record, RecordCamera
from dollhouse.records.schema import answer_table, scene_table
from dollhouse.records.store import ANSWERS, SCENE, RecordStore
from dollhouse.records.types import SceneGeometry, TeacherAnswer
from dollhouse.records.writer import parquet_bytes
from dollhouse.scenes.scene import Box
from dollhouse.system.checksums import HASHES, sum_lines

VIEWS, BOXES, QUESTIONS = 20, 10, 8
PROVENANCE = {"teacher": {"teacher": "made", "weights": "none", "licence": "MIT"}, "geometry": [], "settings": {}}


def make_record(number: int) -> Record:
    """Return a record of made-up content."""
    families = ("size", "proximity", "orientation", "depth")
    scene = f"scene{number:06d}"
    questions = tuple(
        Question(f"{each}", scene, families[each % 4], "open", f"What is object {each}?", "a chair", (), (each,), None)
        for each in range(QUESTIONS)
    )
    boxes = tuple(
        Box(each, "chair", np.full(3, float(each)), np.ones(3), 0.0, False, None, None) for each in range(BOXES)
    )
    pairs = [(a, b) for a in range(BOXES) for b in range(a + 1, BOXES)]
    content = sha256(str(number).encode()).hexdigest()
    return Record(
        id=record_id(content, questions, PROVENANCE),
        scene=scene,
        source=f"/data/scans/{scene}",
        scene_hash=content,
        questions=questions,
        answers=(TeacherAnswer("a chair"),) * QUESTIONS,
        provenance=PROVENANCE,
        licence="MIT",
        cameras=tuple(RecordCamera(f"{30 * v:06d}", np.eye(3), None, np.eye(4), content[:16]) for v in range(VIEWS)),
        geometry=SceneGeometry(boxes=boxes),
        relations=tuple(Relation(a, b, 0.5, 0.5) for a, b in pairs),
    )


def write_records(folder: Path, count: int) -> None:
    """Write records without syncing."""
    for number in range(count):
        record = make_record(number)
        contents = {ANSWERS: parquet_bytes(answer_table(record)), SCENE: parquet_bytes(scene_table(record))}
        sums = sum_lines({name: sha256(content).hexdigest() for name, content in contents.items()})
        (folder / record.id).mkdir(parents=True)
        for name, content in {**contents, HASHES: sums}.items():
            (folder / record.id / name).write_bytes(content)


def timed(name: str, function: Callable[[], Any]) -> Any:
    """Call a function; print its seconds and the memory of the process."""
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{name}: {seconds:.2f} s; {resident / 1e6:.0f} MB resident, {peak / 1e6:.0f} MB at the peak", flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--read", type=int, default=2_000, help="records that are read one by one")
    options = parser.parse_args()
    if not options.out.exists():
        timed("write", lambda: write_records(options.out, options.records))
    store = timed("open", lambda: RecordStore(options.out))
    ids = timed("list", store.ids)
    timed("entries, first time", store.entries)
    timed("entries", store.entries)
    for part in range(4):
        chosen = ids[part * options.read // 4 : (part + 1) * options.read // 4]
        timed(f"read {len(chosen)}", lambda chosen=chosen: sum(len(store.read(id).answers) for id in chosen))
    print(len(timed("check", store.check)), "problems")
