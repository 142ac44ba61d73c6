"""Measure a model (answers, depth, boxes, validation losses) room by room, and read measurements back.

<entry>/             what ``dollhouse evaluate --out`` writes
<entry>/rooms.json   model, parameters, depth errors and detections by room, validation losses
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.metrics.boxes import box_iou, match_boxes
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.scenes.scene import Box
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import source_commit
from dollhouse.training.config import LossName
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting

#: losses on the validation scenes: the same losses, scenes and questions for every student
FIXED_LOSSES: tuple[LossName, ...] = ("text", "depth_reg", "camera", "voting", "detection")
LOSS_QUESTIONS = 16  #: questions of a validation scene
OVERLAP = 0.25  #: IoU from which a box matches
ROOMS_FILE = "rooms.json"


def measure(
    model: Path,
    out: Path,
    scenes: str,
    limit: int,
    validation: str,
    blind: Path | None,
    cache: Path,
    oracle_boxes: bool = False,
) -> None:
    """Measure the model of a folder and write everything below ``out``.

    Args:
        limit: questions of a scene.
        validation: scenes whose losses are computed; "": no losses.
        blind: model folder of the blind control.
        cache: folder of rendered scenes.
        oracle_boxes: give the language model the true boxes.
    """
    pipeline = DollhousePipeline.from_pretrained(model)
    control = None if blind is None else DollhousePipeline.from_pretrained(blind)
    facts: dict[str, Any] = {"commit": source_commit(), "command": "python -m experiments.paper"}
    facts |= {"oracle_boxes": oracle_boxes, "progress": False, "page": False}
    evaluate(pipeline, scenes, blind=control, questions_per_scene=limit, out=out, **facts)
    lines = (out / "perception.jsonl").read_text(encoding="utf-8").splitlines()
    losses = validation_losses(pipeline, validation, cache) if validation else None
    parameters = sum(parameter.numel() for parameter in pipeline.model.parameters())
    rooms = [room_facts(json.loads(line)) for line in lines]
    facts = {"model": pipeline.model_id, "parameters": parameters, "rooms": rooms, "losses": losses}
    write_text(out / ROOMS_FILE, json.dumps(facts))


def room_facts(line: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a line of ``perception.jsonl`` to sums of depth errors over views, and matched detections."""
    views = line["depth"]["views"] if line["depth"] else []
    depth = {name: sum(view[name] for view in views) for name in ("abs_rel", "rmse")} if views else {}
    boxes = line["boxes"] and detections(*([_box(row) for row in rows] for rows in line["boxes"].values()))
    return {"scene": line["scene"], "views": len(views), "depth": depth, "boxes": boxes}


def detections(predicted: Sequence[Box], truth: Sequence[Box], ignored: Sequence[Box]) -> dict[str, Any]:
    """Match the boxes of one room: ``truths`` {label: count}, ``found`` [[label, score, matched]], best score first.

    Predictions that match an ``ignored`` object are left out.
    """
    truths: dict[str, int] = {}
    found: list[list[Any]] = []
    for label in sorted({box.label for box in (*predicted, *truth)}):
        groups = (predicted, truth, ignored)
        guesses, objects, hidden = ([box for box in group if box.label == label] for group in groups)
        truths |= {label: len(objects)} if objects else {}
        scores = [float(box.score or 0.0) for box in guesses]
        order = sorted(range(len(guesses)), key=lambda index: -scores[index])
        matched = match_boxes(box_iou(guesses, [*objects, *hidden]), order, len(objects), OVERLAP)
        found += [[label, scores[index], int(matched[index])] for index in order if matched[index] >= 0]
    return {"truths": truths, "found": found}


def validation_losses(pipeline: DollhousePipeline, scenes: str, cache: Path) -> dict[str, list[float]]:
    """Compute every fixed loss of every scene as in inference: {loss: one number a scene}."""
    config = pipeline.model.config
    settings = DataConfig(scenes=scenes, views=config.num_views, questions_per_scene=LOSS_QUESTIONS, cache=cache)
    source = SceneTargetSource(settings, config)
    names: Sequence[LossName] = ("text",) if config.blind else FIXED_LOSSES
    sampling = SamplingConfig(steps=len(source), batch_size=1, questions_per_scene=LOSS_QUESTIONS)
    batches = StepDataset(source, sampling, 0, pipeline.processor.tokenizer, config)
    module = LossModule(pipeline.model, StaticWeighting(dict.fromkeys(names, 1.0)), names).eval()
    with torch.inference_mode():
        parts = [module(batches[step].to(pipeline.model.device)) for step in range(len(source))]
    return {name: [float(part[name]) for part in parts] for name in names}


def _box(row: Mapping[str, Any]) -> Box:
    center, size = (np.array(row[name], dtype=np.float64) for name in ("center", "size"))
    return Box(row["id"], row["label"], center, size, row["yaw"], score=row["score"])
