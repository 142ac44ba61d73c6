"""``dollhouse ask``: answer questions about a scene."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dollhouse.cli.app import ModelOption, SceneArgument, SkipOption, app, console, print_skipped, quiet_libraries
from dollhouse.errors import QuestionError

if TYPE_CHECKING:
    from dollhouse.inference.session import Answer, SceneSession


@app.command()
def ask(
    scene: SceneArgument,
    questions: Annotated[
        list[str] | None, typer.Argument(help="Questions. Without any: lines of standard input, or a prompt.")
    ] = None,
    model: ModelOption = "nano",
    views: Annotated[int | None, typer.Option(min=1, help="Photos to encode, spread over the scene.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show: Annotated[Path | None, typer.Option(help="Write a picture: photos, predicted depth, plan, answers.")] = None,
    skip_bad: SkipOption = False,
) -> None:
    """Answer questions about a scene from its photos alone.

    Example: dollhouse ask ./my_photos "Is the lamp near the sofa?"
    """
    from dollhouse.scenes.open import open_scene

    prompt = not questions and sys.stdin.isatty() and not as_json
    if not questions and not prompt:
        questions = [] if sys.stdin.isatty() else [line.strip() for line in sys.stdin if line.strip()]
        if not questions:
            raise QuestionError('no question: give one after the scene, such as "How many chairs are there?"')
    opened = open_scene(scene, skip_bad=skip_bad)
    print_skipped(opened.metadata)
    quiet_libraries()
    from dollhouse.inference.pipeline import DollhousePipeline

    session = DollhousePipeline.from_pretrained(model, retain_freed_memory=True).encode_scene(opened, views)
    if not questions:
        _prompt(session)
        return
    answers = session.answer(questions)
    if as_json:
        print(json.dumps(_as_json(session, answers), indent=1))
    else:
        _print_answers(answers)
    if show is not None:
        from dollhouse.evaluation.report.answer_picture import draw_answers

        draw_answers(session, answers, show)
        print(f"picture: {show}", file=sys.stderr)


def _prompt(session: SceneSession) -> None:
    out = console()
    out.print(f"{session.scene.name}: {len(session.images)} photos encoded. An empty line ends.")
    while True:
        try:
            question = out.input("[bold]> [/bold]")
        except EOFError:
            break
        if not question.strip():
            break
        try:
            _print_answers(session.answer([question]))
        except QuestionError as error:
            out.print(f"[red]error:[/red] {escape(str(error))}")


def _print_answers(answers: list[Answer]) -> None:
    out = console()
    for answer in answers:
        if len(answers) > 1:
            out.print(f"[dim]{escape(answer.question)}[/dim]")
        out.print(f"{escape(answer.text)}  [dim](confidence {answer.confidence:.0%})[/dim]")


def _as_json(session: SceneSession, answers: list[Answer]) -> dict[str, Any]:
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
        for box in ([] if session.perception is None else session.boxes)
        if (box.score or 0.0) >= MIN_BOX_SCORE
    ]
    return {
        "scene": session.scene.name,
        "model": session.pipeline.model_id,
        "views": [view.name for view in session.scene.views],
        "answers": [vars(answer) for answer in answers],
        "objects": boxes,
        "frame": "level frame of the first view: origin at the camera, x right, y ahead, z up, metres",
    }
