"""Probe a student's thinking tokens on scenes, and write the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.evaluation.benchmark_runner import make_folder
from dollhouse.evaluation.metrics.spatial import UNJUDGED, is_correct
from dollhouse.evaluation.probing.ablations import ABLATIONS, UNMODIFIED, Ablation, AblationInputs, ablated_answers
from dollhouse.evaluation.probing.accuracy import AblatedQuestion, AblationScore, score_ablations
from dollhouse.evaluation.probing.activations import NEUTRAL, eager_attention, record_activations
from dollhouse.evaluation.probing.attention import AttentionSummary
from dollhouse.evaluation.probing.linear_probe import MIN_SCENES, LinearProbe
from dollhouse.evaluation.probing.logit_lens import LogitLens
from dollhouse.evaluation.probing.ridge import require_scikit_learn
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

PAIR_QUESTIONS = 4  #: questions of a scene that name two objects and whose activations are recorded


@dataclass(frozen=True)
class ThinkingProbe:
    """Results of :func:`probe_thinking`; ``folder`` is None if nothing was written."""

    result: dict[str, Any]  #: as in probe.json
    scores: dict[str, dict[str, AblationScore]]  #: ablation -> group -> score
    questions: list[AblatedQuestion]  #: as in answers.jsonl
    folder: Path | None


def probe_thinking(
    pipeline: DollhousePipeline,
    scenes: str | Sequence[Scene],
    *,
    questions_per_scene: int = 40,
    ablations: Sequence[Ablation] = ABLATIONS,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    commit: str | None = None,
    command: str | None = None,
) -> ThinkingProbe:
    """Probe the thinking tokens of a student by ablations, logit lens, attention and linear probes.

    The questions are those of ``dollhouse evaluate`` without descriptions, which geometry cannot judge.

    Args:
        pipeline: the student.
        scenes: scenes, or a name such as ``rooms:test/0-99``.
        questions_per_scene: at most.
        ablations: what to put at the thinking positions.
        out: a folder for ``probe.json``, ``answers.jsonl`` and ``probe.html``.
        seed: of the choice of questions, the noise, the folds and the intervals.
        progress: show a progress bar.
        commit, command: recorded in ``probe.json``.

    Raises:
        ModelError: the student has no thinking tokens.
        SceneError: fewer than two scenes have boxes in metres (shuffling needs another scene).
        ScoreError: scikit-learn is missing and there are enough scenes for linear probes.
        StorageError: ``out`` cannot be written.
    """
    config = pipeline.model.config
    if not config.num_thinking_tokens:
        raise ModelError(f"{pipeline.model_id} has no thinking tokens (num_thinking_tokens 0): nothing to probe")
    opened: Sequence[Scene] = open_scenes(scenes) if isinstance(scenes, str) else scenes
    annotated = [scene for scene in opened if scene.boxes is not None and scene.metric]
    if len(annotated) < 2:
        raise SceneError(
            f"{len(annotated)} of {len(opened)} scenes have boxes in metres to judge answers by; a probe needs two"
        )
    if len(annotated) >= MIN_SCENES:
        require_scikit_learn()
    folder = None if out is None else Path(out)
    make_folder(folder)
    balance = None
    if any(scene.metadata.get("source") != "rooms" for scene in annotated):
        balance = AnswerBalance.measure(annotated, least_count=MIN_BALANCE_EXAMPLES)
    run = _ProbeRun(pipeline, ablations, seed)
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        for session, other in bar.track(_with_other_scene(pipeline, annotated), total=len(annotated)):
            own = None if session.scene.metadata.get("source") == "rooms" else balance
            questions = generate_questions(session.scene, balance=own, limit=questions_per_scene, seed=seed)
            run.add(session, other, [question for question in questions if question.family not in UNJUDGED])
    scores = score_ablations(run.rows, [ablation.name for ablation in run.ablations], seed)
    source = scenes if isinstance(scenes, str) else None
    thinking = {name: getattr(config, f"thinking_{name}") for name in ("placement", "passes")}
    result = {
        "model": pipeline.model_id,
        "thinking": {"tokens": config.num_thinking_tokens, **thinking, "blind": config.blind},
        "scenes": {"source": source, "n": len(annotated), "left_out": len(opened) - len(annotated)},
        "questions": len(run.rows),
        "verdict": verdict(scores),
        "ablations": {
            ablation.name: {
                "description": ablation.description,
                "groups": {group: asdict(score) for group, score in scores[ablation.name].items()},
            }
            for ablation in run.ablations
        },
        "logit_lens": run.logit_lens.result(),
        "attention": run.attention.result(),
        "linear_probe": run.linear_probe.result(seed),
        "seed": seed,
        "commit": commit,
        "command": command,
        "versions": package_versions(),
        "machine": describe_machine(),
    }
    if folder is not None:
        from dollhouse.evaluation.probing.charts import probe_page

        write_text(folder / "answers.jsonl", jsonl_text([vars(row) for row in run.rows]))
        write_text(folder / "probe.html", probe_page(result))
        write_text(folder / "probe.json", json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return ThinkingProbe(result, scores, run.rows, folder)


class _ProbeRun:
    """Accumulates ablated answers and activations scene by scene."""

    def __init__(self, pipeline: DollhousePipeline, ablations: Sequence[Ablation], seed: int) -> None:
        config = pipeline.model.config
        self.pipeline = pipeline
        self.ablations = (UNMODIFIED, *ablations)
        self.inputs = AblationInputs.of(pipeline, seed)
        self.rows: list[AblatedQuestion] = []
        self.logit_lens = LogitLens(pipeline.processor.tokenizer)
        self.attention = AttentionSummary(tuple(config.labels))
        self.linear_probe = LinearProbe(tuple(config.labels))

    def add(self, session: SceneSession, other: SceneSession, questions: Sequence[Question]) -> None:
        """Answer the questions of a scene under every ablation and record activations."""
        texts = [question.text for question in questions]
        answers = ablated_answers(session, other, texts, self.ablations, self.inputs)
        for number, question in enumerate(questions):
            predictions = {name: texts[number] for name, texts in answers.items()}
            correct = {name: bool(is_correct(question, text)) for name, text in predictions.items()}
            fields = (question.scene, question.id, question.family, question.text, question.answer)
            self.rows.append(AblatedQuestion(*fields, predictions=predictions, correct=correct))
        with eager_attention(self.pipeline.model):
            self._record(session, questions)

    def _record(self, session: SceneSession, questions: Sequence[Question]) -> None:
        config, scene = self.pipeline.model.config, session.scene
        neutral = record_activations(session, NEUTRAL)
        self.logit_lens.add(scene.name, neutral.thinking_logits)
        objects = scene_targets(scene, config.image_size, config.labels, config.colours).objects
        if objects is not None:
            self.linear_probe.add_scene(scene.name, neutral, objects)
        boxes = {box.id: box for box in scene.boxes or ()}
        about_pairs = [question for question in questions if len(set(question.objects)) > 1]
        for question in about_pairs[:PAIR_QUESTIONS]:
            activations = record_activations(session, question.text)
            self.attention.add(activations)
            first, second = (boxes[id].center for id in question.objects[:2])
            self.linear_probe.add_pair(scene.name, activations, float(np.linalg.norm(first - second)))


def _with_other_scene(
    pipeline: DollhousePipeline, scenes: Sequence[Scene]
) -> Iterator[tuple[SceneSession, SceneSession]]:
    """Encode every scene and pair it with another; at most three sessions exist at once."""
    first = previous = pipeline.encode_scene(scenes[0])
    for scene in scenes[1:]:
        session = pipeline.encode_scene(scene)
        yield session, previous
        previous = session
    yield first, previous
