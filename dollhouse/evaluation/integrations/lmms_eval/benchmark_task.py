"""Our benchmarks as tasks of lmms-eval.

A task's YAML names this module's ``TASK_MEMBER``, such as ``scanqa_doc_to_text``. Frames, prompts and scorers are the
benchmark's, so figures equal those of Dollhouse. Environment variables name the data.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks import benchmark_definition, rooms
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.benchmarks.benchmark_scenes import media_path, open_benchmark_scene
from dollhouse.evaluation.benchmarks.summary import summarise
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_text

SCENES = "DOLLHOUSE_SCENES"  #: names the folder of scans
QUESTIONS_A_ROOM = 40  #: as ``dollhouse evaluate`` asks by default, with seed 0
FUNCTIONS = ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results")

Document = Mapping[str, Any]  #: a row of lmms-eval's data set
DocumentResult = Mapping[str, Any]  #: what ``process_results`` returns of an answer


class BenchmarkTask:
    """A benchmark as a task.

    Args:
        files: the variable that names the authors' files, separated by ``os.pathsep``.
        means: figures of the YAML that are means over answers, so that lmms-eval can compute their errors.
        corpus: figures of the YAML over a whole set of answers.
    """

    def __init__(self, name: str, files: str, means: Sequence[str], corpus: Sequence[str] = ()) -> None:
        self.benchmark = benchmark_definition(name)
        self.files, self.means, self.figures = files, tuple(means), (*means, *corpus)
        self._frames = lru_cache(maxsize=2)(self._open_frames)
        self._summary = lru_cache(maxsize=1)(self._summarise)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """The questions by id; raises QuestionError where the variable is not set, or a file is damaged."""
        return {sample.id: sample for sample in self.read()}

    def member(self, name: str) -> Any:
        """Return what a YAML names: a function, a figure's aggregation, or ``questions``, a file."""
        if name == "questions":
            return self.questions_file()
        if name in self.figures:
            return self.figure(name)
        if name in FUNCTIONS:
            return getattr(self, name)
        raise AttributeError(f"lmms-eval's task {self.benchmark.name} has no {name!r}")

    def read(self) -> list[Sample]:
        files = os.environ.get(self.files)
        if not files:
            advice = self.benchmark.source.advice()
            raise QuestionError(f"{self.benchmark.name}: set {self.files} to the path of its questions; {advice}")
        return self.benchmark.samples([Path(path) for path in files.split(os.pathsep)])

    def open_scene(self, name: str) -> Scene:
        """Open a scene with the frames of the benchmark."""
        root = os.environ.get(SCENES)
        if not root:
            raise QuestionError(f"{self.benchmark.name}: set {SCENES} to the folder of its scans")
        return open_benchmark_scene(self.benchmark, media_path(Path(root), name, ()))

    def questions_file(self) -> str:
        """Write the documents as JSONL, for ``data_files``; named after its content, so that caches stay valid."""
        text = "".join(json.dumps(document_of(sample), ensure_ascii=False) + "\n" for sample in self.samples.values())
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dollhouse" / "lmms_eval"
        path = folder / f"{self.benchmark.name}-{sha256(text.encode()).hexdigest()[:16]}.jsonl"
        write_text(path, text, "set XDG_CACHE_HOME to another folder")  # several ranks may write at once
        return str(path)

    def doc_to_visual(self, document: Document) -> list[Image.Image]:
        """Return the benchmark's frames of a document's scene."""
        return list(self._frames(document["scene"]))

    def doc_to_text(self, document: Document) -> str:
        """Return the benchmark's prompt."""
        return self.benchmark.prompt_of(self.samples[document["id"]])

    def doc_to_target(self, document: Document) -> list[str]:
        return list(document["answers"])

    def process_results(self, document: Document, results: Sequence[str]) -> dict[str, DocumentResult]:
        """Return the prediction under every figure's name, with the ``score`` that it earns by itself."""
        sample = self.samples[document["id"]]
        result = {"id": sample.id, "scene": sample.scene, "prediction": results[0]}
        scored = self.benchmark.score([sample], results[:1])
        credits = {name: rows[0] for name, rows in scored.credits.items() if len(rows)}
        if credits:
            credits[sample.kind] = next(iter(credits.values()))
        return {
            name: {**result, "score": float(credits[name])} if name in credits and name in self.means else result
            for name in self.figures
        }

    def figure(self, name: str) -> Callable[[Sequence[DocumentResult]], float]:
        """Return the aggregation of the figure ``name`` over all answers; it gives NaN without any."""

        def aggregate(results: Sequence[DocumentResult]) -> float:
            summary = self._summary(tuple((result["id"], result["prediction"]) for result in results))
            entries = {summary["headline"]: summary["overall"], **summary["credits"], **summary["kinds"]}
            value = entries[name]["value"] if entries.get(name) else summary["scores"].get(name, math.nan)
            return float(value["value"] if isinstance(value, Mapping) else value)

        return aggregate

    def _summarise(self, predictions: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        samples = [self.samples[id] for id, _ in predictions]
        return summarise(self.benchmark.score(samples, [text for _, text in predictions]))

    def _open_frames(self, scene: str) -> tuple[Image.Image, ...]:
        return tuple(Image.fromarray(view.image) for view in self.open_scene(scene).views)


class RoomsTask(BenchmarkTask):
    """Procedural rooms; the variable ``files`` names them, such as ``rooms:test/0-49``."""

    def read(self) -> list[Sample]:
        return [
            rooms.sample_of_question(question)
            for scene in open_scenes(os.environ.get(self.files) or "rooms:test/0-199")
            for question in generate_questions(scene, limit=QUESTIONS_A_ROOM)
        ]

    def open_scene(self, name: str) -> Scene:
        return open_scene(name)


def document_of(sample: Sample) -> dict[str, Any]:
    """Build a row of lmms-eval's data set, which its log of samples holds too."""
    return {
        "id": sample.id,
        "scene": sample.scene,
        "kind": sample.kind,
        "question": sample.question,
        "answers": list(sample.answers),
    }


_EXACT = ("em", "em_refined", "em_refined_strict")
_CAPTION = ("coco_bleu_1", "coco_bleu_2", "coco_bleu_3", "coco_bleu_4", "coco_rouge_l", "coco_cider")
BENCHMARK_TASKS = {
    "rooms": RoomsTask("rooms", "DOLLHOUSE_ROOMS", ("accuracy", "proximity", "contact", "size", "orientation")),
    "scanqa": BenchmarkTask("scanqa", "DOLLHOUSE_SCANQA", _EXACT, _CAPTION),
    "sqa3d": BenchmarkTask("sqa3d", "DOLLHOUSE_SQA3D", _EXACT),
}


def __getattr__(name: str) -> Any:
    task, _, member = name.partition("_")
    if task not in BENCHMARK_TASKS:
        raise AttributeError(name)
    return BENCHMARK_TASKS[task].member(member)
