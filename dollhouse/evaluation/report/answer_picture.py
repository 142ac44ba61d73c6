"""One picture of a session: the photos, the predicted depth, a plan with boxes, and the answers with confidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dollhouse.inference.session import MIN_BOX_SCORE, Answer, SceneSession
from dollhouse.scenes.drawing import LINE, SOFT, stack, text_picture
from dollhouse.scenes.plan import draw_plan
from dollhouse.scenes.visualize import draw_views, plan_side, save_page

CUT = 0.1  #: points higher than this above the first camera are left out of the plan, metres
BAR = "#2f6fb2"


def draw_answers(session: SceneSession, answers: Sequence[Answer], out: Path) -> None:
    """Write the picture to ``out``. Raises StorageError where it cannot be written, ModelError for a blind student."""
    depths, count = {f"predicted depth, metres, {session.scale.kind}": list(session.depth)}, len(session.images)
    titles = [f"view {index}: {view.name}" for index, view in enumerate(session.scene.views, 1)]
    photos = draw_views(list(session.images), titles, depths)
    boxes = [box for box in session.boxes if (box.score or 0.0) >= MIN_BOX_SCORE]
    caption = f"predicted boxes and cameras; {session.scale}"
    caption += "" if boxes else f"; no box has a score of {MIN_BOX_SCORE} or more"
    fovs, cameras = [float(2 * np.arctan(0.5 / focal)) for focal in session.focal], list(session.level_from_camera)
    points, colours = _low_points(session)
    side = plan_side(photos)
    plan = draw_plan(boxes, cameras, fovs=fovs, points=points, point_colours=colours, side=side)
    above = stack([photos, stack([text_picture(caption, 13, side), plan], 2, down=True)], 24, down=False)
    title = f"{session.scene.name}  ·  {count} photo{'s' * (count != 1)}  ·  {session.pipeline.model_id}"
    save_page(title, [above, *(_answer_row(answer, above.width) for answer in answers)], out)


def _answer_row(answer: Answer, width: int) -> Image.Image:
    """A question, the answer, in bold if it is sure, and a bar of its confidence, below a line."""
    bar = Image.new("RGB", (270, 20), "white")
    draw = ImageDraw.Draw(bar)
    draw.rectangle((0, 6, 119, 15), LINE)
    draw.rectangle((0, 6, round(119 * answer.confidence), 15), BAR)
    bar.paste(text_picture(f"{answer.confidence:.0%} confidence", 15, 140), (130, 0))
    question = text_picture(answer.question, 15, round(0.55 * width))
    left = width - question.width - bar.width - 40
    text = text_picture(answer.phrase or "–", 15, left, bold=not answer.unsure)
    if answer.scale:
        text = stack([text, text_picture(answer.scale.phrase, 13, left, colour=SOFT)], 0, down=True)
    return stack([Image.new("RGB", (width, 1), LINE), stack([question, text, bar], 20, down=False)], 10, down=True)


def _low_points(session: SceneSession) -> tuple[Any, Any]:
    """Predicted points (N, 3) below the cut and their colours (N, 3) in [0, 1], every second pixel."""
    points = session.points[:, ::2, ::2].reshape(-1, 3)
    low = points[:, 2] < CUT
    return points[low], session.images[:, ::2, ::2].reshape(-1, 3)[low] / 255
