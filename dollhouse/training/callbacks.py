"""Progress of a stage: a bar with rate, time left and the losses."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from dollhouse.system.progress import ProgressBar

SHOWN = ("text", "depth_reg", "camera", "voting", "detection")


class StageProgress(TrainerCallback):
    """Shows the steps of a stage, and the losses logged last."""

    def __init__(self, name: str) -> None:
        self.bar = ProgressBar(name, unit="steps")
        self.losses = ""
        self.resumed_from = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.resumed_from = state.global_step
        self.bar.__enter__()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.bar.update(state.global_step, state.max_steps, self.losses, skipped=self.resumed_from)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        self.losses = "  ".join(f"{name} {float(logs[name]):.3f}" for name in SHOWN if name in (logs or {}))
        if dropped := int((logs or {}).get("dropped_steps", 0)):
            self.losses += f"  {dropped} steps dropped: their gradients were not finite"

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.bar.__exit__(None, None, None)
