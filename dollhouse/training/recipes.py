"""Reading of recipes: YAML with command line overrides, validated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from dollhouse.data.config import ConfigModel, DataConfig
from dollhouse.errors import RecipeError
from dollhouse.system.read_files import decoding, parse_yaml, read_yaml
from dollhouse.training.config import Recipe, StageConfig
from dollhouse.training.student_config import StudentConfig

RECIPES = Path(str(files("dollhouse") / "recipes"))  #: the recipes that the package ships
PLACEHOLDER = "REPLACE_ME"  #: in a recipe, a value that its user must give


def find_recipe(name_or_path: Path | str) -> Path:
    """Return the file of a recipe, given by path or by a shipped recipe's name ("nano" or "nano.yaml").

    Raises RecipeError naming the shipped recipes where there is no such file.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = {recipe.stem: recipe for recipe in sorted(RECIPES.glob("*.yaml"))}
    name = str(name_or_path).removesuffix(".yaml")
    if name in shipped:
        return shipped[name]
    raise RecipeError(f"cannot read recipe {path}: no such file; shipped recipes are {', '.join(shipped)}")


def read_recipe(recipe: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        recipe: path, or name of a shipped recipe.
        overrides: ``key=value`` with dotted keys and YAML values, such as ``data.views=2``.

    Raises:
        RecipeError: a missing file, bad YAML, an unknown key (with the most similar known one) or a value out of
            range; all faults found are in the one message.
    """
    return check_recipe(read_tree(find_recipe(recipe), overrides), str(recipe))


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML mapping with ``key=value`` overrides, without validation. Raises RecipeError."""
    tree = read_yaml(path, RecipeError)
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds no settings: a recipe is a YAML mapping, as the shipped nano.yaml is")
    return apply_overrides(tree, overrides)


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return nested dicts with every ``a.b.c=value`` set; values are YAML. Raises RecipeError."""
    with decoding("the recipe", "one of settings and values", RecipeError):
        config = OmegaConf.create(dict(tree))
    for override in overrides:
        key, sign, text = (part.strip() for part in override.partition("="))
        if not sign or not key:
            raise RecipeError(f"override {override!r} is not of the form key=value, such as data.views=2")
        where = f"the value of override {override!r}"
        parse_yaml(text, where, RecipeError)
        with decoding(where, "YAML", RecipeError):
            value = OmegaConf.select(OmegaConf.from_dotlist([override.strip()]), key)
            for end in range(1, len(steps := key.split("."))):
                parent = OmegaConf.select(config, ".".join(steps[:end]))
                if parent is not None and not isinstance(parent, DictConfig):
                    raise RecipeError(f"override {override!r}: {steps[end - 1]} holds a value, not settings")
            OmegaConf.update(config, key, value, merge=False)
    resolved: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    return resolved


def check_recipe(tree: Mapping[str, Any], origin: str) -> Recipe:
    """Validate a recipe given as nested dicts; ``origin`` names it in errors. Raises RecipeError."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{origin}: " + "; ".join(_explain(fault) for fault in error.errors())) from error


def require_filled(recipe: Recipe) -> None:
    """Raise RecipeError, naming the keys, where values that the user must give are left open."""
    if keys := _open_keys(recipe.model_dump()):
        words = " ".join(f"{key}=FOLDER" for key in keys)
        raise RecipeError(f"recipe {recipe.name} leaves open what only you know: add {words} to the command")


def _open_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            keys += _open_keys(value, f"{prefix}{name}.")
        elif str(value) == PLACEHOLDER:  # also as a path
            keys.append(f"{prefix}{name}")
    return keys


def _explain(fault: Any) -> str:
    key = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "extra_forbidden":
        groups: dict[str, type[ConfigModel]] = {"student": StudentConfig, "data": DataConfig, "stages": StageConfig}
        group = Recipe if len(fault["loc"]) == 1 else groups.get(str(fault["loc"][0]), Recipe)
        known = list(group.model_fields)
        similar = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {similar[0]}?" if similar else "known are " + ", ".join(known)
        return f"unknown key {key}: {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
