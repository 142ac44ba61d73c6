"""transformers' Trainer with batches as items, Muon, atomic checkpoints, and a log of every loss."""

from __future__ import annotations

import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments

from dollhouse.data.batch_workers import decode_batch, start_worker
from dollhouse.data.collator import Batch
from dollhouse.errors import ModelError, RecipeError, StorageError
from dollhouse.models.checked_tensors import require_finite
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.checksums import write_checksums
from dollhouse.system.read_files import read_safetensors
from dollhouse.training.config import StageConfig
from dollhouse.training.optim import build_optimizer
from dollhouse.training.parallel import (
    barrier,
    clip_sharded,
    gather,
    is_sharded,
    load_whole_weights,
    processes,
    rank,
    single_state,
    total,
    whole_weights,
)
from dollhouse.training.run_folder import list_checkpoints, step_of
from dollhouse.training.speed import Speed

KEPT_CHECKPOINTS = 2
MAX_NONFINITE_STEPS = 20  #: steps in a row without a finite gradient after which a run stops


class DistillTrainer(Trainer):
    """Trains a loss module, with checkpoints in ``folder``, on a dataset whose items are batches.

    Process r of n takes the micro-batches r, r + n, ... of a step. Process 0 writes, and writes the same files whether
    one process or many train, sharded or not, so that any number of them continues the run.
    """

    def __init__(
        self,
        loss_module: nn.Module,
        stage: StageConfig,
        folder: Path,
        dataset: Any,
        trackers: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()
        self.dropped_in_a_row = 0
        self.staging: Path | None = None
        self.weights: dict[str, Tensor] = {}  #: while a checkpoint is written
        self.optimizer_state: Any = None  #: whole, while a checkpoint of a sharded run is written
        self.micro_batches = stage.micro_batches
        self.position = (0, 0)  #: step, and micro-batches of it that this process has begun
        self.without_shared_memory = False
        own_micro_batches = stage.micro_batches // processes()
        self.speed = Speed(stage.batch_size, own_micro_batches, bool(settings.get("bf16")))
        if missing := [name for name in trackers if find_spec(name) is None]:
            raise RecipeError(f"trackers: {missing[0]} is not installed: pip install {missing[0]}")
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=stage.steps,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=own_micro_batches,
            save_steps=stage.save_every,
            logging_steps=stage.log_every,
            disable_tqdm=True,
            report_to=list(trackers),
            remove_unused_columns=False,
            max_grad_norm=1.0,
            dataloader_pin_memory=torch.cuda.is_available(),
            **settings,
        )
        dtype = torch.bfloat16 if settings.get("bf16") else torch.float32
        optimizer = build_optimizer(loss_module, stage, dtype)
        schedule = (stage.steps, stage.warmup_ratio, stage.decay_ratio)
        super().__init__(
            model=loss_module,
            args=arguments,
            train_dataset=dataset,
            data_collator=itemgetter(0),
            optimizers=(optimizer, LambdaLR(optimizer, lambda step: wsd_schedule(step, *schedule))),
        )
        self.remove_callback(PrinterCallback)  # StageProgress prints the losses
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def _build_accelerator_args(self, **settings: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_accelerator_args(**settings)
        for handler in arguments["kwargs_handlers"]:  # DDP's: gradients lie in its buckets, not beside them
            handler.gradient_as_bucket_view = True
        return arguments

    def get_train_dataloader(self) -> DataLoader[Batch]:
        loader = super().get_train_dataloader()
        loader.base_dataloader.worker_init_fn = start_worker  # accelerate's loader wraps torch's
        return loader

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> None:
        return None  # the losses are means already

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # the Trainer's estimate is for token batches

    def store_flos(self) -> None:
        """Do nothing: the Trainer sums over processes here, while process 0 alone writes a checkpoint."""

    def _prepare_inputs(self, inputs: Batch | bytes) -> Batch:
        if isinstance(inputs, bytes):
            if not self.without_shared_memory:
                print(
                    "too little shared memory for batches: they are copied through a pipe, which is slower (in Docker: "
                    "docker run --shm-size=1g; ulimit -n limits it as well)",
                    file=sys.stderr,
                )
            self.without_shared_memory = True
        moved = (decode_batch(inputs) if isinstance(inputs, bytes) else inputs).to(self.args.device)
        assert isinstance(moved, Batch)
        return moved

    def training_step(self, *arguments: Any, **settings: Any) -> Tensor:
        with self.speed.counted(self.state.global_step) if self.speed.flops is None else nullcontext():
            return super().training_step(*arguments, **settings)

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.micro_batches > 1:
            self._seed_micro_batch()
        with self.accelerator.autocast() if is_sharded(model) else nullcontext():  # others have it in their forward
            parts = model(inputs)
        if bool(torch.isfinite(parts["loss"].detach())):
            for name, value in parts.items():
                self.sums[name] += float(value.detach())
                self.counts[name] += 1
        return (parts["loss"], parts) if return_outputs else parts["loss"]

    def held_out_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch that the stage is not trained on, by name."""
        cache, self.model.object_cache = self.model.object_cache, None  # which holds samples of the training data
        self.model.eval()
        try:
            with self.accelerator.autocast():
                return dict(self.model(self._prepare_inputs(batch)))
        finally:
            self.model.object_cache = cache
            self.model.train()

    def _seed_micro_batch(self) -> None:
        """Make random numbers a function of the step and micro-batch, whichever process computes it."""
        step = self.state.global_step
        done = self.position[1] if self.position[0] == step else 0
        self.position = (step, done + 1)
        number = done * processes() + rank()
        torch.manual_seed(int(np.random.default_rng([self.args.seed, step, number, 6]).integers(2**63)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        speed: dict[str, float] = {}
        if "loss" in logs:
            dropped = self.sums.pop("dropped_steps", 0.0)
            sums, counts = total(self.sums), total(self.counts)
            logs.update({name: round(value / counts[name], 5) for name, value in sums.items()})
            logs["dropped_steps"] = dropped
            speed = self.speed.measure(self.state.global_step)
            logs.update(speed)
            logs.update({f"weight_{name}": round(value, 5) for name, value in self.model.weighting.weights().items()})
            self.sums.clear()
            self.counts.clear()
        super().log(logs, start_time)
        for name in speed:  # a checkpoint has the same bytes on any machine
            del self.state.log_history[-1][name]

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Clip gradients; skip a step whose gradient is not finite, since it would destroy every weight."""
        sharded = is_sharded(model)
        norm = clip_sharded(model, self.args.max_grad_norm) if sharded else super()._clip_grad_norm(model)
        if bool(torch.isfinite(torch.as_tensor(norm))):
            self.dropped_in_a_row = 0
            return norm
        model.zero_grad(set_to_none=True)
        self.sums["dropped_steps"] += 1.0
        self.dropped_in_a_row += 1
        if self.dropped_in_a_row == MAX_NONFINITE_STEPS:
            raise RecipeError(
                f"{Path(self.args.output_dir).name}: the gradients of {MAX_NONFINITE_STEPS} steps in a row were not "
                "finite: lower learning_rate and muon_learning_rate, or start from other weights"
            )
        return torch.zeros(())

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, self.weights)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.optimizer_state is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        torch.save(self.optimizer_state, Path(output_dir) / "optimizer.pt")
        torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if processes() > 1:
            (Path(output_dir) / "rng_state_0.pth").rename(Path(output_dir) / "rng_state.pth")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not is_sharded(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        path = Path(resume_from_checkpoint) / "model.safetensors"  # whose hash was compared when it was chosen
        weights = read_safetensors(path, path, StorageError)
        self._issue_warnings_after_load(load_whole_weights(self.model, weights))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        tied = self.model.state_dict().keys() - single_state(self.model).keys()
        if set(load_result.missing_keys) - tied or load_result.unexpected_keys:
            raise StorageError(f"the checkpoint in {self.args.output_dir} is of another model: delete that folder")

    def _get_output_dir(self, trial: Any = None) -> str:
        return str(self.staging or self.args.output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save with checksums under a temporary name first, so that a kill leaves complete checkpoints only."""
        folder, step = Path(self.args.output_dir), self.state.global_step
        self.weights = whole_weights(self.model)
        self.optimizer_state = gather(self.optimizer.state_dict()) if is_sharded(self.model) else None
        if rank() == 0:
            try:
                require_finite(self.weights, f"{folder.name}, step {step}")
            except ModelError as error:
                raise RecipeError(f"{error}: lower the learning rates; no checkpoint is written") from error
            self._write_checkpoint(folder, step, model, trial)
        self.weights, self.optimizer_state = {}, None
        barrier()

    def _write_checkpoint(self, folder: Path, step: int, model: nn.Module, trial: Any) -> None:
        path = folder / f"checkpoint-{step}"
        shutil.rmtree(path, ignore_errors=True)  # damaged, or the run would not repeat this step
        try:
            with atomic_folder(path) as unfinished:
                self.staging = unfinished.parent
                try:
                    super()._save_checkpoint(model, trial)
                except RuntimeError as error:  # what torch.save raises on a full disk
                    if is_worker_death(error):
                        raise
                    raise OSError(str(error).splitlines()[0]) from error
                write_checksums(unfinished)
        finally:
            self.staging = None
        whole = [each for each in list_checkpoints(folder) if step_of(each) <= step]  # any later one is damaged
        for each in set(list_checkpoints(folder)) - set(whole[:KEPT_CHECKPOINTS]):
            shutil.rmtree(each, ignore_errors=True)


def is_worker_death(error: BaseException) -> bool:
    """Return whether an error is torch's report of a process of a DataLoader that was killed or has ended.

    Where it dies while it hands over a batch, its connection ends instead.
    """
    if isinstance(error, ConnectionResetError | EOFError):
        return True
    return isinstance(error, RuntimeError) and "DataLoader worker (pid" in str(error)


def wsd_schedule(step: int, steps: int, warmup_ratio: float, decay_ratio: float) -> float:
    """Return the learning-rate factor of a warmup-stable-decay schedule: a trapezoid.

    Unlike ``transformers.get_wsd_schedule``, the first step has a rate above zero, and the phases need not be whole
    numbers of steps.
    """
    up = (step + 1) / max(1.0, warmup_ratio * steps)
    down = (steps - step) / max(1.0, decay_ratio * steps)
    return min(1.0, up, down)
