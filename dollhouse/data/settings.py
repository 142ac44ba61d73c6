"""The settings that recipes are made of: the student's sizes, the data, one stage of a run.

Knows their names and limits, nothing of how they are carried out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from dollhouse.questions.sampling import AUXILIARY, FAMILIES

LossName = Literal[
    "text",
    "text_kl",
    "grounding",
    "thoughts",
    "depth_reg",
    "depth_ce",
    "depth_kl",
    "camera",
    "votes",
    "detection",
    "spatial",
    "multiview",
    "feature",
]
PartName = Literal[
    "encoder",
    "sensor_patches",
    "trunk",
    "depth_head",
    "camera_head",
    "vote_head",
    "object_head",
    "depth_bin_head",
    "relation_head",
    "projector",
    "language_model",
]


#: heads that only some losses read; a student has them, and they are trained, where such a loss is named
HEAD_OF_LOSS: dict[str, PartName] = {
    "depth_ce": "depth_bin_head",
    "depth_kl": "depth_bin_head",
    "spatial": "relation_head",
    "feature": "relation_head",
}


class Settings(BaseModel):
    """A group of settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudentSettings(Settings):
    """The student's sizes: see :class:`dollhouse.models.dollhouse.configuration.DollhouseConfig`."""

    image_size: int = Field(126, ge=28, multiple_of=14, description="width in pixels to which photos are brought")
    vision: dict[str, Any] = Field(default_factory=dict, description="VggtConfig's arguments")
    text: dict[str, Any] = Field(default_factory=lambda: {"model_type": "gpt_neox"}, description="any causal LM config")
    encoder_weights: Path | None = Field(None, description="official VGGT weights: the file, or its folder")
    language_weights: Path | None = Field(None, description="a causal LM's folder of text's shape; its tokenizer too")
    depth_from: Literal["trunk", "encoder"] = "trunk"
    tokenizer: Path | None = Field(None, description="a model folder whose words the student speaks: its teacher's")
    vocabulary: int = Field(1024, ge=300, description="size of the tokenizer trained on the run's own questions")
    trunk_width: int = Field(192, ge=8)
    trunk_layers: int = Field(2, ge=0)
    trunk_heads: int = Field(4, ge=1)
    object_layers: int = Field(2, ge=0)
    num_objects: int = Field(16, ge=1)
    max_referenced_views: int = Field(4, ge=1)
    num_thinking_tokens: int = Field(4, ge=0)
    thinking_placement: Literal["before_question", "after_question"] = "before_question"
    thinking_passes: int = Field(1, ge=1, description="how often the thinking tokens are gone over")
    depth_bins: int | None = Field(None, ge=2, le=256, description="bins of log depth; None: 32 where a loss asks")
    depth_bin_range: tuple[PositiveFloat, PositiveFloat] = Field((0.3, 12.0), description="metres, near and far")
    relation_head: bool | None = Field(None, description="tell relations of objects; None: where a loss asks")
    blind: bool = Field(False, description="no eyes: the control model")


class DataSettings(Settings):
    """Which scenes, and how they are looked at."""

    scenes: str = Field("", description="rooms:<split>/<from>-<to>, or a folder; with records: which of theirs")
    records: Path | None = Field(None, description="what a teacher said (`dollhouse label --out`), to learn from")
    views: int = Field(4, ge=1, description="photos a scene")
    questions: int = Field(24, ge=0, description="questions a scene and step")
    holdout_every: int = Field(0, ge=0, description="of one real scene: every n-th frame is kept for testing; 0 none")
    cache: Path | None = Field(None, description="folder that keeps rendered scenes between epochs and runs")
    workers: int = Field(1, ge=0, description="processes that prepare batches")


class Stage(Settings):
    """One part of a run: some losses, some trainable parts, some steps."""

    steps: int = Field(ge=1)
    scenes: int = Field(16, ge=1, description="scenes a step")
    losses: list[LossName] = Field(min_length=1)
    train: list[PartName] = Field(min_length=1)
    encoder_from: int = Field(0, ge=0, description="with the encoder trained: only its rounds from this one on")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW: embeddings, norms, biases, convolutions")
    muon_learning_rate: float = Field(0.02, ge=0, description="Muon: matrices; 0 leaves them to AdamW too")
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps")
    cooldown: float = Field(0.4, ge=0, le=1, description="share of the steps, linear to zero")
    true_grouping: float = Field(0.0, ge=0, le=1, description="share of batches grouped by the teacher's instances")
    temperature: float = Field(2.0, gt=0, description="softens the teacher's words for the loss text_kl")
    read: Literal["student", "teacher"] = Field("student", description="whose objects the language model reads")
    families: list[str] | dict[str, NonNegativeFloat] | None = Field(
        None, description="families of questions that are asked, or how often each; None: as they come"
    )
    mirror: bool = Field(False, description="show half of the scenes in a mirror; only where nothing is asked")
    save_every: int = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(20, ge=1)

    @field_validator("families")
    @classmethod
    def _families_are_known(cls, value: Any) -> Any:
        known = (*FAMILIES, *AUXILIARY)
        if unknown := [name for name in value or () if name not in known]:
            raise ValueError(f"no such families of questions: {', '.join(unknown)}; known are {', '.join(known)}")
        if isinstance(value, dict) and not any(value.values()):
            raise ValueError("at least one family must be asked: give it a number above 0")
        return value

    @model_validator(mode="after")
    def _losses_fit(self) -> Stage:
        if self.mirror and "text" in self.losses:
            raise ValueError("mirror changes left and right, which the answers speak of: take out mirror or text")
        about = {
            "grounding": "the names in questions",
            "text_kl": "the words of answers",
            "thoughts": "tokens that only answering passes through",
        }
        for name, subject in about.items():
            if name in self.losses and "text" not in self.losses:
                raise ValueError(f"{name} is about {subject}: add the loss text")
        return self
