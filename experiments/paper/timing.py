"""Time models in child processes: one model a process, several models in turn on the same scenes and questions.

One process a model, so that peak memory is that model's; models alternate, so that whatever else the machine does
affects all of them. Every answer is forced to the same number of tokens.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from dollhouse.errors import ModelError, RecipeError
from dollhouse.evaluation.report.report_schema import package_versions
from dollhouse.inference.pipeline import DollhousePipeline, Dtype
from dollhouse.questions.generate import generate_questions
from dollhouse.records.scene_source import cache_views, scene_sources
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine
from dollhouse.training.estimate.memory import peak_resident_bytes, resident_bytes
from experiments.paper.spec import Timing

TIMES_FILE = "times.json"
SIZES = ("parameters", "bytes", "peak", "model_memory")  #: facts that are one number a model
PAPER_SIZE = "paper-size:"
SPAWN = multiprocessing.get_context("spawn")
PARTS = ("first", "later", "all")  #: answers that are timed, with encoding or of an encoded scene

_model: Any = None  #: of a child process
_empty_bytes = 0  #: of the child process before it loaded its model


def time_models(models: Mapping[str, str], scenes: str, timing: Timing, out: Path, in_turn: bool = True) -> None:
    """Time ``models`` on the first scenes of ``scenes`` and write ``times.json`` below ``out``.

    Raises RecipeError for too few scenes, ModelError for a model that cannot be timed.

    Args:
        models: folders by name, or ``paper-size:teacher`` and ``paper-size:student``.
        in_turn: hold all models and alternate, after one scene to warm up; else one model after the other, unwarmed.
    """
    sources = scene_sources(open_scenes(scenes)[: timing.rooms + in_turn], scenes)
    if len(sources) < 1 + in_turn:
        raise RecipeError(f"compared_scenes={scenes} is one scene, and the first only warms up: name two or more")
    times: dict[str, Any] = {name: {"questions": [], **{part: [] for part in PARTS}} for name in models}
    for group in [list(models)] if in_turn else [[name] for name in models]:
        with ExitStack() as stack:
            pools = {name: ProcessPoolExecutor(1, SPAWN, load_model, (models[name],)) for name in group}
            children = {name: stack.enter_context(pool) for name, pool in pools.items()}
            for number, source in enumerate(sources):
                questions = [question.text for question in generate_questions(open_scene(source), limit=timing.batch)]
                for name in group if number % 2 else reversed(group):
                    seconds = _call(name, children[name], time_scene, source, questions, timing.tokens, timing.repeats)
                    if number or not in_turn:
                        times[name]["questions"].append(len(questions))
                        for part, value in seconds.items():
                            times[name][part].append(value)
            for name, child in children.items():
                times[name] |= _call(name, child, model_sizes)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    rooms = len(next(iter(times.values()))["first"])
    facts = {"models": times, "tokens": timing.tokens, "rooms": rooms, "threads": threads}
    facts |= {"machine": describe_machine() | {"load": os.getloadavg()}, "packages": package_versions()}
    write_text(out / TIMES_FILE, json.dumps(facts, indent=1))


def _call(name: str, child: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return child.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise ModelError(f"the {name} could not be timed: its process ended (see above), or lacked memory") from error


class CheckpointModel:
    """A model folder, as the pipeline runs it."""

    def __init__(self, folder: Path, dtype: Dtype = "float32") -> None:
        self.pipeline = DollhousePipeline.from_pretrained(folder, dtype=dtype)
        self.model = self.pipeline.model
        self.disk_bytes = (folder / "model.safetensors").stat().st_size

    def question_ids(self, questions: Sequence[str]) -> list[Any]:
        """Return token ids (R, T), one tensor for each length of question."""
        ids = [self.pipeline.processor.question_ids(question) for question in questions]
        return [torch.tensor([row for row in ids if len(row) == length]) for length in dict.fromkeys(map(len, ids))]

    def encode(self, scene: Scene) -> Any:
        return self.pipeline.encode_scene(scene)

    def answer(self, encoded: Any, ids: Any, tokens: int) -> None:
        generate(encoded.decoder, encoded.prefill(ids, tokens), ids, tokens)


def generate(decoder: Any, past: Any, ids: Any, tokens: int) -> None:
    """Generate exactly ``tokens`` tokens greedily after questions (R, T), continuing from the decoder's ``past``."""
    feed = ids.to(decoder.model.device)
    for _ in range(tokens):
        feed = decoder.step(past, feed).argmax(-1, keepdim=True)
    feed.cpu()  # a GPU has finished only when its result is here


def load_model(name: str) -> None:
    """Load the model that this process times: a folder, ``paper-size:teacher`` or ``paper-size:student``."""
    global _model, _empty_bytes
    from experiments.paper.paper_size import PAPER_SIZE_MODELS

    transformers_logging.disable_progress_bar()
    _empty_bytes = resident_bytes()
    size = name.removeprefix(PAPER_SIZE)
    _model = CheckpointModel(Path(name)) if size == name else PAPER_SIZE_MODELS[size]()


def model_sizes() -> dict[str, int]:
    """Return parameters, bytes on disk, the process's peak bytes and how far they rose above those without a model."""
    parameters = sum(parameter.numel() for parameter in _model.model.parameters())
    peak = peak_resident_bytes()
    return {"parameters": parameters, "bytes": _model.disk_bytes, "peak": peak, "model_memory": peak - _empty_bytes}


@torch.inference_mode()
def time_scene(source: str, questions: Sequence[str], tokens: int, repeats: int) -> dict[str, float]:
    """Return median seconds of the first answer with encoding, of a later one, and of all questions together."""
    scene = cache_views(open_scene(source))
    for view in scene.views:  # so that nothing is rendered while the clock runs
        _ = view.image, view.depth
    groups = _model.question_ids(questions)
    if repeats > 1:
        _model.encode(scene)
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(repeats):
        marks = [time.perf_counter()]
        encoded = _model.encode(scene)
        for batches in ([groups[0][:1]], [groups[0][:1]], groups if len(questions) > 1 else []):
            for ids in batches:
                _model.answer(encoded, ids, tokens)
            marks.append(time.perf_counter())
        for part, started, ended in zip(PARTS, marks, marks[1:], strict=False):
            seconds[part].append(ended - started)
    return {part: median(values) for part, values in seconds.items()}
