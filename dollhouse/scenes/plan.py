"""The plan of a scene: boxes, cameras and points from above, with labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageColor, ImageDraw

from dollhouse.geometry import Array, level_from_world
from dollhouse.scenes.drawing import INK, LINE, SOFT, font, ticks
from dollhouse.scenes.scene import Box
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.system.text import one_line

CAMERA, CAMERA_TEXT = "#c2410c", "#8a2c07"
PREDICTED = "#d6249f"  #: outline of predictions over annotations; no furniture has this colour
FLOOR = "#f6f2ea"
DEFAULT_BOX = "#9aa7b8"
DEFAULT_FOV = float(np.radians(60.0))  #: drawn where a view's intrinsics are unknown
_SMOOTH = 2  #: lines and areas are drawn this much larger, then reduced
_LEFT, _TOP, _BOTTOM = 44, 22, 22  #: margins for the axes, pixels
_DOT = 2  #: from a point's middle to its sides, before reduction, pixels
_ARROW = 0.22  #: length of a front's arrow outside its box, metres
_WEDGES = ((0.9, 26), (0.3, 140))  #: radius of a camera's field of view in metres, and opacity of 255
_TEXT = 12  #: height of labels, pixels
#: places of a label's middle around its object, nearest first, pixels
_PLACES = np.stack(np.meshgrid(np.arange(-240, 241, 8.0), np.arange(-162, 163, 6.0)), -1).reshape(-1, 2)
_PLACES = _PLACES[np.argsort(np.hypot(0.5 * _PLACES[:, 0], _PLACES[:, 1]), kind="stable")]


def draw_plan(
    boxes: Sequence[Box],
    cameras: Sequence[Array],
    floor: Array | None = None,
    *,
    predicted: Sequence[Box] = (),
    fovs: Sequence[float] | None = None,
    points: Array | None = None,
    point_colours: Array | None = None,
    side: int = 640,
) -> Image.Image:
    """Draw a scene from above, in metres, x to the right and y up.

    Args:
        boxes: filled with their colour, with an arrow to the front; ``predicted`` ones are dashed outlines.
        cameras: ``world_from_camera`` (4, 4), numbered from 1, with horizontal fields of view ``fovs`` in radians.
        floor: outline of the floor (N, 2 or 3).
        points: (N, 3), coloured by ``point_colours`` (N, 3) in [0, 1], below everything else.
        side: of the square picture, pixels.
    """
    outline = np.empty((0, 2)) if floor is None else np.asarray(floor)[:, :2]
    cloud = np.empty((0, 3)) if points is None else points
    positions = [pose[:2, 3] for pose in cameras]
    reach = [pose[:2, 3] + np.stack([np.zeros(2), _WEDGES[0][0] * _ahead(pose)]) for pose in cameras]
    corners = [box.corners[4:, :2] for box in (*boxes, *predicted)]
    canvas = Canvas(np.concatenate([outline, cloud[:, :2], *corners, *reach]), side)
    if len(outline):
        canvas.area(outline, FLOOR)
    canvas.grid()
    if len(outline):
        canvas.line([*outline, *outline[:2]], INK, 2)
    if len(cloud):
        canvas.points(cloud, point_colours)
    for box in sorted(boxes, key=lambda box: box.top):  # higher objects over lower ones: a lamp over its table
        canvas.area(box.corners[4:, :2], (*_box_colour(box.colour), 230))
        canvas.line(box.corners[[4, 5, 6, 7, 4, 5], :2], INK, 1.3)
        canvas.arrow(box, INK)
    for box in predicted:
        for start, end in zip(box.corners[4:, :2], box.corners[[5, 6, 7, 4], :2], strict=True):
            canvas.dashes(start, end, PREDICTED)
        canvas.arrow(box, PREDICTED)
    for pose, fov in zip(cameras, fovs or [DEFAULT_FOV] * len(cameras), strict=True):
        canvas.camera(pose, fov)
    labels = [(text, place, CAMERA_TEXT) for text, place in _camera_labels(cameras)]
    labels += [(box.label, box.center[:2], PREDICTED) for box in predicted if box.label]
    labels += [(box.label, box.center[:2], INK) for box in sorted(boxes, key=lambda box: -box.top) if box.label]
    return canvas.finish(labels, positions)


class Canvas:
    """A square seen from above, drawn enlarged so that edges are smooth once it is reduced; places are in metres."""

    def __init__(self, extent: Array, side: int) -> None:
        """Show the places ``extent`` (N, 2), those that are finite, in a picture of ``side`` pixels with axes."""
        known = extent[np.isfinite(extent).all(1)]
        low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2), np.ones(2))
        self.side = side
        self.frame = np.array([side - _LEFT - 2, side - _TOP - _BOTTOM])
        self.scale = float((self.frame / np.maximum(1.08 * (high - low), 0.1)).min())  #: pixels a metre
        self.low = (low + high) / 2 - self.frame / self.scale / 2
        self.high = self.low + self.frame / self.scale
        self.ticks = [ticks(float(self.low[axis]), float(self.high[axis]), 8) for axis in (0, 1)]
        self.image = Image.new("RGB", (int(_SMOOTH * self.frame[0]), int(_SMOOTH * self.frame[1])), "white")
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def at(self, places: ArrayLike) -> Array:
        """Convert places (..., 2) to pixels (..., 2) from the upper left corner of the frame, before enlarging."""
        return np.asarray((np.asarray(places) - self.low) * (self.scale, -self.scale) + (0, self.frame[1]))

    def line(self, places: ArrayLike, colour: str, width: float) -> None:
        self._draw.line(self._pixels(places), colour, round(_SMOOTH * width), "curve")

    def area(self, places: ArrayLike, colour: str | tuple[int, ...]) -> None:
        self._draw.polygon(self._pixels(places), colour)

    def grid(self) -> None:
        for axis, values in enumerate(self.ticks):
            for value in values:
                ends = np.stack([self.low, self.high])
                ends[:, axis] = value
                self.line(ends, LINE, 1)

    def dashes(self, start: Array, end: Array, colour: str) -> None:
        count = max(1, min(500, round(float(np.linalg.norm(end - start)) * self.scale / 12)))
        places = np.linspace(start, end, 2 * count + 2)
        for dash in zip(places[::2], places[1::2], strict=True):
            self.line(dash, colour, 1.6)

    def arrow(self, box: Box, colour: str) -> None:
        """Draw an arrow from the middle of a box's front side, where it has a front."""
        if box.front is None:
            return
        front = box.front[:2]
        start = box.center[:2] + 0.5 * box.size[0] * front
        tip = start + _ARROW * front
        back, aside = tip - 9 / self.scale * front, 3.5 / self.scale * front[::-1] * (-1, 1)
        self.line([start, back], colour, 1.3)
        self.area([tip, back + aside, back - aside], colour)

    def camera(self, world_from_camera: Array, fov: float) -> None:
        x, y = self._pixels(world_from_camera[:2, 3][None])[0]
        ahead = _ahead(world_from_camera)
        heading, half = -np.degrees(np.arctan2(ahead[1], ahead[0])), np.degrees(fov) / 2  # clockwise in pixels
        for radius, opacity in _WEDGES:
            r = _SMOOTH * self.scale * radius
            colour = (*ImageColor.getrgb(CAMERA), opacity)
            self._draw.pieslice((x - r, y - r, x + r, y + r), float(heading - half), float(heading + half), colour)
        self._draw.circle((x, y), 4 * _SMOOTH, CAMERA, "white", _SMOOTH)

    def points(self, points: Array, colours: Array | None) -> None:
        """Draw points (N, 3) as squares; higher ones occlude lower ones."""
        upward = np.argsort(points[:, 2], kind="stable")
        pixels = np.nan_to_num(_SMOOTH * self.at(points[upward, :2])).clip(0, 1e6).astype(np.int32)
        inside = ((pixels >= _DOT) & (pixels < np.array(self.image.size) - _DOT)).all(1)
        x, y = pixels[inside].T[..., None, None]
        dot = np.arange(-_DOT, _DOT + 1, dtype=np.int32)
        places = (y + dot[:, None]) * self.image.width + x + dot  # (N, rows, columns)
        tints = np.full(points.shape, 0.5) if colours is None else colours[upward]
        colour = (50 + 205 * tints[inside]).astype(np.uint8)
        shown = np.array(self.image)
        shown.reshape(-1, 3)[places.ravel()] = np.repeat(colour, len(dot) ** 2, 0)  # the last one stays
        self.image.paste(Image.fromarray(shown))

    def finish(self, labels: Sequence[tuple[str, Array, str]], dots: Sequence[Array]) -> Image.Image:
        """Return the picture with axes and labels (text, place, colour), which keep off ``dots`` and each other."""
        texts = [one_line(text, 40) for text, _, _ in labels]
        anchors = [self.at(place) for _, place, _ in labels]
        middles = place_labels(texts, anchors, self.frame, [self.at(dot) for dot in dots])
        for text, anchor, middle, (_, _, colour) in zip(texts, anchors, middles, labels, strict=True):
            near = anchor.clip(middle - _half_size(text), middle + _half_size(text))
            if np.linalg.norm(near - anchor) > _TEXT:
                start, end = (tuple((_SMOOTH * place).tolist()) for place in (anchor, near))
                self._draw.line([start, end], colour, _SMOOTH)
                self._draw.circle(start, 2 * _SMOOTH, colour)
        picture = Image.new("RGB", (self.side, self.side), "white")
        picture.paste(self.image.reduce(_SMOOTH), (_LEFT, _TOP))
        draw, face = ImageDraw.Draw(picture), font(_TEXT)
        right, bottom = _LEFT + int(self.frame[0]) - 1, _TOP + int(self.frame[1]) - 1
        draw.rectangle((_LEFT, _TOP, right, bottom), outline=LINE)
        for text, middle, (_, _, colour) in zip(texts, middles, labels, strict=True):
            where = middle[0] + _LEFT, middle[1] + _TOP
            draw.text(where, text, colour, face, "mm", stroke_width=2, stroke_fill="white")
        for x in self.ticks[0]:
            draw.text((_LEFT + self.at((x, 0))[0], self.side - 6), f"{x:g}", INK, face, "ms")
        for y in self.ticks[1]:
            draw.text((_LEFT - 6, _TOP + self.at((0, y))[1]), f"{y:g}", INK, face, "rm")
        draw.text((_LEFT, 14), "from above, metres: x to the right, y up", SOFT, face, "ls")
        return picture

    def _pixels(self, places: ArrayLike) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (_SMOOTH * self.at(places)).tolist()]


def place_labels(texts: Sequence[str], anchors: Sequence[Array], frame: Array, dots: Sequence[Array]) -> list[Array]:
    """Return middles (2,) of texts, in pixels, near their anchors: in the frame, and off dots and each other.

    A text that fits nowhere near stays at its anchor.
    """
    placed = [(dot, np.full(2, 5.0)) for dot in dots]  # middle and half of the size
    for text, anchor in zip(texts, anchors, strict=True):
        half = _half_size(text)
        middles = anchor + _PLACES
        free = ((middles >= half) & (middles <= frame - half)).all(1)
        for middle, size in placed:
            free &= (np.abs(middles - middle) >= half + size).any(1)
        placed.append((middles[free.argmax()], half))
    return [middle for middle, _ in placed[len(dots) :]]


def _half_size(text: str) -> Array:
    """Return half of a label's width and height, pixels."""
    return np.array([font(_TEXT).getlength(text) / 2 + 2, 0.6 * _TEXT + 1])


def _ahead(world_from_camera: Array) -> Array:
    """Return the horizontal unit vector (2,) of a camera's direction: the level frame's y axis."""
    return level_from_world(world_from_camera)[1, :2]


def _box_colour(word: str | None) -> tuple[int, ...]:
    """Look up RGB of a colour word such as "light blue"; grey-blue where unknown."""
    for name in (word, word.replace(" ", ""), word.split()[-1]) if word and word.strip() else ():
        if name in COLOURS:
            return tuple(round(255 * share) for share in COLOURS[name])
        if name in ImageColor.colormap:
            return ImageColor.getrgb(name)[:3]
    return ImageColor.getrgb(DEFAULT_BOX)[:3]


def _camera_labels(cameras: Sequence[Array]) -> list[tuple[str, Array]]:
    """Merge the numbers of cameras at one place into one label ("1, 2, 3") with its position (2,)."""
    places: list[tuple[list[str], Array]] = []
    for number, pose in enumerate(cameras, 1):
        position = pose[:2, 3]
        near = [numbers for numbers, place in places if np.linalg.norm(place - position) < 0.15]
        if near:
            near[0].append(str(number))
        else:
            places.append(([str(number)], position))
    return [(", ".join(numbers), place) for numbers, place in places]
