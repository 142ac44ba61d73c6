"""``dollhouse ask``: questions about one scene, given with the command or one after another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dollhouse.cli.root import ModelOption, SceneArgument, SkipOption, app, quiet_libraries, tell_skipped
from dollhouse.errors import QuestionError

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.inference.session import Answer, SceneSession


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

    Example: dollhouse ask ./my_photos "Is the lamp near the sofa?"
    """
    from dollhouse.scenes.open import open_scene

    if not questions and (as_json or not sys.stdin.isatty()):
        raise QuestionError('ask what? Give questions after the scene, such as "How many chairs are there?"')
    opened = open_scene(scene, skip_bad=skip_bad)
    tell_skipped(opened.metadata)
    quiet_libraries()
    from dollhouse.inference.pipeline import DollhousePipeline

    pipeline = DollhousePipeline.from_pretrained(model, retain_freed_memory=True)
    memory = pipeline.encode_scene(opened, views)
    if not questions:
        _converse(memory)
        return
    answers = memory.answer(questions)
    if as_json:
        print(json.dumps(_answers_as_json(pipeline, memory, answers), indent=1))
    else:
        _print_answers(answers)
    if show is not None:
        from dollhouse.evaluation.report.answer_picture import draw_answers

        draw_answers(memory, answers, show)
        print(f"picture: {show}", file=sys.stderr)


def _converse(memory: SceneSession) -> None:
    console = Console()
    console.print(f"{memory.scene.name}: {len(memory.images)} photos seen. Ask; an empty line ends.")
    while True:
        try:
            question = console.input("[bold]> [/bold]")
        except EOFError:
            break
        if not question.strip():
            break
        try:
            _print_answers(memory.answer([question]), ask=False)
        except QuestionError as error:
            console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)


def _print_answers(answers: list[Answer], ask: bool = True) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for answer in answers:
        if ask and len(answers) > 1:
            console.print(f"[dim]{escape(answer.question)}[/dim]")
        console.print(f"{escape(answer.text)}  [dim]({answer.confidence:.0%} sure)[/dim]")


def _answers_as_json(pipeline: DollhousePipeline, memory: SceneSession, answers: list[Answer]) -> dict[str, Any]:
    from dollhouse.inference.session import MIN_BOX_SCORE

    boxes = [
        {
            "label": box.label,
            "colour": box.colour,
            "score": round(box.score or 0.0, 3),
            "center": [round(float(x), 3) for x in box.center],
            "size": [round(float(x), 3) for x in box.size],
            "yaw": round(box.yaw, 3),
        }
        for box in ([] if memory.perception is None else memory.boxes)
        if (box.score or 0.0) >= MIN_BOX_SCORE
    ]
    return {
        "scene": memory.scene.name,
        "model": pipeline.model_id,
        "views": [view.name for view in memory.scene.views],
        "answers": [vars(answer) for answer in answers],
        "objects": boxes,
        "frame": "level frame of the first view: origin at the camera, x right, y ahead, z up, metres",
    }
