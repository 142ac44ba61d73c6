"""The student's part of a recipe, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from dollhouse.data.config import ConfigModel
from dollhouse.scenes.labels import check_labels, default_labels, oriented_labels
from dollhouse.scenes.synthetic.furniture import CATEGORIES


class StudentConfig(ConfigModel):
    """The student's sizes; see :class:`dollhouse.models.dollhouse.configuration.DollhouseConfig`."""

    image_size: int = Field(126, ge=28, multiple_of=14, description="longer side in pixels to which photos are resized")
    vision: dict[str, Any] = Field(default_factory=dict, description="arguments of VggtConfig")
    text: dict[str, Any] = Field({"model_type": "gpt_neox"}, description="config of any causal language model")
    encoder_weights: Path | None = Field(None, description="official VGGT weights: the file, or its folder")
    language_weights: Path | None = Field(None, description="folder of a causal language model, with its tokenizer")
    language_from: Path | None = Field(None, description="a student's folder: start from its language model's layers")
    stem_weights: Literal["imagenet"] | None = Field(None, description="of the patch embedding efficientnet")
    depth_from: Literal["trunk", "stem", "encoder"] = Field("trunk", description="input of the depth head")
    canonical_depth: bool = Field(False, description="predict depth over focal length")
    tokenizer: Path | None = Field(None, description="model folder whose tokenizer is used, such as the teacher's")
    chat_template: bool | None = Field(
        None, description="write questions in the chat template of language_weights; None: where it has one"
    )
    vocabulary: int = Field(1024, ge=300, description="size of the tokenizer trained on the run's own questions")
    normalise_questions: bool = Field(False, description="rewrite users' questions to the wording of training")
    trunk_width: int = Field(192, ge=8)
    trunk_layers: int = Field(2, ge=0)
    trunk_heads: int = Field(4, ge=1)
    object_layers: int = Field(2, ge=0)
    num_objects: int = Field(16, ge=1)
    grid_size: int = Field(
        0,
        ge=0,
        le=37,
        description="tokens of each view in the prefix, so many by so many; 0: objects alone",
    )
    max_referenced_views: int = Field(4, ge=1)
    num_thinking_tokens: int = Field(4, ge=0)
    thinking_placement: Literal["before_question", "after_question"] = "before_question"
    thinking_passes: int = Field(1, ge=1, description="passes of the language model over the thinking tokens")
    depth_bins: int | None = Field(None, ge=2, le=256, description="of log depth; None: 32 where a loss needs them")
    depth_bin_range: tuple[PositiveFloat, PositiveFloat] = Field((0.3, 12.0), description="in metres")
    relation_head: bool | None = Field(None, description="relations of objects; None: where a loss needs them")
    blind: bool = Field(False, description="no image encoder: the control model")
    labels: Literal["rooms", "default"] | list[str] = Field("rooms", description="rooms: those of the procedural rooms")
    oriented_labels: list[str] | None = Field(None, description="labels that have a front; None: those known to have")

    @model_validator(mode="after")
    def _labels_are_nouns(self) -> StudentConfig:
        check_labels(self.label_names)
        if foreign := [label for label in self.oriented_label_names if label not in self.label_names]:
            raise ValueError(f"oriented_labels has {', '.join(foreign)}, which labels does not have: take out, or add")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """Return the labels, also where the recipe gives the name of a list."""
        named = {"rooms": CATEGORIES, "default": default_labels()}
        return named[self.labels] if isinstance(self.labels, str) else tuple(self.labels)

    @property
    def oriented_label_names(self) -> tuple[str, ...]:
        """Return the labels whose objects have a front."""
        return oriented_labels(self.label_names) if self.oriented_labels is None else tuple(self.oriented_labels)
