"""One of our benchmarks as the functions that a task of lmms-eval names in its YAML.

Knows lmms-eval's words for things (documents, visuals, aggregation); imports nothing of it. Questions come from the
authors' files by our readers; frames, prompt and scorers are the benchmark's, so a figure here is the figure of
``dollhouse evaluate``. Environment variables say where the data lie.
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
from dollhouse.evaluation.benchmarks.asking import open_shown, place_of
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.benchmarks.summary import summarise
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import atomic_path

SCENES = "DOLLHOUSE_SCENES"  #: names the folder of scans
QUESTIONS_A_ROOM = 40  #: as ``dollhouse evaluate`` asks by default, with seed 0
FUNCTIONS = ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results")

Document = Mapping[str, Any]  #: a row of lmms-eval's data set
Earned = Mapping[str, Any]  #: what ``process_results`` tells of one answer


class BenchmarkTask:
    """A benchmark; ``files`` is the variable that names the authors' files, with ``os.pathsep`` between several.

    ``alone`` and ``together`` are the figures that the YAML lists, under the names of ``report.json``: those that are
    means over answers, so that lmms-eval can tell their errors, and those of a whole set of answers.
    """

    def __init__(self, name: str, files: str, alone: Sequence[str], together: Sequence[str] = ()) -> None:
        self.benchmark = benchmark_definition(name)
        self.files, self.alone, self.figures = files, tuple(alone), (*alone, *together)
        self._frames = lru_cache(maxsize=2)(self._open_frames)
        self._summary = lru_cache(maxsize=1)(self._summarise)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """The questions by their ids. Raises QuestionError where the variable is not set, or a file is odd."""
        return {sample.id: sample for sample in self.read()}

    def named(self, name: str) -> Any:
        """What a YAML calls ``name``: a function, a figure, or ``questions``, which is read only when asked for."""
        if name == "questions":
            return self.questions_file()
        if name in self.figures:
            return self.figure(name)
        if name in FUNCTIONS:
            return getattr(self, name)
        raise AttributeError(f"lmms-eval's task {self.benchmark.name} has no {name!r}")

    def read(self) -> list[Sample]:
        named = os.environ.get(self.files)
        if not named:
            advice = self.benchmark.source.advice()
            raise QuestionError(f"{self.benchmark.name}: set {self.files} to the path of its questions; {advice}")
        return self.benchmark.samples([Path(path) for path in named.split(os.pathsep)])

    def open_scene(self, name: str) -> Scene:
        """A scene with the frames that the benchmark shows."""
        root = os.environ.get(SCENES)
        if not root:
            raise QuestionError(f"{self.benchmark.name}: set {SCENES} to the folder of its scans")
        return open_shown(self.benchmark, place_of(Path(root), name, ()))

    def questions_file(self) -> str:
        """The documents as a JSONL file, for ``data_files``; named after its content, so that caches of it hold."""
        text = "".join(json.dumps(document_of(sample), ensure_ascii=False) + "\n" for sample in self.samples.values())
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dollhouse" / "lmms_eval"
        path = folder / f"{self.benchmark.name}-{sha256(text.encode()).hexdigest()[:16]}.jsonl"
        with atomic_path(path, "set XDG_CACHE_HOME to another folder") as unfinished:  # several ranks may write at once
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, encoding="utf-8")
        return str(path)

    def doc_to_visual(self, document: Document) -> list[Image.Image]:
        """The frames that the benchmark shows of a document's scene."""
        return list(self._frames(document["scene"]))

    def doc_to_text(self, document: Document) -> str:
        """The benchmark's own prompt."""
        return self.benchmark.prompt_of(self.samples[document["id"]])

    def doc_to_target(self, document: Document) -> list[str]:
        return list(document["answers"])

    def process_results(self, document: Document, results: Sequence[str]) -> dict[str, Earned]:
        """What was said, under every figure's name, with the ``score`` that the answer alone earns towards it."""
        sample = self.samples[document["id"]]
        earned = {"id": sample.id, "scene": sample.scene, "prediction": results[0]}
        credits = {
            name: rows[0]
            for name, rows in self.benchmark.judge([sample], results[:1], None).credits.items()
            if len(rows)
        }
        if credits:
            credits[sample.kind] = next(iter(credits.values()))
        return {
            name: {**earned, "score": float(credits[name])} if name in credits and name in self.alone else earned
            for name in self.figures
        }

    def figure(self, name: str) -> Callable[[Sequence[Earned]], float]:
        """The aggregation that gives the figure ``name`` over all answers; NaN where nothing of it was asked."""

        def over_all(earned: Sequence[Earned]) -> float:
            summary = self._summary(tuple((one["id"], one["prediction"]) for one in earned))
            entries = {summary["headline"]: summary["overall"], **summary["credits"], **summary["kinds"]}
            value = entries[name]["value"] if entries.get(name) else summary["scores"].get(name, math.nan)
            return float(value["value"] if isinstance(value, Mapping) else value)

        return over_all

    def _summarise(self, told: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        samples = [self.samples[id] for id, _ in told]
        return summarise(self.benchmark.judge(samples, [text for _, text in told], None))

    def _open_frames(self, scene: str) -> tuple[Image.Image, ...]:
        return tuple(Image.fromarray(view.image) for view in self.open_scene(scene).views)


class RoomsTask(BenchmarkTask):
    """Rooms are made on the spot; ``files`` names them, such as ``rooms:test/0-49``."""

    def read(self) -> list[Sample]:
        return [
            rooms.sample_of_question(question)
            for scene in open_scenes(os.environ.get(self.files) or "rooms:test/0-199")
            for question in generate_questions(scene, limit=QUESTIONS_A_ROOM)
        ]

    def open_scene(self, name: str) -> Scene:
        return open_scene(name)


def document_of(sample: Sample) -> dict[str, Any]:
    """A row of lmms-eval's data set: what a person would look for in its log of samples."""
    return {
        "id": sample.id,
        "scene": sample.scene,
        "kind": sample.kind,
        "question": sample.question,
        "answers": list(sample.answers),
    }
