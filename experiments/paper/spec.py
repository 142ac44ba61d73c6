"""The specification of all tables and figures, read from ``tables.yaml`` and checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dollhouse.data.config import ConfigModel
from dollhouse.errors import RecipeError, first_fault
from dollhouse.evaluation.tables.table import Column as PrintedColumn
from dollhouse.evaluation.tables.table import Published
from dollhouse.training.config import Recipe
from dollhouse.training.recipes import apply_overrides, check_recipe, read_tree

TABLES = Path(__file__).with_name("tables.yaml")
Kind = Literal["comparison", "text", "retention", "real", "controls", "optimum", "bench", "timing", "cases"]


class Init(ConfigModel):
    """The student that a run begins with: other thinking tokens, or one token a scene."""

    num_thinking_tokens: int = Field(0, ge=0)  #: freshly initialised
    placement: Literal["before_question", "after_question"] = "before_question"
    prefix: Literal["objects", "pooled"] = "objects"
    passes: int = Field(1, ge=1)  #: over the thinking tokens
    extra_layers: int = Field(0, ge=0)  #: on top of the language model, which change nothing at first

    def key_settings(self, seed: int) -> dict[str, Any]:
        """Return what the initial weights depend on; without thinking tokens, neither seed nor placement."""
        return self.model_dump() | ({"seed": seed} if self.num_thinking_tokens else {"placement": None})


class Column(PrintedColumn):
    """What a column holds, and how it is printed."""

    figure: str = ""  #: of a cell: accuracy/size, series/loss/text, fact/parameters, first_ms (of bench)


class Row(ConfigModel):
    """A row: a model as it is, an initial model, or a training run."""

    name: str
    model: str | None = None  #: a name that --model gives a folder, such as teacher, or "NAME, blind"
    oracle_boxes: bool = False  #: measured with the true boxes as object tokens
    scenes: str = ""  #: measured on these; filled in from the table, as is `questions`
    questions: int = 0  #: of a scene; 0: questions_per_scene
    recipe: str | None = None  #: trains `init` with this entry of `recipes`; None: `init` is measured untrained
    init: Init = Init()
    changes: dict[str, Any] = Field({})  #: recipe keys, dots go down: {loss_weighting: static}
    drop_losses: list[str] = Field([])
    add_losses: list[str] = Field([])
    only_losses: list[str] = Field([])
    columns: list[str] = Field([])  #: all that it has; []: every one
    same_as: str | None = None  #: TABLE/ROW that this row repeats; other keys given here override that row's
    seeds: Literal["first", "all", "more"] = "first"  #: more: `more_seeds` too
    compare_with: str | None = None  #: row that differences are taken from; None: the table's base
    priority: int = Field(4, ge=1)  #: 1 runs first; repeated seeds come last


class Table(ConfigModel):
    """One table or figure."""

    title: str
    kind: Kind
    columns: list[Column]
    rows: list[Row] = Field([])
    base: str | None = None
    pictured_columns: int | None = None
    picture: bool = False
    paper_size: bool = False  #: of a timing: random models of the paper's size
    scenes: str = ""  #: measure its rows on these instead
    questions: int = 0  #: of a scene, instead
    sentences: list[str] = Field([])  #: templates, see :mod:`dollhouse.evaluation.tables.table`
    method: str
    paper: Published | None = None
    on_request: bool = False


class Training(ConfigModel):
    """A short recipe, and what it costs."""

    seconds_per_step: float = Field(gt=0)
    recipe: dict[str, Any]


class Timing(ConfigModel):
    """How Table IV is timed."""

    rooms: int = Field(ge=1)
    tokens: int = Field(ge=1)  #: of every answer, however short it would have been
    batch: int = Field(ge=1)  #: questions answered together, for the throughput
    repeats: int = Field(ge=1)  #: of each time; the median counts


class Spec(ConfigModel):
    """All tables, and the sizes and recipes that they share."""

    paper: str
    base: str = "rooms_nano"  #: name of the model that runs without a recipe of their own begin with
    compared_scenes: str
    run_scenes: str
    validation_scenes: str
    training_scenes: str
    questions_per_scene: int = Field(ge=1)
    seeds: list[int] = Field(min_length=1)
    more_seeds: list[int] = Field([])
    timing: Timing
    recipes: dict[str, Training]
    tables: dict[str, Table]

    def rows_of(self, key: str) -> dict[str, Row]:
        """Return the rows of a table by name, references resolved. Raises RecipeError."""
        rows = {}
        for row in self.tables[key].rows:
            table, _, name = (row.same_as or f"{key}/{row.name}").partition("/")
            other = next((other for other in self.tables[table].rows if other.name == name), None)
            if other is None or (other.same_as and other is not row):
                raise RecipeError(f"table {key}: row {row.same_as} does not exist, or repeats another itself")
            rows[row.name] = other.model_copy(update={field: getattr(row, field) for field in row.model_fields_set})
            if self.tables[key].scenes:
                own = {field: getattr(self.tables[key], field) for field in ("scenes", "questions")}
                rows[row.name] = rows[row.name].model_copy(update=own)
        return rows

    def choose(self, only: Sequence[str] | None) -> list[str]:
        """Return keys of tables in the page's order, however they are written. Raises RecipeError."""
        if not only:
            return [key for key, table in self.tables.items() if not table.on_request]
        plain = {name.lower().strip().removeprefix("table-") for name in only}
        keys = {key.lower().removeprefix("table-"): key for key in self.tables}
        if unknown := plain - keys.keys():
            raise RecipeError(f"--only: no table {', '.join(sorted(unknown))}; known are {', '.join(self.tables)}")
        return [key for plain_key, key in keys.items() if plain_key in plain]

    def questions_of(self, row: Row) -> int:
        """Return the number of questions of a scene that a row answers at most."""
        return row.questions or self.questions_per_scene

    def seeds_of(self, row: Row) -> list[int]:
        """Return the seeds that a row runs with."""
        if row.recipe is None or row.seeds == "first":
            return self.seeds[:1]
        return self.seeds + (self.more_seeds if row.seeds == "more" else [])

    def recipe_of(self, row: Row, seed: int, **data: Any) -> Recipe:
        """Return the recipe of a trained row; ``init_from`` is a placeholder. Raises RecipeError."""
        if row.recipe not in self.recipes:
            raise RecipeError(f"row {row.name}: no recipe {row.recipe}; known are {', '.join(self.recipes)}")
        tree = copy.deepcopy(self.recipes[row.recipe].recipe) | {"seed": seed}
        tree |= {} if "student" in tree else {"init_from": "nano"}
        tree["data"] = {"scenes": self.training_scenes, **tree["data"], **data}
        for stage in tree["stages"].values():
            if unknown := {*row.drop_losses, *row.only_losses}.difference(stage["losses"]):
                raise RecipeError(f"row {row.name}: {', '.join(sorted(unknown))} is no loss of recipe {row.recipe}")
            losses = [name for name in stage["losses"] if name in (row.only_losses or stage["losses"])]
            stage["losses"] = [name for name in losses if name not in row.drop_losses] + row.add_losses
        changes = [f"{key}={json.dumps(value)}" for key, value in row.changes.items()]
        return check_recipe(apply_overrides(tree, changes) if changes else tree, f"tables.yaml, row {row.name}")


def read_spec(path: Path = TABLES, overrides: Sequence[str] = ()) -> Spec:
    """Read and check a specification with ``key=value`` overrides. Raises RecipeError naming what is wrong."""
    try:
        spec = Spec.model_validate(read_tree(path, overrides))
    except ValidationError as error:
        known = ", ".join(Spec.model_fields)
        raise RecipeError(f"{path.name}: {first_fault(error)}; known keys are {known}") from error
    for key, table in spec.tables.items():
        names = [row.name for row in table.rows]
        others = {other for row in table.rows if (other := row.compare_with or table.base)}
        if len(set(names)) < len(names) or not others <= set(names):
            raise RecipeError(f"table {key}: a row's name repeats, or rows are compared with one that is missing")
    return spec
