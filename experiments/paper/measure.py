"""Measure a model (answers, depth, boxes, validation losses) room by room, and read measurements back.

<entry>/             what ``dollhouse evaluate --out`` writes
<entry>/rooms.json   model, parameters, depth errors and detections by room, validation losses
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks.rooms import BENCHMARK, sample_of
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.metrics.boxes import box_iou, match_boxes
from dollhouse.evaluation.metrics.text.rouge import score_rouge
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.scene import Box
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import source_commit
from dollhouse.training.config import LossName
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from experiments.paper.statistics import Figure, mean_average_precision, rate

#: losses on the validation scenes: the same losses, scenes and questions for every student
FIXED_LOSSES: tuple[LossName, ...] = ("text", "depth_reg", "camera", "voting", "detection")
LOSS_QUESTIONS = 16  #: questions of a validation scene
OVERLAP = 0.25  #: IoU from which a box matches
ROOMS_FILE = "rooms.json"


def measure(model: Path, out: Path, scenes: str, limit: int, validation: str, blind: Path | None, cache: Path) -> None:
    """Measure the model of a folder and write everything below ``out``.

    Args:
        limit: questions of a scene.
        validation: scenes whose losses are computed; "": no losses.
        blind: model folder of the blind control.
        cache: folder of rendered scenes.
    """
    pipeline = DollhousePipeline.from_pretrained(model)
    control = None if blind is None else DollhousePipeline.from_pretrained(blind)
    facts: dict[str, Any] = {"commit": source_commit(), "command": "python -m experiments.paper"}
    evaluate(pipeline, scenes, blind=control, questions_per_scene=limit, out=out, progress=False, page=False, **facts)
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


@dataclass(frozen=True, eq=False)
class Measured:
    """One model's measurement: ``rooms`` as in ``rooms.json``, ``rows`` as in ``predictions.jsonl``."""

    model: str  #: name and hash of weights
    parameters: int
    rooms: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    losses: dict[str, list[float]] | None
    metrics: dict[str, Any]

    @cached_property
    def names(self) -> list[str]:
        """Names of the rooms in their order."""
        return [str(room["scene"]) for room in self.rooms]

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        return {str(row["id"]): row for row in self.rows}

    @property
    def descriptions(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["family"] == "description"]

    def restricted(self, names: Sequence[str]) -> Measured:
        """Return the same of some rooms, in that order; losses are of other rooms and stay. Raises ScoreError."""
        by_name = dict(zip(self.names, self.rooms, strict=True))
        if missing := [name for name in names if name not in by_name]:
            raise ScoreError(f"{self.model} was not measured on {missing[0]}: let run_scenes be among compared_scenes")
        rows = [row for row in self.rows if row["scene"] in set(names)]
        return replace(self, rooms=[by_name[name] for name in names], rows=rows)

    def accuracy(self, families: Sequence[str] = FAMILIES, field: str = "prediction") -> Figure:
        """Return the share of right answers over all questions of ``families``; ``blind_prediction``: the control's."""
        rows = [row for row in self.rows if row["family"] in families and isinstance(row[field], str)]
        judged = BENCHMARK.score([sample_of(row) for row in rows], [row[field] for row in rows])
        return self._by_room(rows, judged.credits["accuracy"].tolist())

    def figure(self, name: str, teacher: Measured | None) -> Figure:
        """Return what a column of a comparison names. Raises ScoreError for what was not measured.

        Names: ``accuracy`` over the four families, or ``accuracy/FAMILY``; ``loss``, the sum of the fixed validation
        losses, or ``loss/NAME``; ``depth/abs_rel`` and ``depth/rmse``, means over views; ``map_25``; ``rouge_1`` (F1)
        of descriptions against the teacher's.
        """
        kind, _, part = name.partition("/")
        if kind == "accuracy":
            return self.accuracy((part,) if part else FAMILIES)
        if kind == "loss" and self.losses is not None:
            values = np.sum([self.losses[part]] if part else list(self.losses.values()), axis=0)
            return Figure(rate(values, np.ones(len(values))), len(values), len(values))
        if kind == "depth":
            views = [room["views"] for room in self.rooms]
            return Figure(rate([room["depth"].get(part, 0.0) for room in self.rooms], views), len(views), sum(views))
        if kind == "map_25":
            rooms = [room["boxes"] or {"truths": {}, "found": []} for room in self.rooms]
            objects = sum(count for room in rooms for count in room["truths"].values())
            return Figure(mean_average_precision(rooms), len(rooms), objects)
        if kind == "rouge_1":
            texts, references = self.texts(teacher)
            scores = score_rouge(texts, [[text] for text in references])["rouge_1"].rows.tolist() if texts else []
            return self._by_room(self.descriptions, scores)
        raise ScoreError(f"figure {name} was not measured of {self.model}")

    def texts(self, teacher: Measured | None) -> tuple[list[str], list[str]]:
        """Return the model's descriptions and the teacher's of the same rooms (None: geometry's). Raises ScoreError."""
        rows = self.descriptions
        if teacher is not None and (missing := [row["id"] for row in rows if row["id"] not in teacher.by_id]):
            raise ScoreError(f"the teacher was not asked {missing[0]}: let run_scenes be among compared_scenes")
        references = [row["answer"] if teacher is None else teacher.by_id[row["id"]]["prediction"] for row in rows]
        return [str(row["prediction"]) for row in rows], list(map(str, references))

    def _by_room(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> Figure:
        place = {name: number for number, name in enumerate(self.names)}
        index = np.array([place[row["scene"]] for row in rows], dtype=np.int64)
        earned, asked = (np.bincount(index, weights, len(place)) for weights in (values, np.ones(len(index))))
        return Figure(rate(earned.tolist(), asked.tolist()), len(place), len(values))


def read_measured(folder: Path) -> Measured:
    """Read what :func:`measure` wrote."""
    facts = json.loads((folder / ROOMS_FILE).read_text(encoding="utf-8"))
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Measured(rows=[json.loads(line) for line in lines], metrics=metrics, **facts)


def _box(row: Mapping[str, Any]) -> Box:
    center, size = (np.array(row[name], dtype=np.float64) for name in ("center", "size"))
    return Box(row["id"], row["label"], center, size, row["yaw"], score=row["score"])
