"""MkDocs hooks: generate the command and recipe references; render the roles of docstrings."""

from __future__ import annotations

import re
import types
from typing import Any, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    for path, content in (("reference/cli.md", command_page()), ("reference/recipes.md", recipe_page())):
        files.append(File.generated(config, path, content=content))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Drop the Sphinx roles of docstrings: ``:class:`~a.b.C``` becomes ``C``."""
    html = re.sub(r":(?:class|func|meth|mod|data|attr):\s*(?=<code>)", "", html)
    return re.sub(r"<code>~[\w.]*\.(\w+)</code>", r"<code>\1</code>", html)


def command_page() -> str:
    """Render the help of every verb as Markdown."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from dollhouse.cli import app

    command = get_command(app)
    with command.make_context("dollhouse", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name="dollhouse", title="The command")
        for name, verb in command.commands.items():  # type: ignore[attr-defined]
            summary = (verb.help or "").strip().partition("\n\n")[0].replace("\n", " ")
            text = re.sub(rf"^\* `{name}`: .*$", lambda _: f"* `{name}`: {summary}", text, flags=re.MULTILINE)  # noqa: B023
    return text


def recipe_page() -> str:
    """Render every recipe setting with its type, default and description as Markdown tables."""
    from dollhouse.training.config import LossName, PartName, Recipe

    groups = _groups("", Recipe)
    lines = [
        "# Recipes",
        "",
        "A recipe is a YAML file. Every setting can be overridden on the command line as `key=value`; "
        "`stages.<stage>.steps=100` changes one stage. The shipped recipes are in `dollhouse/recipes/`.",
    ]
    for prefix, model in groups.items():
        lines += [
            "",
            f"## {prefix.rstrip('.').replace('<', '').replace('>', '') or 'Top level'}",
            "",
            _first_line(model),
            "",
        ]
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            if set(_models(field.annotation)) - {model}:
                continue
            cells = [f"`{prefix}{name}`", f"`{_type(field.annotation)}`", _default(field), field.description or ""]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "## Names", "", f"Losses: {_names(LossName)}.", "", f"Parts of the student: {_names(PartName)}."]
    return "\n".join(lines) + "\n"


def _groups(prefix: str, model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return a model and those inside it by the prefix of their settings."""
    groups = {prefix: model}
    for name, field in model.model_fields.items():
        for inner in set(_models(field.annotation)) - {model}:
            groups |= _groups(f"{prefix}{name}." if name != "stages" else "stages.<stage>.", inner)
    return groups


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return getattr(annotation, "__name__", str(annotation)).replace("NoneType", "None")
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, arguments))
    if getattr(origin, "__name__", "") in ("Literal", "_LiteralSpecialForm") or str(origin) == "typing.Literal":
        return " / ".join(map(str, arguments)) if len(arguments) < 5 else "name"
    if str(origin) == "typing.Annotated":
        return _type(arguments[0])
    return f"{origin.__name__}[{', '.join(map(_type, arguments))}]"


def _names(literal: Any) -> str:
    return ", ".join(f"`{name}`" for name in get_args(literal))


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    return "`" + ("none" if value is None else str(value)) + "`"


def _first_line(model: type[BaseModel]) -> str:
    line = (model.__doc__ or "").strip().split("\n")[0]
    return re.sub(r":\w+:(?=`)", "", line)
