"""Losses on held-out samples while a stage trains, and the weights that had the lowest ones."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from dollhouse.data.collator import Batch
from dollhouse.data.config import SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.errors import StorageError
from dollhouse.models.checked_tensors import load_tensors, save_tensors
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.system.atomic_io import write_text
from dollhouse.system.read_files import read_object
from dollhouse.training.callbacks import MetricsFile
from dollhouse.training.config import Recipe, StageConfig
from dollhouse.training.parallel import largest, rank, whole_weights
from dollhouse.training.trainer import DistillTrainer

PREFIX = "validation_"  #: of the losses' names in metrics.jsonl
STUDENT = "student."  #: of its weights' names in the module that is trained


def open_validation(
    recipe: Recipe,
    stage: StageConfig,
    trainer: DistillTrainer,
    metrics: MetricsFile,
    tokenizer: PreTrainedTokenizerBase,
    model: DollhouseForConditionalGeneration,
    encoder_key: str | None = None,
) -> Validation | None:
    """Return the callback that measures a stage on the recipe's held-out samples; None: the stage has none.

    ``encoder_key`` is that of the features in ``validation.feature_cache``; None: they are not used.
    """
    if not stage.validate_every or recipe.validation is None:
        return None
    source = open_target_source(recipe.validation, model.config)
    if encoder_key is not None:
        source.open_features(encoder_key)
    sampling = validation_sampling(stage.sampling(recipe.data), len(source))
    return Validation(
        Path(trainer.args.output_dir),
        stage.validate_every,
        StepDataset(source, sampling, recipe.seed, tokenizer, model.config),
        trainer.held_out_losses,
        lambda: student_weights(trainer),
        metrics.append if rank() == 0 else lambda entry: None,
    )


def student_weights(trainer: DistillTrainer) -> dict[str, Tensor]:
    """Return the student's weights, whole in process 0. Every process must call it."""
    weights = whole_weights(trainer.model).items()
    return {name.removeprefix(STUDENT): value for name, value in weights if name.startswith(STUDENT)}


def validation_sampling(sampling: SamplingConfig, samples: int) -> SamplingConfig:
    """Return how batches of held-out samples are drawn: each sample once, and nothing changed at random."""
    return replace(
        sampling,
        steps=math.ceil(samples / sampling.batch_size),
        horizontal_flip_prob=0.0,
        photometric_augmentation=0.0,
        crop_zoom=(1.0, 1.0),
        gt_assignment_prob=0.0,
        known_focal_prob=0.0,
        views=(),
        sources=None,
        rename_labels=0.0,
        micro_batches=1,
    )


class Validation(TrainerCallback):
    """Computes a stage's losses on held-out samples every few steps, and stores the weights with the lowest score.

    The score is the mean of the losses, each over its value at the first time: learned loss weights change while a
    stage trains, so that their weighted sum could not be compared. All processes compute all of it; process 0 writes.

    Args:
        batches: held-out batches (:func:`validation_sampling`).
        losses: computes the losses of a batch by name.
        weights: returns the student's weights, whole in process 0.
        write: appends an entry to the run's metrics.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        batches: Dataset[Batch],
        losses: Callable[[Batch], dict[str, Tensor]],
        weights: Callable[[], dict[str, Tensor]],
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self.folder, self.every, self.batches = folder, every, batches
        self.losses, self.weights, self.write = losses, weights, write
        self.path = folder / "best.json"
        self.best: dict[str, Any] | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.best = self.read()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        measured = self.measure()
        first = self.best["first"] if self.best else measured
        score = sum(value / first.get(name, value) for name, value in measured.items()) / len(measured)
        self.write({"step": state.global_step, "validation": round(score, 5)} | _prefixed(measured))
        better = self.best is None or score < self.best["score"]
        if largest(int(better and rank() == 0)):  # process 0 decides, since all gather the weights or none does
            self.best = {"step": state.global_step, "score": score, "first": first}
            weights = self.weights()
            if rank() == 0:
                self._store(self.best, weights)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the mean of each loss over the batches that have targets for it."""
        values: dict[str, list[float]] = defaultdict(list)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(0)
            for number in range(len(self.batches)):  # type: ignore[arg-type]
                for name, value in self.losses(self.batches[number]).items():
                    if name != "loss" and "/" not in name:
                        values[name].append(max(float(value), 1e-6))
        return {name: sum(each) / len(each) for name, each in values.items()}

    def read(self) -> dict[str, Any] | None:
        """Return step, score and first losses of the stored weights; None: there are none yet."""
        return read_object(self.path, StorageError, f"delete {self.folder}") if self.path.exists() else None

    def best_weights(self) -> dict[str, Tensor]:
        """Return the stored weights. Raises ModelError where they are damaged."""
        best = self.read()
        assert best is not None  # a stage's last step is always measured
        return load_tensors(self._weights_of(int(best["step"])))

    def _store(self, best: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Write weights first, then what names them, so that a kill leaves the one or the other whole."""
        path = self._weights_of(best["step"])
        save_tensors(weights, path)
        write_text(self.path, json.dumps(best))
        for other in set(self.folder.glob("best-*.safetensors")) - {path}:
            other.unlink()

    def _weights_of(self, step: int) -> Path:
        return self.folder / f"best-{step}.safetensors"


def _prefixed(losses: dict[str, float]) -> dict[str, float]:
    return {PREFIX + name: round(value, 5) for name, value in losses.items()}
