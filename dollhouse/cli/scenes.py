"""``dollhouse scenes``: inspect, draw and export scenes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dollhouse.cli.app import (
    LenientOption,
    ModelOption,
    SceneArgument,
    interruptible,
    load_pipeline,
    print_notices,
    scenes_app,
    with_corrections,
)
from dollhouse.errors import SceneError

if TYPE_CHECKING:
    from dollhouse.scenes.corrections import Corrections
    from dollhouse.scenes.scene import Scene

Format = Literal["ply", "glb", "json", "colmap", "scannet"]
_FORMATS: dict[str, Format] = {".ply": "ply", ".glb": "glb", ".json": "json"}  # by suffix


@scenes_app.command("show")
@with_corrections
def show_scene(
    scene: SceneArgument,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("scene.png"),
    views: Annotated[int, typer.Option(min=1, help="Views to show.")] = 8,
    skip_bad: LenientOption = True,
    *,
    corrections: Corrections,
) -> None:
    """Draw a scene: its views, its depth, and a plan with boxes and cameras."""
    from dollhouse.scenes.open import open_scene
    from dollhouse.scenes.visualize import draw_scene

    opened = open_scene(scene, skip_bad=skip_bad, corrections=corrections)
    print_notices(opened)
    draw_scene(opened, out, views=views)
    boxes = "not annotated" if opened.boxes is None else f"{len(opened.boxes)} objects"
    print(f"{opened.name}: {len(opened.views)} views, {boxes}; picture: {out}")


@scenes_app.command("info")
@with_corrections
def print_scene_info(
    scenes: Annotated[str, typer.Argument(help="A scene, a folder of scenes, or rooms such as rooms:test/0-9.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    corrections: Corrections,
) -> None:
    """Print what a scene holds and lacks, its scale, and whether its poses agree with its depth.

    A folder of scenes gets a line for each. Only a few views are decoded. Exit code 1 where a scene cannot be opened.

    Example: dollhouse scenes info ./my_scan
    """
    from dollhouse.cli.scene_tables import print_table, scene_table, scenes_table
    from dollhouse.scenes.open import EXAMPLE, open_scenes

    opened = open_scenes(scenes, corrections=corrections)
    names = [str(key) for key in opened.keys]
    numbered = isinstance(opened.keys[0], int)
    if len(opened) == 1 and (numbered or names[0] in (str(Path(scenes).expanduser()), str(EXAMPLE))):
        facts = _facts(scenes if numbered else names[0], corrections)
        if as_json:
            print(json.dumps(facts, indent=1))
        else:
            print_table(scene_table(facts))
        return
    prefix = scenes.partition("/")[0] + "/" if numbered else ""
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for name in names:
        try:
            rows.append(_facts(prefix + name, corrections))
        except SceneError as error:
            failures[name] = str(error)
    checks = [facts["check"] for facts in rows if facts["check"]]
    totals = {
        "scenes": len(rows),
        "views": sum(facts["views"] for facts in rows),
        "boxes": sum(sum((facts["boxes"] or {}).values()) for facts in rows),
        "disagreeing": sum(check["agrees"] is False or bool(check["mistake"]) for check in checks),
        "failed": len(failures),
    }
    if as_json:
        print(json.dumps({"scenes": rows, "failures": failures, "totals": totals}, indent=1))
    else:
        print_table(scenes_table(rows))
        for reason in failures.values():
            print(f"failed: {reason}", file=sys.stderr)
        print(", ".join(f"{count} {name}" for name, count in totals.items() if count or name == "scenes"))
    if failures:
        raise typer.Exit(1)


def _facts(source: str, corrections: Corrections) -> dict[str, Any]:
    """Describe a scene; it is opened leniently only where the quick opening finds a fault."""
    from dollhouse.scenes.description import describe_scene
    from dollhouse.scenes.open import open_scene

    try:
        return describe_scene(open_scene(source, corrections=corrections))
    except SceneError:
        return describe_scene(open_scene(source, skip_bad=True, corrections=corrections))


@scenes_app.command("export")
@with_corrections
@interruptible()
def export_scene(
    scene: SceneArgument,
    out: Annotated[Path, typer.Option(help="The file to write (.ply, .glb, .json), or a new folder.")],
    format: Annotated[
        Format | None, typer.Option(help="Default: by the suffix of --out; colmap for a folder.", show_default=False)
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Points at most, one a voxel.")] = 200_000,
    predicted: Annotated[
        bool,
        typer.Option("--predicted", help="Export predicted depth, cameras and boxes even where the scene has its own."),
    ] = False,
    model: ModelOption = "nano",
    views: Annotated[int | None, typer.Option(min=1, help="Views at most, spread over the scene.")] = None,
    skip_bad: LenientOption = True,
    *,
    corrections: Corrections,
) -> None:
    """Write a scene as points (PLY), points and boxes (GLB), boxes (JSON), a COLMAP model or a ScanNet scan.

    What the format needs and the scene lacks (depth, poses, boxes) is predicted from the photos.

    Example: dollhouse scenes export ./my_photos --out room.glb
    """
    from dollhouse.scenes.description import scene_scale
    from dollhouse.scenes.open import open_scene

    chosen: Format | None = format or _FORMATS.get(out.suffix.lower(), None if out.suffix else "colmap")
    if chosen is None:
        raise SceneError(f"{out}: no format has this suffix; give .ply, .glb or .json, a folder, or --format")
    opened = open_scene(scene, skip_bad=skip_bad, corrections=corrections)
    print_notices(opened)
    predicted = predicted or (chosen != "scannet" and _lacks(opened, chosen))
    if predicted:
        from dollhouse.inference.predicted_scene import predicted_scene

        opened = predicted_scene(load_pipeline(model, "auto").encode_scene(opened, views, skip_bad))
    elif views is not None:
        opened = opened.sample_views(views)
    written = _write(opened, chosen, out, points)
    origin = f", predicted by {model}" if predicted else ""
    print(f"{out}: {written}{origin}; scale {scene_scale(opened)}")


def _lacks(scene: Scene, format: Format) -> bool:
    """Return whether a scene lacks what a format needs: depth and poses, or boxes, or either for GLB."""
    if format == "json":
        return scene.boxes is None
    if format == "colmap":
        return not scene.posed or any(view.intrinsics is None for view in scene.views)
    return not (scene.posed and scene.has_depth) and not (format == "glb" and scene.boxes)


def _write(scene: Scene, format: Format, out: Path, count: int) -> str:
    """Write a scene and return in words what was written."""
    from dollhouse.scenes.export import boxes_json, colmap, gltf, ply
    from dollhouse.scenes.export.points import scene_points

    boxes = f"{len(scene.boxes or ())} boxes"
    if format == "json":
        boxes_json.write_boxes(scene, out)
        return boxes
    if format == "scannet":
        from dollhouse.scenes.scannet_writer import write_scannet

        write_scannet(scene, out)
        return f"{len(scene.views)} views, {boxes}"
    points = scene_points(scene, count) if scene.posed and scene.has_depth else None
    described = "no points" if points is None else f"{len(points.positions)} points of {points.views} views"
    if format == "colmap":
        colmap.write_colmap(scene, points, out)
        return f"{len(scene.views)} images, {described}"
    if format == "glb":
        gltf.write_glb(scene, points, out)
        return f"{described}, {boxes}"
    assert points is not None
    ply.write_ply(scene, points, out)
    return described
