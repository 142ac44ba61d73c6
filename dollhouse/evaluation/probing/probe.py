"""Probe a student's thinking tokens on scenes, and write the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.data.targets import scene_targets
from dollhouse.errors import ModelError, SceneError
from dollhouse.evaluation.metrics.spatial import UNJUDGED, is_correct
from dollhouse.evaluation.oracle_boxes import OracleBoxesModel
from dollhouse.evaluation.probing.ablations import ABLATIONS, UNMODIFIED, Ablation, AblationInputs, ablated_answers
from dollhouse.evaluation.probing.accuracy import AblatedQuestion, AblationScore, score_ablations, verdict
from dollhouse.evaluation.probing.activations import NEUTRAL, eager_attention, record_activations
from dollhouse.evaluation.probing.attention import AttentionSummary
from dollhouse.evaluation.probing.linear_probe import MIN_SCENES, LinearProbe, require_scikit_learn
from dollhouse.evaluation.probing.logit_lens import LogitLens
from dollhouse.evaluation.report.report_schema import jsonl_text, package_versions
from dollhouse.evaluation.scene_evaluator import EvaluationQuestions
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession, torch_session
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_texts
from dollhouse.system.environment import describe_machine
from dollhouse.system.folder_lock import locks_out
from dollhouse.system.progress import ProgressBar

PAIR_QUESTIONS = 4  #: questions of a scene that name two objects and whose activations are recorded


@dataclass(frozen=True)
class ThinkingProbe:
    """Results of :func:`probe_thinking`; ``folder`` is None if nothing was written."""

    result: dict[str, Any]  #: as in probe.json
    scores: dict[str, dict[str, AblationScore]]  #: ablation -> group -> score
    questions: list[AblatedQuestion]  #: as in answers.jsonl
    folder: Path | None


@locks_out
def probe_thinking(
    pipeline: DollhousePipeline,
    scenes: str | Sequence[Scene],
    *,
    questions_per_scene: int = 40,
    oracle_boxes: bool = False,
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
        scenes: scenes, or a name such as ``rooms:test/0-99``.
        questions_per_scene: at most.
        oracle_boxes: give the language model the true boxes.
        ablations: what to put at the thinking positions.
        out: a folder for ``probe.json``, ``answers.jsonl`` and ``probe.html``.
        seed: of the choice of questions, the noise, the folds and the intervals.
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
        few = f"{len(annotated)} of {len(opened)} scenes have boxes in metres"
        raise SceneError(f"{few} to judge answers by; a probe needs two")
    if len(annotated) >= MIN_SCENES:
        require_scikit_learn()
    folder = None if out is None else Path(out)
    ablations, inputs, rows = (UNMODIFIED, *ablations), AblationInputs.of(pipeline, seed), list[AblatedQuestion]()
    lens, linear = LogitLens(pipeline.processor.tokenizer), LinearProbe(tuple(config.labels))
    attention, generate = (
        AttentionSummary(tuple(config.labels)),
        EvaluationQuestions(annotated, questions_per_scene, seed),
    )
    model = OracleBoxesModel(pipeline) if oracle_boxes else pipeline
    with ProgressBar("probing", len(annotated), shown=progress) as bar:
        for done, (session, other) in enumerate(_with_other_scene(model, annotated), 1):
            scene = session.scene
            questions = [question for question in generate(scene)[0] if question.family not in UNJUDGED]
            answers = ablated_answers(session, other, [question.text for question in questions], ablations, inputs)
            for number, question in enumerate(questions):
                predictions = {name: texts[number] for name, texts in answers.items()}
                correct = {name: bool(is_correct(question, text)) for name, text in predictions.items()}
                fields = (question.scene, question.id, question.family, question.text, question.answer)
                rows.append(AblatedQuestion(*fields, predictions=predictions, correct=correct))
            with eager_attention(pipeline.model):
                neutral = record_activations(session, NEUTRAL)
                lens.add(scene.name, neutral.thinking_logits)
                if objects := scene_targets(scene, config.image_size, config.labels, config.colours).objects:
                    linear.add_scene(scene.name, neutral, objects)
                centers = {box.id: box.center for box in scene.boxes or ()}
                about_pairs = [question for question in questions if len(set(question.objects)) > 1]
                for question in about_pairs[:PAIR_QUESTIONS]:
                    activations = record_activations(session, question.text)
                    attention.add(activations)
                    first, second = (centers[id] for id in question.objects[:2])
                    linear.add_pair(scene.name, activations, float(np.linalg.norm(first - second)))
            bar.update(done)
    scores = score_ablations(rows, [ablation.name for ablation in ablations], seed)
    source = scenes if isinstance(scenes, str) else None
    thinking = {name: getattr(config, f"thinking_{name}") for name in ("placement", "passes")}
    result = {
        "model": pipeline.model_id,
        "thinking": {"tokens": config.num_thinking_tokens, **thinking, "blind": config.blind},
        "scenes": {"source": source, "n": len(annotated), "left_out": len(opened) - len(annotated)},
        "oracle_boxes": oracle_boxes,
        "questions": len(rows),
        "verdict": verdict(scores),
        "ablations": {
            name: {"description": text, "groups": {group: asdict(score) for group, score in scores[name].items()}}
            for name, text, _ in ablations
        },
        "logit_lens": lens.result(),
        "attention": attention.result(),
        "linear_probe": linear.result(seed),
        "seed": seed,
        "commit": commit,
        "command": command,
        "versions": package_versions(),
        "machine": describe_machine(),
    }
    if folder is not None:
        from dollhouse.evaluation.probing.page import probe_page

        files = {"answers.jsonl": jsonl_text([vars(row) for row in rows]), "probe.html": probe_page(result)}
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_texts(folder, files | {"probe.json": text})
    return ThinkingProbe(result, scores, rows, folder)


def _with_other_scene(
    model: DollhousePipeline | OracleBoxesModel, scenes: Sequence[Scene]
) -> Iterator[tuple[TorchSession, TorchSession]]:
    """Encode every scene and pair it with another; at most three sessions exist at once."""
    first = previous = torch_session(model.encode_scene(scenes[0]))
    for scene in scenes[1:]:
        session = torch_session(model.encode_scene(scene))
        yield session, previous
        previous = session
    yield first, previous
