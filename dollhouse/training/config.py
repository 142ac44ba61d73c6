"""A recipe: what a distil run is, read from YAML, overridden on the command line, checked before anything starts.

Knows the names and limits of settings, nothing of how they are carried out.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from dollhouse.data.settings import HEAD_OF_LOSS, DataSettings, LossName, PartName, Settings, Stage, StudentSettings
from dollhouse.errors import RecipeError


class Recipe(Settings):
    """A whole run."""

    name: str
    seed: int = 0
    teacher: Literal["annotations", "records"] = "annotations"
    start_from: Path | None = Field(None, description="a model folder whose weights the student begins with")
    renew: list[PartName] = Field(default=[], description="with start_from: parts that begin afresh all the same")
    wider: bool = Field(False, description="with start_from: every width twice, beginning with the same answers")
    sensors: bool = Field(False, description="look at depth and poses beside the photos: a teacher, not a student")
    student: StudentSettings = Field(default_factory=lambda: StudentSettings())
    data: DataSettings
    weighting: Literal["uncertainty", "static", "equal"] = "uncertainty"
    static_weights: dict[LossName, NonNegativeFloat] = Field(
        default={}, description="with weighting: static: what each loss is multiplied by; the others have a default"
    )
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves torch's own choice")
    stages: dict[str, Stage] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, value: str) -> str:
        if not value or "/" in value or value.startswith("."):
            raise ValueError("must be a plain name, since a folder is called so")
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Recipe:
        if self.start_from is not None and "student" in self.model_fields_set:
            raise ValueError("start_from brings the student's sizes with it: take out student or start_from")
        return self

    @model_validator(mode="before")
    @classmethod
    def _teacher_is_told(cls, tree: Any) -> Any:
        data = tree.get("data") if isinstance(tree, dict) else None
        recorded = isinstance(data, dict) and data.get("records") is not None
        return {**tree, "teacher": "records"} if recorded else tree

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Recipe:
        if not self.data.scenes and self.data.records is None:
            raise ValueError("data needs scenes or records: say data.scenes=rooms:train/0-999, or data.records=FOLDER")
        if self.teacher == "records" and self.data.records is None:
            raise ValueError("teacher: records needs data.records=FOLDER, what `dollhouse label --out` wrote")
        if self.data.records is not None and self.data.holdout_every:
            raise ValueError("data.holdout_every is about a scene's own frames: take it out where there are records")
        return self

    @model_validator(mode="after")
    def _needs_origin(self) -> Recipe:
        for name in ("renew", "wider"):
            if self.start_from is None and getattr(self, name):
                raise ValueError(
                    f"{name} is about the model that start_from brings: name one, such as start_from: nano"
                )
        return self

    @model_validator(mode="after")
    def _thoughts_have_tokens(self) -> Recipe:
        if self.start_from is None and not self.student.num_thinking_tokens:
            for name, stage in self.stages.items():
                if "thoughts" in stage.losses:
                    raise ValueError(f"stage {name}: thoughts needs student.num_thinking_tokens above 0")
        return self

    @model_validator(mode="after")
    def _blind_only_reads(self) -> Recipe:
        for name, stage in self.stages.items():
            if self.student.blind and not set(stage.losses) <= {"text", "text_kl"}:
                raise ValueError(f"stage {name}: a blind student has only the text losses")
        return self

    @model_validator(mode="after")
    def _static_weights_are_used(self) -> Recipe:
        if self.static_weights and self.weighting != "static":
            raise ValueError("static_weights are for weighting: static; take them out, or choose that")
        return self

    @model_validator(mode="after")
    def _heads_are_there(self) -> Recipe:
        if self.student.relation_head is False and "relation_head" in self.heads_needed():
            raise ValueError("student.relation_head is false, but a loss reads it: take out spatial and feature")
        return self

    def heads_needed(self) -> set[PartName]:
        """The heads that the losses named read and others do not."""
        named = {loss for stage in self.stages.values() for loss in stage.losses}
        return {head for loss, head in HEAD_OF_LOSS.items() if loss in named}


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML with ``key=value`` overrides (dots go down: ``stages.see.steps=100``; values are YAML).

    Raises :class:`RecipeError` for a missing file, bad YAML, an unknown key (naming the nearest known one) or a
    value out of range; every fault found is in the one message.
    """
    return check_recipe(read_tree(Path(path), overrides), str(path))


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A YAML mapping with ``key=value`` overrides, not yet checked. Raises RecipeError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read recipe {path}: {error}") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds no settings: a recipe is a YAML mapping such as recipes/nano.yaml")
    for override in overrides:
        apply_override(tree, override)
    return tree


def capped(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with no stage longer than ``steps``."""
    stages = {
        name: stage.model_copy(update={"steps": min(steps, stage.steps)}) for name, stage in recipe.stages.items()
    }
    return recipe.model_copy(update={"stages": stages})


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set ``a.b.c=value`` in nested dicts. A key below something that is no mapping is an error."""
    key, sign, value = override.partition("=")
    if not sign or not key.strip():
        raise RecipeError(f"override {override!r} is not of the form key=value, such as stages.see.steps=100")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of override {override!r} is not YAML: {' '.join(str(error).split())}") from error
    *path, last = key.strip().split(".")
    branch: Any = tree
    for step in path:
        branch = branch.setdefault(step, {})
        if not isinstance(branch, dict):
            raise RecipeError(f"override {override!r}: {step} holds a value, not settings")
    branch[last] = parsed


def check_recipe(tree: Mapping[str, Any], origin: str) -> Recipe:
    """Check a recipe given as nested dicts; ``origin`` names it in errors."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{origin}: " + "; ".join(_explain(fault) for fault in error.errors())) from error


def _explain(fault: Any) -> str:
    place = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _known_keys(fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
        return f"unknown key {place}: {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    groups: dict[str, type[Settings]] = {"student": StudentSettings, "data": DataSettings, "stages": Stage}
    group = groups.get(str(location[0]), Recipe) if location else Recipe
    return list(group.model_fields)
