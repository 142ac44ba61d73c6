"""``dollhouse estimate``: predict parameters, disk size and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import app, quiet_libraries


@app.command()
def estimate(
    what: Annotated[str, typer.Argument(help="vggt, or a recipe: its file, or the name of a shipped one.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides of the recipe.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene. Default: 2, or the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT. Default: 518x392, or the recipe's width at 4:3.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    heads: Annotated[str, typer.Option(help="Of VGGT: which of camera,depth,point.")] = "camera,depth,point",
    views_at_once: Annotated[
        int | None, typer.Option(min=1, help="Views that VGGT processes together. Default: all.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="An official VGGT checkpoint: check its keys, print its licence.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Of a recipe: estimate its stages too; renders one batch of its scenes.")
    ] = True,
) -> None:
    """Predict parameters, size on disk and peak memory before anything is allocated.

    Examples: dollhouse estimate vggt --views 2 --size 518x392 --dtype bfloat16, or: dollhouse estimate paper
    """
    quiet_libraries()
    from dollhouse.training.estimate.command import plan_encoder, plan_recipe

    if what == "vggt":
        plan_encoder(views or 2, size or "518x392", dtype, heads.split(","), views_at_once, weights)
    else:
        plan_recipe(what, settings or [], views, size, dtype, training)
