"""Measure later answers a CPU second: one by one, in a batch of one scene, and in a batch of many scenes.

Usage: python -m benchmarks.word_batch PHOTOS [--model nano] [--engine auto] [--scenes 16]

PHOTOS is a folder of photos; each is a scene, and scenes are repeated where there are too few. Prints one JSON object.
CPU seconds of the process are counted, so that other programs matter little; give it one thread (OMP_NUM_THREADS=1).
Answers of the batches must equal those one by one.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.serve_load import QUESTIONS
from dollhouse.cli.app import load_pipeline
from dollhouse.inference.session import Answer, SceneSession
from dollhouse.runtime.word_batch import WordBatch

Asked = tuple[SceneSession, str]


def batched(asked: list[Asked], batch: WordBatch) -> list[Answer]:
    """Answer questions about any scenes at once."""
    prepared = [session.prepare(question) for session, question in asked]
    rows = [(row, asked[row][0].words_cache, ids) for row, ids in enumerate(prepared) if isinstance(ids, list)]
    ended = dict(batch.add(rows)) if rows else {}
    while batch:
        ended.update(batch.step())
    answers = []
    for row, ((session, question), known) in enumerate(zip(asked, prepared, strict=True)):
        if isinstance(known, Answer):
            answers.append(known)
        else:
            text = session.pipeline.decode(ended[row].token_ids)
            answers.append(session.finish(question, text, ended[row].confidence))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--engine", choices=["auto", "onnx", "torch"], default="auto")
    parser.add_argument("--scenes", type=int, default=16)
    options = parser.parse_args()
    pipeline = load_pipeline(options.model, options.engine)
    photos = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    scenes = [pipeline.encode_scene(photo) for photo in photos[: options.scenes]]
    many = [(scenes[number % len(scenes)], question) for question in QUESTIONS for number in range(options.scenes)]
    alike = [(scenes[0], question) for _, question in many]
    result: dict[str, object] = {"model": pipeline.model_id, "questions": len(many), "scenes": len(scenes)}
    single = [session.answer([question])[0] for session, question in many]
    for name, asked, rows in (
        ("one by one", many, 1),
        ("one scene, 16 rows", alike, 16),
        (f"{options.scenes} scenes, 16 rows", many, 16),
        ("mixed, 64 rows", many, 64),
    ):
        found: list[Answer] = []
        start = time.process_time()
        for at in range(0, len(asked), rows):
            part = asked[at : at + rows]
            batch = pipeline.word_batch() if rows > 1 else None
            found += part[0][0].answer([part[0][1]]) if batch is None else batched(part, batch)
        result[f"{name}: answers a CPU second"] = round(len(asked) / (time.process_time() - start), 1)
        if asked is many:
            result[f"{name}: other answers than alone"] = sum(
                a.text != b.text for a, b in zip(found, single, strict=True)
            )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
