"""``dollhouse scenes``: inspect scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import LenientOption, SceneArgument, print_notices, scenes_app


@scenes_app.command("show")
def show_scene(
    scene: SceneArgument,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("scene.png"),
    views: Annotated[int, typer.Option(min=1, help="Views to show.")] = 8,
    skip_bad: LenientOption = True,
) -> None:
    """Draw a scene: its views, its depth, and a plan with boxes and cameras."""
    from dollhouse.scenes.open import open_scene
    from dollhouse.scenes.visualize import draw_scene

    opened = open_scene(scene, skip_bad=skip_bad)
    print_notices(opened)
    draw_scene(opened, out, views=views)
    boxes = "not annotated" if opened.boxes is None else f"{len(opened.boxes)} objects"
    print(f"{opened.name}: {len(opened.views)} views, {boxes}; picture: {out}")
