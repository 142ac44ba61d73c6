"""Compare exported graphs with the student they came from, and write ``certificate.json``.

Answers, boxes and depth are compared, not tensors: a vote that falls the other way moves a box by metres.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.evaluation.benchmarks import real_photos
from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.metrics.spatial import is_correct
from dollhouse.evaluation.scene_evaluator import EvaluationQuestions
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.runtime.certificate import certified_files
from dollhouse.runtime.student import OnnxStudent
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scale import NOTHING_KNOWN, KnownScale
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.system.progress import ProgressBar

LEAST_EQUAL = 0.99  #: share of equal answers, over all sets
MOST_LOST = 0.005  #: accuracy below the student's, in each set
LEAST_BOXES = 0.95  #: share of the student's boxes that the graphs predict within ``NEAR``, over all sets and shapes
NEAR = 0.25  #: metres
#: (views, height, width, known focal length) of the grid of shapes
SHAPES = (
    (1, 252, 252, None), (1, 189, 252, 0.9), (1, 252, 140, None), (2, 252, 189, None), (3, 168, 252, 0.6),
    (4, 252, 252, None), (5, 189, 252, None), (6, 126, 252, 1.2), (7, 252, 126, None), (8, 252, 189, 0.8),
)  # fmt: skip
SHAPE_QUESTIONS = (
    "how many chairs are there?", "describe the room.", "is there a table?", "what is closest to the camera?"
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A scene with questions, and whether answers to them are right (None: cannot be judged)."""

    scene: Scene
    questions: Sequence[str]
    judge: Callable[[int, str], bool | None]
    known: KnownScale = NOTHING_KNOWN
    views: int | None = None  #: photos that are encoded; by default the model's number


@dataclass(frozen=True, eq=False)
class Reply:
    """What one engine predicted for a scene."""

    answers: list[str]
    boxes: Sequence[Box]
    depth: Any


def made_questions(source: str, per_scene: int) -> Iterator[Asked]:
    """Yield made scenes with generated questions."""
    scenes = open_scenes(source)
    generated = EvaluationQuestions(scenes, per_scene, seed=0)
    for scene in scenes:
        questions = generated(scene)[0]
        judge = partial(lambda rows, row, text: is_correct(rows[row], text), questions)
        yield Asked(scene.keeping_images(), [question.text for question in questions], judge)  # rendering takes long


def photo_questions(folder: Path) -> Iterator[Asked]:
    """Yield photos of real rooms with their questions: ``questions.jsonl``, and a photo or folder for each scene."""
    samples = real_photos.read([folder / "questions.jsonl"])
    for name in sorted({sample.scene for sample in samples}):
        path = next((found for part in ("photos", "rooms") for found in sorted((folder / part).glob(f"{name}*"))), None)
        if path is None:
            raise SceneError(f"{folder} has questions about {name}, but no photo or folder of that name")
        own = [sample for sample in samples if sample.scene == name]
        judge = partial(lambda rows, row, text: real_photos.is_correct(rows[row], text), own)
        yield Asked(open_scene(path, skip_bad=True), [sample.question for sample in own], judge)


def shape_grid() -> Iterator[Asked]:
    """Yield made rooms in several numbers, shapes and focal lengths of views."""
    for number, (views, height, width, focal) in enumerate(SHAPES):
        room = open_scene(f"rooms:test/{number}")
        images = [np.asarray(Image.fromarray(view.image).resize((width, height))) for view in room.views]
        resized = [View(f"view_{view}", partial(np.asarray, images[view % len(images)])) for view in range(views)]
        scene = Scene(f"{room.name}, {views} views of {width} x {height}", tuple(resized))
        known = NOTHING_KNOWN if focal is None else KnownScale(focal=str(focal))
        yield Asked(scene, SHAPE_QUESTIONS, lambda row, text: None, known, views)


def certify(
    model: DollhousePipeline, weights: str, folder: Path, precisions: Sequence[str], sets: dict[str, list[Asked]]
) -> dict[str, Any]:
    """Compare every precision in ``folder`` with the torch student on every set; returns the certificate.

    ``weights`` is the hash of the student's weights; the shapes of :func:`shape_grid` are added to ``sets``.
    """
    sets = {**sets, "shapes": list(shape_grid())}
    count = sum(map(len, sets.values()))
    with ProgressBar("certifying", count * (1 + len(precisions))) as bar:
        done = 0

        def replies(pipeline: DollhousePipeline) -> dict[str, list[Reply]]:
            nonlocal done
            found: dict[str, list[Reply]] = {}
            for name, rows in sets.items():
                for asked in rows:
                    found.setdefault(name, []).append(_reply(pipeline, asked))
                    bar.update(done := done + 1)
            return found

        expected = replies(model)
        entries = {}
        for precision in precisions:
            student = OnnxStudent(folder, precision, certified=False)
            compared = replies(DollhousePipeline(None, None, f"{model.model_id}/{precision}", student))
            entries[precision] = _entry(folder, precision, sets, expected, compared)
    texts = [
        [name, asked.scene.name, list(asked.questions), reply.answers]
        for name in sets
        for asked, reply in zip(sets[name], expected[name], strict=True)
    ]
    return {
        "model": model.model_id,
        "weights": weights,
        "onnxruntime": version("onnxruntime"),
        "compared": {
            "sha256": sha256(json.dumps(texts).encode()).hexdigest(),
            **{
                name: {"scenes": len(rows), "questions": sum(len(a.questions) for a in rows)}
                for name, rows in sets.items()
            },
        },
        "required": {"equal": LEAST_EQUAL, "accuracy_lost": MOST_LOST, "boxes_found": LEAST_BOXES, "within_m": NEAR},
        "precisions": entries,
    }


def _reply(pipeline: DollhousePipeline, asked: Asked) -> Reply:
    session = pipeline.encode_scene(asked.scene, asked.views, skip_bad=True, known=asked.known)
    answers = [answer.text for answer in session.answer(asked.questions)]
    return Reply(answers, session.shown_boxes, session.depth[:, ::7, ::7])


def _entry(
    folder: Path,
    precision: str,
    sets: dict[str, list[Asked]],
    expected: dict[str, list[Reply]],
    compared: dict[str, list[Reply]],
) -> dict[str, Any]:
    files = certified_files(folder, precision)
    results = {name: _compare(sets[name], expected[name], compared[name]) for name in sets}
    equal = sum(result["equal"] for result in results.values()) / max(sum(r["n"] for r in results.values()), 1)
    boxes = sum(result["boxes"]["n"] for result in results.values())
    found = sum(result["boxes"]["found"] for result in results.values()) / max(boxes, 1)
    lost = max(result["accuracy_lost"] for result in results.values())
    return {
        "passed": equal >= LEAST_EQUAL and lost <= MOST_LOST + 1e-9 and (found >= LEAST_BOXES or not boxes),
        "equal": round(equal, 5),
        "boxes_found": round(found, 5),
        "accuracy_lost": round(lost, 5),
        "bytes": sum((folder / name).stat().st_size for name in files if "/" in name),
        "files": files,
        "sets": results,
    }


def _compare(rows: Sequence[Asked], expected: Sequence[Reply], compared: Sequence[Reply]) -> dict[str, Any]:
    """Compare the replies of both engines to one set of questions."""
    total, right = np.zeros(len(rows)), np.zeros((2, len(rows)))
    n = equal = found = count = 0
    gaps: list[float] = []
    depth: list[float] = []
    for number, (asked, old, new) in enumerate(zip(rows, expected, compared, strict=True)):
        n += len(old.answers)
        equal += sum(a == b for a, b in zip(old.answers, new.answers, strict=True))
        for place, pair in enumerate(zip(old.answers, new.answers, strict=True)):
            verdicts = [asked.judge(place, text) for text in pair]
            if None not in verdicts:
                total[number] += 1
                right[:, number] += np.array(verdicts, dtype=np.float64)
        nearest = [_nearest(box, new.boxes) for box in old.boxes]
        count += len(nearest)
        found += sum(gap <= NEAR for gap in nearest)
        gaps += [gap for gap in nearest if np.isfinite(gap)]
        depth.append(float(np.abs(new.depth / old.depth - 1).mean()))
    result: dict[str, Any] = {
        "n": n,
        "equal": equal,
        "equal_share": round(equal / max(n, 1), 5),
        "accuracy_lost": 0.0,
        "boxes": {
            "n": count,
            "found": found,
            "median_m": round(float(np.median(gaps)), 5) if gaps else None,
            "max_m": round(max(gaps), 3) if gaps else None,
        },
        "depth_relative": round(float(np.mean(depth)), 6),
    }
    if total.any():
        result["accuracy_lost"] = round(float((right[0] - right[1]).sum() / total.sum()), 5)
        result["accuracy"] = {
            name: {"value": round(float(earned.sum() / total.sum()), 5), "n": int(total.sum()),
                   "interval": accuracy_interval(earned, total)}
            for name, earned in zip(("torch", "onnx"), right, strict=True)
        }  # fmt: skip
    return result


def _nearest(box: Box, others: Sequence[Box]) -> float:
    """Return the distance in metres to the nearest box of the same label; infinite where there is none."""
    gaps = [float(np.linalg.norm(box.center - other.center)) for other in others if other.label == box.label]
    return min(gaps, default=float("inf"))
