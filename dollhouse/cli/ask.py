"""``dollhouse ask``: answer questions about a scene."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dollhouse.cli.app import (
    EngineOption,
    LenientOption,
    ModelOption,
    SceneArgument,
    app,
    load_pipeline,
    print_notices,
    with_corrections,
)
from dollhouse.errors import QuestionError, SceneError
from dollhouse.system.console import console
from dollhouse.system.text import storable

if TYPE_CHECKING:
    from dollhouse.inference.session import Answer, SceneSession
    from dollhouse.scenes.corrections import Corrections
    from dollhouse.scenes.scene import Scene

MOST_TEXT = 1 << 20  #: characters of questions on standard input


@app.command()
@with_corrections
def ask(
    scene: SceneArgument,
    questions: Annotated[
        list[str] | None, typer.Argument(help="Questions. Without any: lines of standard input, or a prompt.")
    ] = None,
    model: ModelOption = "nano",
    views: Annotated[
        str | None, typer.Option(help="How many photos to encode, spread over the scene, or which: 1,5,9.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show: Annotated[Path | None, typer.Option(help="Write a picture: photos, predicted depth, plan, answers.")] = None,
    skip_bad: LenientOption = True,
    focal: Annotated[
        str | None,
        typer.Option(
            help="Known focal length: over the photo's width (0.72), 26mm (35 mm equivalent), 1480px, or exif."
        ),
    ] = None,
    camera_height: Annotated[
        float | None, typer.Option(help="Known height of the first photo's camera above the floor, metres.")
    ] = None,
    known_length: Annotated[
        str | None, typer.Option(help="Known length, metres: table=1.20 (longest horizontal side), door.height=2.0.")
    ] = None,
    engine: EngineOption = "auto",
    *,
    corrections: Corrections,
) -> None:
    """Answer questions about a scene from its photos alone.

    Example: dollhouse ask ./my_photos "Is the lamp near the sofa?"
    """
    from dollhouse.scenes.open import open_scene
    from dollhouse.scenes.scale import KnownScale

    known = KnownScale(focal, camera_height, known_length)
    if show is not None:
        from dollhouse.scenes.drawing import picture_suffix

        picture_suffix(show)
    prompt = not questions and sys.stdin.isatty() and not as_json
    if prompt and show is not None:
        raise typer.BadParameter("give the questions of the picture after the scene", param_hint="--show")
    if not questions and not prompt:
        text = "" if sys.stdin.isatty() else sys.stdin.read(MOST_TEXT + 1)
        if len(text) > MOST_TEXT:
            raise QuestionError(f"standard input holds more than {MOST_TEXT:,} characters of questions")
        questions = [line.strip() for line in text.splitlines() if line.strip()]
        if not questions:
            raise QuestionError('no question: give one after the scene, such as "How many chairs are there?"')
    questions = [storable(question) for question in questions or ()]
    opened = open_scene(scene, skip_bad=skip_bad, corrections=corrections)
    print_notices(opened)
    selected, count = _select_views(opened, views)
    pipeline = load_pipeline(model, engine)
    session = pipeline.encode_scene(selected, count, skip_bad, known)
    print_notices(session.scene, opened)
    used = [1 + number for number, view in enumerate(opened.views) if view in session.scene.views]
    if views is None and len(used) < len(opened.views):
        numbers = ", ".join(map(str, used))
        print(f"{len(opened.views)} views, {len(used)} used: {numbers}; choose with --views", file=sys.stderr)
    if count is not None and len(used) < count:
        print(f"--views {views}: the scene has {len(used)} photos to encode", file=sys.stderr)
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


def _select_views(scene: Scene, views: str | None) -> tuple[Scene, int | None]:
    """Parse ``--views``: return the scene with the numbered views, and how many views to encode."""
    from dollhouse.inference.session import MAX_VIEWS

    try:
        numbers = [int(number) for number in (views or "").split(",") if number.strip()]
    except ValueError:
        numbers = [0]
    if views is None:
        return scene, None
    how_many = len(numbers) == 1 and "," not in views
    if (numbers[0] if how_many else len(numbers)) > MAX_VIEWS:
        raise SceneError(f"--views {views}: at most {MAX_VIEWS} photos are encoded together; give fewer")
    if how_many and numbers[0] > 0:
        return scene, numbers[0]
    if not numbers or len(set(numbers)) < len(numbers) or not all(0 < n <= len(scene.views) for n in numbers):
        raise SceneError(f"--views {views}: give how many, or numbers from 1 to {len(scene.views)} such as 1,2")
    return replace(scene, views=tuple(scene.views[number - 1] for number in numbers)), len(numbers)


def _prompt(session: SceneSession) -> None:
    out = console()
    out.print(f"{session.scene.name}: {len(session.images)} photos encoded. An empty line ends.")
    while True:
        try:
            question = out.input("> ")
        except EOFError:
            break
        if not question.strip():
            break
        try:
            _print_answers(session.answer([storable(question)]))
        except QuestionError as error:
            out.print(Text.assemble(("error:", "red"), f" {error}"))


def _print_answers(answers: list[Answer]) -> None:
    out = console()
    for answer in answers:
        if len(answers) > 1:
            out.print(answer.question, style="dim")
        scale = f"; {answer.scale.phrase}" if answer.scale else ""
        out.print(Text.assemble(f"{answer.phrase}  ", (f"(confidence {answer.confidence:.0%}{scale})", "dim")))


def _as_json(session: SceneSession, answers: list[Answer]) -> dict[str, Any]:
    boxes = [
        {
            "label": box.label,
            "colour": box.colour,
            "score": round(box.score or 0.0, 3),
            "center": [round(float(x), 3) for x in box.center],
            "size": [round(float(x), 3) for x in box.size],
            "yaw": round(box.yaw, 3),
            "scale": vars(session.scale),
        }
        for box in session.shown_boxes
    ]
    return {
        "scene": session.scene.name,
        "model": session.pipeline.model_id,
        "views": [view.name for view in session.scene.views],
        "scale": vars(session.scale),
        "answers": [asdict(replace(answer, text=answer.shown)) for answer in answers],
        "objects": boxes,
        "frame": "level frame of the first view: origin at the camera, x right, y ahead, z up, metres",
    }
