"""How large everything is that is reproduced: rooms, questions, steps, seeds; read from ``extent.yaml``.

Knows the names and limits of these settings, nothing of how they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from dollhouse.data.config import ConfigModel
from dollhouse.errors import RecipeError
from dollhouse.training.config import apply_overrides

DEFAULT = Path(__file__).with_name("extent.yaml")


class Steps(ConfigModel):
    """Training steps of a run."""

    losses: int = Field(ge=1, description="Table II, and Table I's student without 3D losses")
    thinking: int = Field(ge=1, description="Table III, and Table I's student of one token a scene")


class Timing(ConfigModel):
    """Table IV."""

    rooms: int = Field(ge=1, description="rooms of `compared` that are looked at")
    tokens: int = Field(ge=1, description="of every answer, however short it would have been")
    batch: int = Field(ge=1, description="questions answered together, for the throughput")


class Extent(ConfigModel):
    """Everything's size."""

    compared: str
    runs: str
    validation: str
    training: str
    questions: int = Field(ge=1)
    seeds: list[int] = Field(min_length=1)
    thinking_counts: list[int] = Field(min_length=1)
    hidden_cot: int = Field(ge=1)
    steps: Steps
    timing: Timing


def read_extent(overrides: Sequence[str] = ()) -> Extent:
    """The default extent with ``key=value`` overrides (``steps.losses=10``). Raises RecipeError naming what is "
    "wrong."""
    tree = apply_overrides(yaml.safe_load(DEFAULT.read_text(encoding="utf-8")), overrides)
    try:
        return Extent.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RecipeError(f"extent: {faults}; known are {', '.join(Extent.model_fields)}") from error
