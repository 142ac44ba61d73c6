"""Probes a student on scenes and writes what it found.

Knows the order of things; how each is measured stands in the modules beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.evaluation.benchmark_runner import make_folder
from dollhouse.evaluation.metrics.spatial import UNJUDGED, is_correct
from dollhouse.evaluation.probing.ablations import CONTROLS, UNTOUCHED, Control, Materials, answers
from dollhouse.evaluation.probing.accuracy import Figure, Row, figures
from dollhouse.evaluation.probing.activations import NEUTRAL, attention_kept, scan
from dollhouse.evaluation.probing.attention import AttentionTally
from dollhouse.evaluation.probing.linear_probe import DecodingTally
from dollhouse.evaluation.probing.logit_lens import ReadOut
from dollhouse.evaluation.probing.verdict import verdict
from dollhouse.evaluation.report.report_schema import jsonl_text, package_versions
from dollhouse.evaluation.scene_evaluator import MIN_BALANCE_EXAMPLES
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import SceneSession
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine

SCANNED = 4  #: questions of a scene that name two objects and are looked into


@dataclass(frozen=True)
class Probed:
    """What a probe found, and where it was written (``folder`` is None if it was not)."""

    found: dict[str, Any]  #: as in probe.json
    figures: dict[str, dict[str, Figure]]  #: control -> group -> figure
    rows: list[Row]  #: one a question, as in answers.jsonl
    folder: Path | None


def probe_thinking(
    pipeline: DollhousePipeline,
    scenes: str | Sequence[Scene],
    *,
    questions_per_scene: int = 40,
    controls: Sequence[Control] = CONTROLS,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    commit: str | None = None,
    command: str | None = None,
) -> Probed:
    """Look into the thinking tokens of ``pipeline`` on ``scenes`` (scenes, or a name such as ``rooms:test/0-99``).

    The questions are those of ``dollhouse evaluate`` without descriptions, which no geometry judges. ``commit`` and
    ``command`` are only written down. With ``out`` the folder gets ``probe.json``, ``answers.jsonl`` and
    ``probe.html``.

    Raises ModelError for a student without thinking tokens, SceneError with fewer than two scenes that have boxes in
    metres (shuffling needs another one), StorageError where ``out`` cannot be written.
    """
    config = pipeline.model.config
    if not config.num_thinking_tokens:
        raise ModelError(
            f"{pipeline.model_id} has no thinking tokens (num_thinking_tokens 0): there is nothing to probe"
        )
    opened: Sequence[Scene] = open_scenes(scenes) if isinstance(scenes, str) else scenes
    annotated = [scene for scene in opened if scene.boxes is not None and scene.metric]
    if len(annotated) < 2:
        raise SceneError(
            f"{len(annotated)} of {len(opened)} scenes have boxes in metres to judge answers by; a probe needs two"
        )
    folder = None if out is None else Path(out)
    make_folder(folder)
    balance = None
    if any(scene.metadata.get("source") != "rooms" for scene in annotated):
        balance = AnswerBalance.measure(annotated, least_count=MIN_BALANCE_EXAMPLES)
    looked = _Looking(pipeline, controls, seed)
    for memory, other in _with_progress(_with_another(pipeline, annotated), len(annotated), progress):
        own = None if memory.scene.metadata.get("source") == "rooms" else balance
        asked = generate_questions(memory.scene, balance=own, limit=questions_per_scene, seed=seed)
        looked.add(memory, other, [question for question in asked if question.family not in UNJUDGED])
    told = figures(looked.rows, [UNTOUCHED.name, *(control.name for control in controls)], seed)
    found = {
        "model": pipeline.model_id,
        "thinking": {
            "tokens": config.num_thinking_tokens,
            "placement": config.thinking_placement,
            "passes": config.thinking_passes,
            "blind": config.blind,
        },
        "scenes": {
            "source": scenes if isinstance(scenes, str) else None,
            "n": len(annotated),
            "left_out": len(opened) - len(annotated),
        },
        "questions": len(looked.rows),
        "verdict": verdict(told),
        "controls": {
            control.name: {
                "says": control.says,
                "groups": {group: figure.as_json() for group, figure in told[control.name].items()},
            }
            for control in (UNTOUCHED, *controls)
        },
        "read_out": looked.read_out.result(),
        "attention": looked.attention.result(),
        "decoding": looked.decoding.result(seed),
        "seed": seed,
        "commit": commit,
        "command": command,
        "versions": package_versions(),
        "machine": describe_machine(),
    }
    if folder is not None:
        from dollhouse.evaluation.probing.report import probe_page

        write_text(folder / "answers.jsonl", jsonl_text([vars(row) for row in looked.rows]))
        write_text(folder / "probe.html", probe_page(found))
        write_text(folder / "probe.json", json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Probed(found, told, looked.rows, folder)


class _Looking:
    """A probe under way: asks under every control and looks into the sequence, scene by scene."""

    def __init__(self, pipeline: DollhousePipeline, controls: Sequence[Control], seed: int) -> None:
        config = pipeline.model.config
        self.pipeline = pipeline
        self.controls = (UNTOUCHED, *controls)
        self.materials = Materials.of(pipeline, seed)
        self.rows: list[Row] = []
        self.read_out = ReadOut(pipeline.processor.tokenizer)
        self.attention = AttentionTally(tuple(config.labels))
        self.decoding = DecodingTally(tuple(config.labels))

    def add(self, memory: SceneSession, other: SceneSession, questions: Sequence[Question]) -> None:
        texts = [question.text for question in questions]
        said = answers(memory, other, texts, self.controls, self.materials)
        for number, question in enumerate(questions):
            words = {name: told[number] for name, told in said.items()}
            self.rows.append(
                Row(
                    scene=question.scene,
                    id=question.id,
                    family=question.family,
                    question=question.text,
                    answer=question.answer,
                    said=words,
                    right={name: bool(is_correct(question, text)) for name, text in words.items()},
                )
            )
        with attention_kept(self.pipeline.model):
            self._look(memory, questions)

    def _look(self, memory: SceneSession, questions: Sequence[Question]) -> None:
        config, scene = self.pipeline.model.config, memory.scene
        neutral = scan(memory, NEUTRAL)
        self.read_out.add(scene.name, neutral.thinking_logits)
        objects = scene_targets(scene, config.image_size, config.labels, config.colours).objects
        if objects is not None:
            self.decoding.add_scene(scene.name, neutral, objects)
        boxes = {box.id: box for box in scene.boxes or ()}
        for question in [one for one in questions if len(set(one.objects)) > 1][:SCANNED]:
            seen = scan(memory, question.text)
            self.attention.add(seen)
            one, two = (boxes[id] for id in question.objects[:2])
            self.decoding.add_pair(scene.name, seen, float(np.linalg.norm(one.center - two.center)))


def _with_another(pipeline: DollhousePipeline, scenes: Sequence[Scene]) -> Iterator[tuple[SceneSession, SceneSession]]:
    """Every scene as seen, each with another one; at most three are held at once."""
    first = previous = pipeline.encode_scene(scenes[0])
    for scene in scenes[1:]:
        seen = pipeline.encode_scene(scene)
        yield seen, previous
        previous = seen
    yield first, previous


def _with_progress(
    scenes: Iterator[tuple[SceneSession, SceneSession]], total: int, shown: bool
) -> Iterator[tuple[SceneSession, SceneSession]]:
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        yield from bar.track(scenes, total=total)
