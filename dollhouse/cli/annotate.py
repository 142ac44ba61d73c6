"""``dollhouse annotate``: run a teacher over scenes once."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dollhouse.cli.app import SeedOption, SkipOption, app, interruptible, quiet_libraries, with_corrections

if TYPE_CHECKING:
    from dollhouse.scenes.corrections import Corrections
    from dollhouse.teachers.annotate import SceneRun

FAILURES_SHOWN = 10
BOXES = "Photos to annotated scenes (--boxes)"
FEATURES = "The output of a frozen encoder, for data.feature_cache (--features)"


@app.command()
@with_corrections
@interruptible()
def annotate(
    out: Annotated[Path, typer.Option(help="The folder of the results; those already in it are not made again.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="With --features: overrides of the recipe, as of `distill`.")
    ] = None,
    scenes: Annotated[str | None, typer.Option(help="Scenes, such as rooms:train/0-199 or a folder.")] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER or file:JSONL."
        ),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            help="generated, photos (open ones too), descriptions, none or a JSONL file. Default: from boxes, if any."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions a scene at most.")] = None,
    seed: SeedOption = 0,
    views: Annotated[
        int | None, typer.Option(min=1, help="Photos a scene at most; of scans, chosen by overlap.")
    ] = None,
    geometry_teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Sources of depth and boxes, tried in order: own, scene, sensor, depth:FOLDER, detect:FOLDER, "
            "vggt:PATH, checkpoint:FOLDER, maps:MODULE:FUNCTION, none. Default: own, then scene."
        ),
    ] = None,
    teacher_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the teacher, or detect.KEY=VALUE of a geometry teacher.")
    ] = None,
    no_features: Annotated[
        bool, typer.Option("--no-features", help="Do not store the teacher's spatial features.")
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store features and depth in half precision.")] = False,
    skip_bad: SkipOption = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Annotate the scenes I, I+N, ... only, as machine I of N, from 0.")
    ] = "0/1",
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: auto, ray://HOST:10001, or local for one here."),
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Write annotated scenes instead of records.", rich_help_panel=BOXES)
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(help="detect:FOLDER, zero-shot:FOLDER, segment:FOLDER or MODULE:FUNCTION.", rich_help_panel=BOXES),
    ] = None,
    depth: Annotated[
        str, typer.Option(help="scene, depth:FOLDER or MODULE:FUNCTION.", rich_help_panel=BOXES)
    ] = "scene",
    cameras: Annotated[
        str,
        typer.Option(help="scene, vggt:PATH, checkpoint:FOLDER or MODULE:FUNCTION.", rich_help_panel=BOXES),
    ] = "scene",
    features: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Store the output of this recipe's frozen encoder for the photos of its data.",
            rich_help_panel=FEATURES,
        ),
    ] = None,
    *,
    corrections: Corrections,
) -> None:
    """Run a teacher over scenes once and store its answers, depth, boxes and features as records.

    After a kill, the same command continues. Exit code 1 where some scenes failed.

    With --boxes, a detector's objects are placed in 3D, and the scenes are written with depth, poses and boxes.

    With --features, the frozen encoder of a recipe is run once, for `distill` with data.feature_cache.

    Example: dollhouse annotate --teacher annotations --scenes rooms:train/0-199 --out records/
    """
    quiet_libraries()
    from dollhouse.system.progress import ProgressBar
    from dollhouse.teachers.annotate import annotate as run_teacher
    from dollhouse.teachers.ray_annotate import annotate_on_ray
    from dollhouse.teachers.registry import parse_teacher_args
    from dollhouse.teachers.scene_boxes import annotate_boxes

    args = parse_teacher_args(teacher_arg or [])
    shared: dict[str, Any] = {"views": views, "skip_bad": skip_bad, "corrections": corrections}
    part = _parse_shard(shard)
    progress = ProgressBar("annotate")

    def show(run: SceneRun) -> None:
        note = f"{run.existing} existing, {len(run.failures)} failed"
        progress.update(run.done, run.total, note, skipped=run.existing)

    if features is not None:
        if teacher is not None or scenes is not None or boxes or ray is not None:
            hint = "takes the scenes of the recipe (data.scenes=...): leave out --scenes, --teacher, --boxes, --ray"
            raise typer.BadParameter(hint, param_hint="--features")
        from dollhouse.training.cache_features import cache_features
        from dollhouse.training.recipes import read_recipe

        recipe = read_recipe(features, settings or [])
        with progress:
            feature_run = cache_features(recipe, out, part, on_sample=show)
        _report(feature_run, f"features: {out}: {feature_run.written} written", "samples")
        return
    if settings:
        raise typer.BadParameter("overrides of a recipe come with --features", param_hint=settings[0])
    if scenes is None:
        raise typer.BadParameter("name the scenes, such as rooms:train/0-199", param_hint="--scenes")
    if boxes:
        if detector is None or teacher is not None:
            raise typer.BadParameter("name a detector for --boxes, and no teacher", param_hint="--detector")
        if part != (0, 1) or ray is not None:
            hint = "--shard" if ray is None else "--ray"
            raise typer.BadParameter("is for records, not for --boxes", param_hint=hint)
        shared |= {"depth": depth, "cameras": cameras, "args": args}
        with progress:
            box_run = annotate_boxes(scenes, out, detector, on_scene=show, **shared)
        _report(box_run, f"scenes: {out}: {box_run.written} written with {box_run.boxes} boxes")
        return
    if teacher is None or detector is not None:
        raise typer.BadParameter("name a teacher, or give --boxes and a detector", param_hint="--teacher")
    shared |= {"questions": questions, "limit": limit, "seed": seed, "features": not no_features, "fp16": fp16}
    shared |= {"geometry_teachers": tuple(geometry_teacher or ("own", "scene")), "teacher_args": args}
    with progress:
        if ray is None:
            usage = partial(_print_usage, teacher)
            run = run_teacher(teacher, scenes, out, shard=part, on_scene=show, on_usage=usage, **shared)
        else:
            if part != (0, 1):
                raise typer.BadParameter("the cluster deals out the scenes: leave out --shard", param_hint="--ray")
            run = annotate_on_ray(ray, teacher, scenes, out, on_scene=show, **shared)
    if run.unanswered:
        reasons = ", ".join(f"{count} {reason}" for reason, count in run.unanswered.most_common())
        advice = "; max_new_tokens includes a model's thoughts" if any("cut" in why for why in run.unanswered) else ""
        print(f"without an answer, and not asked again: {reasons}{advice}", file=sys.stderr)
    _report(run, f"records: {out}: {run.written} written with {run.answers} answers")


def _print_usage(teacher: str, usage: str) -> None:
    print(f"{teacher}: {usage}", file=sys.stderr)


def _parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise typer.BadParameter(f"{text!r} is not I/N with I from 0 to N-1, such as 0/8", param_hint="--shard")
    return int(match[1]), int(match[2])


def _report(run: SceneRun, summary: str, unit: str = "scenes") -> None:
    """Print the results of a run and its failures; exit with code 1 where some scenes failed."""
    for failure in run.failures[:FAILURES_SHOWN]:
        print(f"failed: {failure.scene}: {failure.reason}", file=sys.stderr)
    if len(run.failures) > FAILURES_SHOWN:
        print(f"failed: {len(run.failures) - FAILURES_SHOWN} more", file=sys.stderr)
    rest = f", {len(run.failures)} {unit} failed; run the same command again for these" if run.failures else ""
    print(f"{summary}, {run.existing} existing{rest}")
    if run.failures:
        raise typer.Exit(1)
