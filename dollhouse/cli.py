"""The command: one verb each for what a user does, every one a call of one public function.

Heavy libraries load inside the verbs, so that help and errors are instant. Errors that a user can mend are one line
on standard error and exit code 2.
"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dollhouse.errors import DollhouseError, QuestionError

if TYPE_CHECKING:
    from dollhouse.student.memory import Answer, Dollhouse, SceneMemory

app = typer.Typer(
    name="dollhouse",
    help="Answer questions about a room from plain photos, and distil the small model that does.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
scenes_app = typer.Typer(help="Look at scenes: photos, ScanNet folders, made rooms.", no_args_is_help=True)
app.add_typer(scenes_app, name="scenes")
records_app = typer.Typer(help="Look at what teachers said: the folders that `label` writes.", no_args_is_help=True)
app.add_typer(records_app, name="records")

SceneArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of photos, a photo, a video, a ScanNet folder, or a room: rooms:test/3, sweethome:test/3."
    ),
]
ModelOption = Annotated[Path | None, typer.Option(help="A model folder. Default: the shipped nano student.")]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out photos that cannot be read.")]


@app.command()
def ask(
    scene: SceneArgument,
    questions: Annotated[list[str] | None, typer.Argument(help="Questions. None, on a terminal: a prompt.")] = None,
    model: ModelOption = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos to look at, spread over the scene.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show: Annotated[Path | None, typer.Option(help="Write a picture: views, predicted depth, plan, answers.")] = None,
    skip_bad: SkipOption = False,
) -> None:
    """Answer questions about a scene, from its photos alone.

    Example: dollhouse ask ./my_photos "What is next to the sofa?"
    """
    from dollhouse.scenes.source import open_scene

    if not questions and (as_json or not sys.stdin.isatty()):
        raise QuestionError('ask what? Give questions after the scene, such as "How many chairs are there?"')
    opened = open_scene(scene, skip_bad=skip_bad)
    _tell_skipped(opened.metadata)
    _quiet_libraries()
    from dollhouse.student.memory import Dollhouse

    house = Dollhouse.from_pretrained(model)
    memory = house.see(opened, views)
    if not questions:
        _converse(memory)
        return
    answers = memory.answer(questions)
    if as_json:
        print(json.dumps(_answers_as_json(house, memory, answers), indent=1))
    else:
        _print_answers(answers)
    if show is not None:
        from dollhouse.evaluate.answer_picture import draw_answers

        draw_answers(memory, answers, show)
        print(f"picture: {show}", file=sys.stderr)


@app.command()
def distill(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/nano.yaml.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as stages.see.steps=100.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; a run in it is continued. Default: runs/NAME.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the shapes of one step of every stage; compute nothing.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Rehearse: at most so many steps a stage; tell speed and memory.")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0, help="Of the processor, for a rehearsal. Default: measured.")
    ] = None,
) -> None:
    """Train a student as a recipe says. Killed at any moment, the same command goes on where it was.

    Example: dollhouse distill recipes/nano.yaml stages.see.steps=500 --out runs/first
    """
    from dollhouse.distill.recipe import capped, read_recipe

    read = read_recipe(recipe, settings or [])
    _quiet_libraries()
    if dry_run:
        from dollhouse.distill.dry_run import dry_run as check
        from dollhouse.plan.report import print_checks

        print_checks(check(capped(read, steps) if steps else read))
        return
    if steps:
        from dollhouse.distill.rehearsal import rehearse
        from dollhouse.plan.report import print_rehearsal

        folder = out or Path("runs") / f"{read.name}-{steps}-steps"
        print_rehearsal(rehearse(read, folder, steps, peak_tflops * 1e12 if peak_tflops else None))
        return
    from dollhouse.distill.run import distill as carry_out

    folder = carry_out(read, out or Path("runs") / read.name)
    print(f"model: {folder}")


@app.command()
def plan(
    what: Annotated[str, typer.Argument(help='"vggt", or a recipe: its file, or the name of one in recipes/.')],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides of the recipe.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene. Default: 2, or the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT. Default: 518x392, or the recipe's width at 4:3.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    heads: Annotated[str, typer.Option(help="Of VGGT: which of camera,depth,point,track.")] = "camera,depth,point",
    views_at_once: Annotated[
        int | None, typer.Option(min=1, help="Views VGGT works on together. Default: all.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="An official VGGT checkpoint: check it, tell its licence.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Of a recipe: plan its stages too; draws a batch of its scenes.")
    ] = True,
) -> None:
    """Tell parameters, size on disk and peak memory before anything is allocated.

    Examples: dollhouse plan vggt --views 2 --size 518x392 --dtype bfloat16, or: dollhouse plan paper
    """
    _quiet_libraries()
    from dollhouse.plan.command import plan_encoder, plan_recipe

    if what == "vggt":
        plan_encoder(views or 2, size or "518x392", dtype, heads.split(","), views_at_once, weights)
    else:
        plan_recipe(what, settings or [], views, size, dtype, training)


@app.command()
def evaluate(
    model: Annotated[Path | None, typer.Argument(help="A model folder. Default: the shipped nano student.")] = None,
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-199 or a folder.")] = "rooms:test/0-199",
    blind: Annotated[
        Path | None, typer.Option(help="The blind control's model folder. Default: `blind` inside the model folder.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    holdout_every: Annotated[
        int, typer.Option(min=0, help="Score only every n-th view, those held out in training.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice of questions and of the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and report.html.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(help="scanqa, sqa3d, beacon3d, vsibench, 3dsrbench, spatialbench or rooms; with --annotations."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Of a benchmark: whom to ask instead of a model, named as for label.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Answers made elsewhere: ours, LLaVA-3D's, lmms-eval's, VLMEvalKit's, ScanQA's.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="The benchmark's own files; once for each file.")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="A report.json: score it again without a model; exit code 1 if it differs.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two report.json: paired differences, and where they part.")
    ] = None,
) -> None:
    """Score a model against geometry: answers beside a blind student and chance, depth, and 3D boxes.

    Example: dollhouse evaluate runs/nano/model --scenes rooms:test/0-199 --out results/

    Of a benchmark: dollhouse evaluate --benchmark scanqa --annotations val.json --scenes scans/ --out results/

    Answers made elsewhere: dollhouse evaluate --benchmark scanqa --annotations val.json --predictions answers.jsonl
    """
    if verify or compare or benchmark or predictions:
        from dollhouse.evaluate import command

        if verify:
            raise typer.Exit(command.verify_report(verify))
        if compare:
            command.compare_reports(*compare, out=out, seed=seed)
            return
        if not benchmark:
            raise QuestionError("--predictions of which benchmark? Give --benchmark and --annotations too")
        line, files = " ".join(["dollhouse", *map(shlex.quote, sys.argv[1:])]), annotations or []
        if predictions:
            name = None if model is None else str(model)
            command.score_predictions(benchmark, predictions, files, out=out, model=name, seed=seed, command=line)
        else:
            asked = teacher or ("checkpoint" if model is None else f"checkpoint:{model}")
            command.ask_benchmark(benchmark, asked, Path(scenes), files, out=out, seed=seed, command=line)
        return
    _quiet_libraries()
    from dollhouse.distill.run import commit
    from dollhouse.evaluate.run import evaluate as score
    from dollhouse.evaluate.table import print_metrics
    from dollhouse.scenes.source import open_scenes
    from dollhouse.student.checkpoint import SHIPPED
    from dollhouse.student.memory import Dollhouse

    house = Dollhouse.from_pretrained(model)
    beside = blind or (model or SHIPPED) / "blind"
    report = score(
        house,
        [scene.hold_out(holdout_every)[1] for scene in open_scenes(scenes)] if holdout_every else scenes,
        blind=Dollhouse.from_pretrained(beside) if blind or beside.is_dir() else None,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        commit=commit(),
        command=" ".join(["dollhouse", *map(shlex.quote, sys.argv[1:])]),
    )
    print_metrics(report.metrics)
    if report.folder:
        print(f"report: {report.folder / 'report.html'}")


@app.command()
def label(
    teacher: Annotated[
        str,
        typer.Option(
            help="annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER or file:JSONL."
        ),
    ],
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:train/0-199 or a folder.")],
    out: Annotated[Path, typer.Option(help="The records' folder; what is in it already is not made again.")],
    questions: Annotated[
        str | None,
        typer.Option(help="generated, descriptions or a JSONL file. Default: generated where there are boxes."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions a scene at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of questions.")] = 0,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene at most, spread over it.")] = None,
    geometry: Annotated[
        list[str] | None,
        typer.Option(
            help="Who tells depth and boxes, asked in turn: own, scene, sensor, depth:FOLDER, detect:FOLDER, "
            "vggt:PATH, checkpoint:FOLDER, none. Default: own, then scene."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the teacher, or detect.KEY=VALUE of a geometry teacher."),
    ] = None,
    features: Annotated[bool, typer.Option(help="Keep the teacher's spatial features.")] = True,
    half: Annotated[bool, typer.Option("--half", help="Keep features and depth in half precision.")] = False,
    skip_bad: SkipOption = False,
) -> None:
    """Ask a teacher about scenes, once, and keep what it says. Killed at any moment, the same command goes on.

    Example: dollhouse label --teacher annotations --scenes rooms:train/0-199 --out records/
    """
    _quiet_libraries()
    from dollhouse.teachers.command import label_scenes

    code = label_scenes(
        teacher,
        scenes,
        out,
        questions=questions,
        limit=limit,
        seed=seed,
        views=views,
        geometry=geometry or ["own", "scene"],
        settings=settings or [],
        features=features,
        half=half,
        skip_bad=skip_bad,
    )
    if code:
        raise typer.Exit(code)


@records_app.command("show")
def show_records(
    folder: Annotated[Path, typer.Argument(help="A folder that `label` wrote.")],
    record: Annotated[str | None, typer.Argument(help="A scene's name, or the beginning of a record's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Lines of each sort.")] = 20,
) -> None:
    """Tell what a folder of records holds, or what one record says."""
    from dollhouse.teachers.command import show_records as show

    show(folder, record, limit)


@records_app.command("check")
def check_records(folder: Annotated[Path, typer.Argument(help="A folder that `label` wrote.")]) -> None:
    """Compare every file of every record with its hash; exit code 1 where one is damaged."""
    from dollhouse.teachers.command import check_records as check

    if check(folder):
        raise typer.Exit(1)


@scenes_app.command("show")
def show_scene(
    scene: SceneArgument,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("scene.png"),
    views: Annotated[int, typer.Option(min=1, help="Views to show.")] = 8,
    skip_bad: SkipOption = False,
) -> None:
    """Draw a scene: its views, its depth, and a plan from above with boxes and cameras."""
    from dollhouse.scenes.plan import draw_scene
    from dollhouse.scenes.source import open_scene

    opened = open_scene(scene, skip_bad=skip_bad)
    _tell_skipped(opened.metadata)
    draw_scene(opened, out, views=views)
    boxes = "not annotated" if opened.boxes is None else f"{len(opened.boxes)} objects"
    print(f"{opened.name}: {len(opened.views)} views, {boxes}; picture: {out}")


@app.command()
def version() -> None:
    """Print the version."""
    from dollhouse import __version__

    print(__version__)


def main() -> None:
    """Run the command; errors of the user's are one line and exit code 2."""
    try:
        app()
    except DollhouseError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: the disk is full: {error}; free some space and run the same command again", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _converse(memory: SceneMemory) -> None:
    console = Console()
    console.print(f"{memory.scene.name}: {len(memory.images)} photos seen. Ask; an empty line ends.")
    while True:
        try:
            question = console.input("[bold]> [/bold]")
        except EOFError:
            break
        if not question.strip():
            break
        _print_answers(memory.answer([question]), ask=False)


def _print_answers(answers: list[Answer], ask: bool = True) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for answer in answers:
        if ask and len(answers) > 1:
            console.print(f"[dim]{escape(answer.question)}[/dim]")
        console.print(f"{escape(answer.text)}  [dim]({answer.confidence:.0%} sure)[/dim]")


def _answers_as_json(house: Dollhouse, memory: SceneMemory, answers: list[Answer]) -> dict[str, Any]:
    from dollhouse.student.memory import SURE

    boxes = [
        {
            "label": box.label,
            "colour": box.colour,
            "score": round(box.score or 0.0, 3),
            "center": [round(float(x), 3) for x in box.center],
            "size": [round(float(x), 3) for x in box.size],
            "yaw": round(box.yaw, 3),
        }
        for box in ([] if memory.sight is None else memory.boxes)
        if (box.score or 0.0) >= SURE
    ]
    return {
        "scene": memory.scene.name,
        "model": house.model_id,
        "views": [view.name for view in memory.scene.views],
        "answers": [vars(answer) for answer in answers],
        "objects": boxes,
        "frame": "level frame of the first view: origin at the camera, x right, y ahead, z up, metres",
    }


def _tell_skipped(metadata: Any) -> None:
    for line in metadata.get("skipped") or ():
        print(f"left out: {line}", file=sys.stderr)
    if metadata.get("frames_skipped"):
        print(f"left out: {metadata['frames_skipped']} frames without a pose", file=sys.stderr)


def _quiet_libraries() -> None:
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


if __name__ == "__main__":
    main()
