"""What is measured of a model: answers, depth and boxes by ``evaluate``, and losses on fixed rooms, all room by room.

Writes the folder of an evaluation and ``rooms.json`` beside it, which comes last. Knows nothing of tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.metrics.depth import valid_depth, view_errors
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import source_commit
from dollhouse.training.config import LossName
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from experiments.paper.detections import room_detections

MEASURING_VERSION = 1  #: raise it whenever the same model would get other figures for the same rooms
#: the losses of the validation rooms: of every student the same ones, whatever it learnt with, each counted once
FIXED_LOSSES: tuple[LossName, ...] = ("text", "depth_reg", "camera", "voting", "detection")
LOSS_QUESTIONS = 16  #: a validation room


@dataclass(frozen=True)
class Measuring:
    """What is measured, and where."""

    rooms: str  #: scenes that are asked about
    questions: int  #: a scene
    validation: str | None = None  #: scenes whose losses are computed; None: no losses
    blind: Path | None = None  #: the blind control's model folder, to be asked the same questions
    page: bool = False  #: whether to draw the evaluation's page
    cache: Path | None = None  #: keeps rendered validation rooms; changes no figure

    def settings(self) -> dict[str, Any]:
        """All that figures depend on, besides the models."""
        return {name: value for name, value in asdict(self).items() if name not in ("blind", "page", "cache")}


def measure(model: Path, measuring: Measuring, folder: Path) -> None:
    """Measure the student of a model folder; ``folder`` then holds predictions, metrics, report and rooms."""
    pipeline = DollhousePipeline.from_pretrained(model)
    rooms: list[dict[str, Any]] = []
    evaluate(
        pipeline,
        measuring.rooms,
        blind=None if measuring.blind is None else DollhousePipeline.from_pretrained(measuring.blind),
        questions_per_scene=measuring.questions,
        out=folder,
        progress=False,
        commit=source_commit(),
        command="dollhouse reproduce",
        page=measuring.page,
        on_scene=lambda exhibit: rooms.append(room_facts(exhibit)),
    )
    losses = (
        None if measuring.validation is None else validation_losses(pipeline, measuring.validation, measuring.cache)
    )
    parameters = sum(parameter.numel() for parameter in pipeline.model.parameters())
    told = {"model": pipeline.model_id, "parameters": parameters, "rooms": rooms, "losses": losses}
    write_text(folder / "rooms.json", json.dumps(told))


def room_facts(exhibit: GalleryScene) -> dict[str, Any]:
    """Depth errors, summed over views, and detections of one room."""
    facts: dict[str, Any] = {"scene": exhibit.scene, "views": 0, "depth": {}, "boxes": None}
    if exhibit.true_depth is not None:
        pairs = zip(exhibit.depth, exhibit.true_depth, strict=True)
        errors = [view_errors(guess, truth) for guess, truth in pairs if valid_depth(truth).any()]
        facts["views"] = len(errors)
        facts["depth"] = {name: sum(error[name] for error in errors) for name in ("abs_rel", "rmse")}
    if exhibit.true_boxes is not None:
        facts["boxes"] = room_detections(exhibit.boxes, exhibit.true_boxes, exhibit.ignored)
    return facts


def validation_losses(pipeline: DollhousePipeline, scenes: str, cache: Path | None = None) -> dict[str, list[float]]:
    """Every fixed loss of every room, the student looking as it does in use: {loss: one number a room}.

    The rooms, their order and their questions are the same for every student.
    """
    config = pipeline.model.config
    lessons = SceneTargetSource(
        DataConfig(scenes=scenes, views=config.num_views, questions_per_scene=LOSS_QUESTIONS, cache=cache), config
    )
    names: Sequence[LossName] = ("text",) if config.blind else FIXED_LOSSES
    sampling = SamplingConfig(steps=len(lessons), batch_size=1, questions_per_scene=LOSS_QUESTIONS)
    batches = StepDataset(lessons, sampling, 0, pipeline.processor.tokenizer, config)
    objective = LossModule(pipeline.model, StaticWeighting(dict.fromkeys(names, 1.0)), names).eval()
    losses: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for step in range(len(lessons)):
            parts = objective(batches[step].to(pipeline.model.device))
            for name in names:
                losses[name].append(float(parts[name]))
    return losses
