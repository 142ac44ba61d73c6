"""A floor plan of a session as SVG: boxes, cameras, and points from above."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box
from dollhouse.serve.scene_files import on_surface

if TYPE_CHECKING:
    from dollhouse.inference.session import SceneSession

_MARGIN = 0.4  # metres
_CELLS = 200  # of the picture's longer side
_CEILING = 0.5  # metres above the first camera, from which points are left out
_STYLE = (
    ".g{stroke:#8884;stroke-width:.01}.b{fill:var(--hue,#3b82c4);fill-opacity:.2;stroke:var(--hue,#3b82c4);"
    "stroke-width:.03}.c{fill:#d9480f}text{font-family:sans-serif;fill:currentColor;paint-order:stroke;"
    "stroke:var(--card,#fff);stroke-width:.2em;stroke-linejoin:round}.t{text-anchor:middle}"
)


def plan_svg(session: SceneSession, boxes: tuple[Box, ...]) -> str:
    """Return the plan, x to the right and y up, in the level frame of the first view; a box's id is ``data-box``."""
    cameras = session.level_from_camera
    corners = [box.corners[4:, :2] for box in boxes]
    kept = on_surface(session.depth)
    points, colours = session.points[kept], session.images[kept]
    places = np.concatenate([cameras[:, :2, 3], *corners, np.percentile(points[:, :2], [2, 98], axis=0)])
    (left, bottom), (right, top) = places.min(0) - _MARGIN, places.max(0) + _MARGIN
    letter = max(right - left, top - bottom) / 34  # height of text
    parts = [_from_above(points, colours, left, bottom, right, top), _grid(left, bottom, right, top)]
    for box, outline in sorted(zip(boxes, corners, strict=True), key=lambda pair: pair[0].top):
        label = html.escape(box.label)
        parts.append(
            f'<g class="box" data-box="{box.id}" data-label="{label}"><title>{label} {box.score or 0:.0%}</title>'
            f'<polygon class="b" points="{_points(outline)}"/>{_front(box)}</g>'
        )
    parts += _labels(boxes, letter)
    for number, (pose, focal) in enumerate(zip(cameras, session.focal, strict=True), 1):
        parts.append(_camera(pose, float(np.arctan(0.5 / focal)), number))
    view = f"{left:.3f} {-top:.3f} {right - left:.3f} {top - bottom:.3f}"
    title = f"plan, metres, scale {html.escape(str(session.scale))}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img" aria-label="{title}">'
        f"<style>{_STYLE}text{{font-size:{letter:.3f}px}}</style>{''.join(parts)}</svg>"
    )


def _from_above(points: Array, colours: NDArray[np.uint8], *sides: float) -> str:
    """Draw points from above, the highest last, without the ceiling."""
    left, bottom, right, top = sides
    cell = max(right - left, top - bottom) / _CELLS
    picture = np.zeros((int((top - bottom) / cell) + 1, int((right - left) / cell) + 1, 4), np.uint8)
    inside = (points[:, :2] > [left, bottom]).all(-1) & (points[:, :2] < [right, top]).all(-1)
    drawn = np.flatnonzero(inside & (points[:, 2] < _CEILING))
    drawn = drawn[np.argsort(points[drawn, 2], kind="stable")]
    rows, columns = ((top - points[drawn, 1]) / cell).astype(int), ((points[drawn, 0] - left) / cell).astype(int)
    picture[rows, columns, :3], picture[rows, columns, 3] = colours[drawn], 255
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    height, width = cell * picture.shape[0], cell * picture.shape[1]
    return (
        f'<image x="{left:.3f}" y="{-top:.3f}" width="{width:.3f}" height="{height:.3f}" opacity=".75" '
        f'href="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"/>'
    )


def _grid(left: float, bottom: float, right: float, top: float) -> str:
    """Draw a line a metre."""
    upright = [f"M{x} {-top:.3f}V{-bottom:.3f}" for x in range(int(np.ceil(left)), int(np.floor(right)) + 1)]
    level = [f"M{left:.3f} {-y}H{right:.3f}" for y in range(int(np.ceil(bottom)), int(np.floor(top)) + 1)]
    text = f'<text class="s" x="{left + 0.06:.3f}" y="{-bottom - 0.08:.3f}">grid: 1 m</text>'
    return f'<path class="g" d="{"".join(upright + level)}"/>{text}'


def _labels(boxes: tuple[Box, ...], letter: float) -> list[str]:
    """Draw the labels that do not overlap those of higher scores."""
    taken: list[tuple[float, float, float]] = []
    texts = []
    for box in sorted(boxes, key=lambda box: -(box.score or 0.0)):
        x, y, half = float(box.center[0]), -float(box.center[1]), 0.3 * letter * len(box.label)
        if all(abs(x - other) > half + width or abs(y - level) > 1.1 * letter for other, level, width in taken):
            taken.append((x, y, half))
            label = html.escape(box.label)
            texts.append(
                f'<text class="t" data-box="{box.id}" x="{x:.3f}" y="{y + 0.35 * letter:.3f}" pointer-events="none">'
                f"{label}</text>"
            )
    return texts


def _front(box: Box) -> str:
    if box.front is None:
        return ""
    start = box.center[:2] + box.front[:2] * 0.5 * box.size[0]
    end = start + box.front[:2] * 0.2
    return f'<path class="b" d="M{_points(start[None])}L{_points(end[None])}"/>'


def _camera(pose: Array, half: float, number: int) -> str:
    place, heading = pose[:2, 3], np.arctan2(pose[1, 2], pose[0, 2])
    rim = [place + 0.35 * np.array([np.cos(turn), np.sin(turn)]) for turn in (heading - half, heading + half)]
    outline = _points(np.stack([place, *rim]))
    below = place - 0.15 * np.array([np.cos(heading), np.sin(heading)])
    return (
        f'<polygon class="c" points="{outline}" opacity=".5"/>'
        f'<text class="t" x="{below[0]:.3f}" y="{-below[1] + 0.05:.3f}">{number}</text>'
    )


def _points(places: Array) -> str:
    return " ".join(f"{x:.3f},{-y:.3f}" for x, y in places)
