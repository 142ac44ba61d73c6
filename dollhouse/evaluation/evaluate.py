"""Evaluate a model on scenes and write metrics, predictions and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dollhouse.errors import ModelError, SceneError
from dollhouse.evaluation.benchmarks import rooms
from dollhouse.evaluation.protocol import EvaluableModel
from dollhouse.evaluation.report.evaluation_page import evaluation_page
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.evaluation.report.report_schema import (
    UNKNOWN,
    build_report,
    format_report,
    jsonl_text,
    model_lineage,
    package_versions,
)
from dollhouse.evaluation.scene_evaluator import SceneEvaluator
from dollhouse.evaluation.verify import score_rows
from dollhouse.questions.scene_index import IndexedScenes, index_scenes
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import AS_READ, open_scenes
from dollhouse.scenes.pose_checks import require_consistent
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_texts
from dollhouse.system.folder_lock import locks_out
from dollhouse.system.progress import ProgressBar


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation; ``folder`` is None where nothing was written."""

    metrics: dict[str, object]
    predictions: list[dict[str, object]]  #: one row a question, as in predictions.jsonl
    folder: Path | None


@locks_out
def evaluate(
    model: EvaluableModel | str | Path | None = None,
    scenes: str | Sequence[Scene] = "rooms:test/0-199",
    *,
    blind: EvaluableModel | str | Path | None = None,
    oracle_boxes: bool = False,
    hold_out_every: int = 0,
    views: int | None = None,
    questions_per_scene: int = 40,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    corrections: Corrections = AS_READ,
    commit: str | None = None,
    command: str | None = None,
    lineage: Mapping[str, Any] | None = None,
    page: bool = True,
    on_scene: Callable[[GalleryScene], None] = lambda scene: None,
) -> Evaluation:
    """Measure answers, depth and boxes of ``model`` on ``scenes``.

    Depth is compared in metres where the scene is metric, after median scaling otherwise. Scenes without boxes, depth
    or poses are left out of the parts that need them; ``metrics["left_out"]`` counts them by reason.

    Args:
        model: a model, a model folder, or None or "nano" for the shipped student.
        scenes: scenes, or a name or folder that :func:`dollhouse.open_scenes` opens.
        blind: the control without images, answering the same questions; of a model folder, default ``blind`` inside it.
        oracle_boxes: give the language model the true boxes; only for a Dollhouse model.
        hold_out_every: use only every n-th view, those held out in training; 0: all views.
        views: photos of a scan on disk at most, chosen by overlap; by default as many as the model takes.
        questions_per_scene: at most.
        out: folder for ``metrics.json``, ``predictions.jsonl``, ``perception.jsonl``, ``report.json``, ``report.html``.
        seed: of the questions and the intervals.
        corrections: of poses and depth, where ``scenes`` is a name or folder.
        commit, command, lineage: stored in the report only; the lineage of a model folder is read from its run.
        page: write ``report.html`` too, whose pictures take seconds.
        on_scene: called with every scene as soon as it is scored.

    Raises:
        ModelError, SceneError: model or scenes cannot be opened, or the poses of a scene disagree with its depth.
        StorageError: ``out`` cannot be written.
    """
    import torch

    out = None if out is None else Path(out)
    if model is None or isinstance(model, str | Path):
        from dollhouse.models.dollhouse.serialization import find_model

        folder = find_model(model)
        lineage = lineage or model_lineage(folder)
        if blind is None and (folder / "blind").is_dir():
            blind = folder / "blind"
    model, control = _open_model(model, oracle_boxes), None if blind is None else _open_model(blind)
    source = scenes if isinstance(scenes, str) else None
    opened: Sequence[Scene] = open_scenes(scenes, corrections=corrections) if isinstance(scenes, str) else scenes
    views = views or getattr(model, "num_views", None)
    if index := index_scenes(opened, views, progress=progress):
        opened = IndexedScenes(index, views, hold_out_every)
    elif hold_out_every:
        opened = [scene.hold_out(hold_out_every)[1] for scene in opened]
    if not len(opened):
        raise SceneError(f"there is no scene to evaluate in {source or 'the list given'}; name at least one")
    started = time.monotonic()
    evaluator = SceneEvaluator(model, control, opened, questions_per_scene, seed, on_scene)
    with ProgressBar("evaluating", len(opened), shown=progress) as bar:
        for done, scene in enumerate(opened, 1):
            require_consistent(scene)
            evaluator.add(scene)
            bar.update(done)
    metrics = evaluator.metrics() | {
        "model": model.model_id,
        "scenes": {"source": source, "n": len(opened)},
        "seed": seed,
        "versions": package_versions(),
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - started, 1),
        "commit": commit,
        "command": command,
    }
    if out is not None:
        _write(out, evaluator, metrics, lineage or UNKNOWN, page)
    return Evaluation(metrics, evaluator.rows, out)


def _open_model(model: EvaluableModel | str | Path | None, oracle_boxes: bool = False) -> EvaluableModel:
    """Load a model folder, and replace the boxes that the language model reads where asked for."""
    if not oracle_boxes and model is not None and not isinstance(model, str | Path):
        return model
    from dollhouse.evaluation.oracle_boxes import OracleBoxesModel
    from dollhouse.inference.pipeline import DollhousePipeline

    opened = DollhousePipeline.from_pretrained(model) if model is None or isinstance(model, str | Path) else model
    if not oracle_boxes:
        return opened
    if not isinstance(opened, DollhousePipeline):
        raise ModelError(f"{opened.model_id} is not a Dollhouse model: leave oracle boxes out")
    return OracleBoxesModel(opened)


def _write(
    folder: Path, evaluator: SceneEvaluator, metrics: Mapping[str, Any], lineage: Mapping[str, Any] | str, page: bool
) -> None:
    """Write the files of an evaluation; ``metrics.json`` comes last, so that it marks a complete folder."""
    predictions, perception = jsonl_text(evaluator.rows), jsonl_text(evaluator.perception_rows)
    metrics_text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    name, _, weights = str(metrics["model"]).partition("@")
    blind = metrics["blind"]["model"] if metrics["blind"] else None
    scores, _ = score_rows(rooms.BENCHMARK, evaluator.rows, metrics["seed"], Path("report.json"))
    report = build_report(
        rooms.BENCHMARK,
        evaluator.rows,
        predictions,
        scores,
        model={"name": name, "weights": weights or None, "blind": blind, "lineage": lineage},
        seed=metrics["seed"],
        provenance={key: metrics[key] for key in ("scenes", "command", "commit", "seconds")},
        metrics=metrics_text,
        perception=perception,
    )
    html = evaluation_page(metrics, evaluator.gallery.scenes()) if page else None
    files = {"predictions.jsonl": predictions, "perception.jsonl": perception, "report.html": html}
    write_texts(folder, files | {"report.json": format_report(report), "metrics.json": metrics_text})
