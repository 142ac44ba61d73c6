"""The recipe of a nano teacher: sizes, rooms and stages, read from YAML and checked before anything starts.

Knows the names and limits of settings. Stages and data are those of :mod:`dollhouse.distill.recipe`, of which a
teacher takes only what fits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import StrictDataclassError
from pydantic import Field, ValidationError, field_validator, model_validator
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.distill.recipe import read_tree
from dollhouse.distill.settings import DataSettings, Settings, Stage
from dollhouse.errors import RecipeError
from dollhouse.teachers.llava3d.config import CLIP_LARGE, LLaVA3DConfig

LOSSES = ("votes", "text", "grounding")
#: parts as recipes call them -> modules of :class:`dollhouse.teachers.llava3d.model.LLaVA3DModel`
PARTS = {
    "encoder": ("vision_tower", "scene_position"),
    "projector": ("multi_modal_projector",),
    "language_model": ("language_model", "click_position"),
}
_NOT_HERE = ("encoder_from", "true_grouping", "read", "mirror")  #: settings of a student's stages


class ModelSettings(Settings):
    """Sizes of the LLaVA-3D."""

    image_size: int = Field(126, ge=28, multiple_of=14, description="side of the square photos in pixels")
    vision: dict[str, Any] = Field(default_factory=dict, description="CLIPVisionConfig's arguments")
    text: dict[str, Any] = Field(default_factory=dict, description="LlamaConfig's arguments")
    vocabulary: int = Field(1024, ge=300, description="size of the tokenizer trained on the run's own questions")


class NanoTeacherRecipe(Settings):
    """A whole run."""

    name: str = Field(pattern=r"^[^./][^/]*$", description="a folder is called so")
    seed: int = 0
    model: ModelSettings
    data: DataSettings
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves torch's own choice")
    stages: dict[str, Stage] = Field(min_length=1)

    @field_validator("data")
    @classmethod
    def _rooms_have_boxes(cls, value: DataSettings) -> DataSettings:
        if not value.scenes.startswith("rooms:"):
            raise ValueError(
                f"scenes are {value.scenes!r}: the nano teacher learns from made rooms, such as rooms:train/0-999"
            )
        return value

    @model_validator(mode="after")
    def _stages_fit(self) -> NanoTeacherRecipe:
        for name, stage in self.stages.items():
            for kind, given, known in (("loss", stage.losses, LOSSES), ("part", stage.train, tuple(PARTS))):
                if unknown := sorted(set(given) - set(known)):
                    raise ValueError(f"stages.{name}: a LLaVA-3D has no {kind} {unknown[0]}; it has {', '.join(known)}")
            foreign = [key for key in _NOT_HERE if getattr(stage, key) != Stage.model_fields[key].default]
            if foreign:
                raise ValueError(f"stages.{name}: {foreign[0]} is for students only: take it out")
        return self

    def config(self, vocab_size: int) -> LLaVA3DConfig:
        """The model's config. Raises RecipeError for sizes that no model can have."""
        sizes = self.model
        vision = {**CLIP_LARGE, **sizes.vision, "image_size": sizes.image_size, "patch_size": 14}
        text = {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, **sizes.text, "vocab_size": vocab_size}
        try:
            return LLaVA3DConfig(
                text=LlamaConfig(**text), vision=CLIPVisionConfig(**vision), axes="named_view", licence="Apache-2.0"
            )
        except (ValueError, TypeError, StrictDataclassError) as error:
            raise RecipeError(f"model: {' '.join(str(error).split())}") from error


def read_nano_teacher(path: Path | str, overrides: Sequence[str] = ()) -> NanoTeacherRecipe:
    """A recipe from YAML with ``key=value`` overrides. Raises RecipeError naming every fault found."""
    return check_nano_teacher(read_tree(Path(path), overrides), str(path))


def check_nano_teacher(tree: dict[str, Any], origin: str) -> NanoTeacherRecipe:
    """Check a recipe given as nested dicts; ``origin`` names it in errors."""
    try:
        return NanoTeacherRecipe.model_validate(tree)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        )
        raise RecipeError(f"{origin}: " + "; ".join(fault.removeprefix(": ") for fault in faults)) from error
