"""Figures of scenes: views, depth maps, and a floor plan with boxes and cameras.

``draw_plan``, ``draw_depth`` and ``draw_image`` draw on any matplotlib axes. Nothing uses pyplot's global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Polygon, Wedge
from matplotlib.text import Text
from numpy.typing import NDArray

from dollhouse.errors import StorageError
from dollhouse.geometry import Array, back_project, level_from_world, transform_points
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view
from dollhouse.system.atomic_io import atomic_path

INK = "#2b2b33"
CAMERA = "#c2410c"
FLOOR = "#f6f2ea"
DEFAULT_BOX = "#9aa7b8"
DEFAULT_FOV = float(np.radians(60.0))  #: drawn where a view's intrinsics are unknown
_HALO = [patheffects.withStroke(linewidth=2.2, foreground="white", alpha=0.85)]
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "path_effects": _HALO}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
_TILE = 2.0  # width of a view, inches
_MAX_POINTS = 60_000
_ARROW = 0.22  # length of a front's arrow outside its box, metres
_CEILING_CUT = 0.4  # points higher than this above the camera would hide the room, metres


def draw_scene(scene: Scene, out: Path, *, views: int = 8) -> None:
    """Draw at most ``views`` evenly spaced views, their depth, and the floor plan; write to ``out`` atomically.

    The suffix of ``out`` gives the format: png, jpg, pdf, svg or webp. Raises StorageError where it cannot be written,
    and SceneError where a view cannot be read.
    """
    shown = scene.sample_views(views).views
    images = [preprocess_view(view, 252) for view in shown]
    bands = 1 + any(image.depth is not None for image in images)  # a row of photos, and a row of depth below it
    columns = min(len(shown), 2 if len(shown) <= 4 else 4)
    rows = -(-len(shown) // columns)
    tallest = max(image.image.shape[0] / image.image.shape[1] for image in images)
    height = rows * (bands * _TILE * tallest + 0.3) + 0.5
    left, right = columns * _TILE + (0.9 if bands == 2 else 0.1), 3.2
    poses = [view.world_from_camera for view in shown]
    posed = [(pose, image) for pose, image in zip(poses, images, strict=True) if pose is not None]
    if scene.boxes or posed:
        height = max(4.6, height)
        right = min(7.0, height)
    figure = Figure(figsize=(left + right, height), dpi=110, layout="constrained")
    count = f"{len(scene.views)} view{'s'[: len(scene.views) != 1]}"
    parts = [scene.name, count if len(shown) == len(scene.views) else f"{count}, {len(shown)} shown"]
    parts += [] if scene.boxes is None else [f"{len(scene.boxes)} object{'s'[: len(scene.boxes) != 1]}"]
    figure.suptitle("  ·  ".join(parts), color=INK, fontsize=11)
    sides: Any = figure.subfigures(1, 2, width_ratios=[left, right])
    titles = [f"view {index}: {view.name}" for index, view in enumerate(shown, 1)]
    label = "depth in metres" if scene.metric else "depth, relative scale"
    draw_views(sides[0], [image.image for image in images], titles, [image.depth for image in images], columns, label)
    _draw_plan_panel(sides[1].subplots(), scene, posed)
    save_figure(figure, out)


def draw_views(
    figure: Any,
    images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    depths: Sequence[Array | None],
    columns: int,
    label: str,
    **bar_options: Any,
) -> None:
    """Draw photos in rows of ``columns`` on a (sub)figure, each above its depth map, with one colour bar."""
    known = [depth[depth > 0] for depth in depths if depth is not None]
    bands = 2 if known else 1
    grid: NDArray[Any] = figure.subplots(-(-len(images) // columns) * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    near, far = _depth_range(known)
    drawn: AxesImage | None = None
    for index, (image, title, depth) in enumerate(zip(images, titles, depths, strict=True)):
        row, column = divmod(index, columns)
        draw_image(photo := grid[row * bands, column], image, title)
        photo.set_anchor("S")
        if depth is not None:
            drawn = draw_depth(grid[row * bands + 1, column], depth, near=near, far=far)
            grid[row * bands + 1, column].set_anchor("N")
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid, shrink=0.5, aspect=30, pad=0.01, **bar_options)
        bar.set_label(label, fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=INK)
        bar.outline.set_visible(False)


def draw_image(axes: Axes, image: NDArray[np.uint8], title: str = "") -> None:
    """Draw a photo (H, W, 3) without axes."""
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(title, fontsize=7, color=INK, pad=2)
    axes.axis("off")


def draw_depth(
    axes: Axes, depth: Array, *, near: float | None = None, far: float | None = None, title: str = ""
) -> AxesImage:
    """Draw a depth map (H, W), pale grey where unknown (0), and return the image for a colour bar.

    ``near`` and ``far`` are the limits of the colour scale; None: the map's 2nd and 98th percentiles.
    """
    known = depth > 0
    own_near, own_far = _depth_range([depth[known]])
    near, far = own_near if near is None else near, own_far if far is None else far
    axes.set_facecolor("#e4e4e4")
    drawn = axes.imshow(np.ma.masked_where(~known, depth), cmap="turbo_r", vmin=near, vmax=far)
    axes.set_title(title, fontsize=7, color=INK, pad=2)
    axes.axis("on")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return drawn


def draw_plan(
    axes: Axes,
    boxes: Sequence[Box],
    cameras: Sequence[Array],
    floor: Array | None = None,
    *,
    fovs: Sequence[float] | None = None,
    points: Array | None = None,
    point_colours: Array | None = None,
    outline: str | None = None,
    title: str = "",
) -> None:
    """Draw a scene from above, in metres, x to the right and y up.

    Boxes have their colour, or are hollow in the colour ``outline`` (predictions over annotations), with an arrow to
    the front. ``cameras`` are ``world_from_camera`` (4, 4), numbered from 1, with horizontal fields of view ``fovs`` in
    radians. ``floor`` (N, 2 or 3) is the floor's outline; ``points`` (N, 3), coloured by ``point_colours`` (N, 3) in
    [0, 1], lie below everything else.
    """
    if floor is not None:
        axes.add_patch(Polygon(np.asarray(floor)[:, :2], closed=True, facecolor=FLOOR, edgecolor=INK, linewidth=1.6))
    if points is not None and len(points):
        upward = np.argsort(points[:, 2])  # higher points occlude lower ones
        colours = None if point_colours is None else point_colours[upward]
        x, y = points[upward, 0], points[upward, 1]
        axes.scatter(x, y, s=2.5, c=colours, linewidths=0, alpha=0.8, zorder=1, rasterized=True)
    for box in sorted(boxes, key=lambda box: box.top):
        _draw_box(axes, box, outline)
    for index, world_from_camera in enumerate(cameras):
        _draw_camera(axes, world_from_camera, fovs[index] if fovs else DEFAULT_FOV)
    for numbers, (x, y) in _camera_labels(cameras):
        offset: dict[str, Any] = {"xytext": (0, -9), "textcoords": "offset points"}
        axes.annotate(numbers, (x, y), fontsize=7, color=CAMERA, zorder=50, **offset, **_CENTRED)
    axes.set_aspect("equal", adjustable="box")
    axes.autoscale_view()
    axes.margins(0.04)
    axes.set_xlabel("x (m)", fontsize=8, color=INK)
    axes.set_ylabel("y (m)", fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_axisbelow(True)
    axes.grid(color="#d9d9df", linewidth=0.5)
    axes.spines[:].set_color("#d9d9df")
    axes.set_title(title, fontsize=9, color=INK)


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure atomically; raises StorageError."""
    out = Path(out)
    if out.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{out}: figures are written as {', '.join(_SUFFIXES)}; give a name that ends in one")
    plain_text(figure)
    with atomic_path(out) as unfinished:
        figure.savefig(unfinished, format=out.suffix.lower().lstrip("."), facecolor="white")


def plain_text(figure: Figure) -> None:
    """Keep the "$" of names and questions from being read as formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def _depth_range(depths: Sequence[Array]) -> tuple[float, float]:
    """Compute the limits of a colour scale for known depths."""
    known = np.concatenate(depths) if depths else np.empty(0)
    if not known.size:
        return 0.0, 1.0
    near, far = np.percentile(known, [2, 98])
    return float(near), float(far)


def _draw_plan_panel(axes: Axes, scene: Scene, posed: Sequence[tuple[Array, PreprocessedView]]) -> None:
    if not scene.boxes and not posed:
        axes.axis("off")
        reason = "No plan: these photos have no camera poses,\nand no objects are annotated."
        axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=10, color=INK, transform=axes.transAxes)
        return
    points, colours = (None, None) if scene.boxes else _coloured_points(posed)
    fovs = [_horizontal_fov(image) for _, image in posed]
    title = "from above" if scene.boxes else "from above (no objects are annotated in this scene)"
    cameras, floor = [pose for pose, _ in posed], scene.metadata.get("floor")
    draw_plan(axes, scene.boxes or (), cameras, floor, fovs=fovs, points=points, point_colours=colours, title=title)


def _horizontal_fov(image: PreprocessedView) -> float:
    if image.intrinsics is None:
        return DEFAULT_FOV
    return float(2 * np.arctan(0.5 * image.image.shape[1] / image.intrinsics[0, 0]))


def _coloured_points(posed: Sequence[tuple[Array, PreprocessedView]]) -> tuple[Array | None, Array | None]:
    """Compute world points (N, 3) of the depth maps below the ceiling and their colours (N, 3) in [0, 1]."""
    points, colours = [np.empty((0, 3))], [np.empty((0, 3))]
    for world_from_camera, image in posed:
        if image.depth is not None and image.intrinsics is not None:
            world = transform_points(world_from_camera, back_project(image.depth, image.intrinsics))
            mask = (image.depth > 0) & (world[..., 2] < world_from_camera[2, 3] + _CEILING_CUT)
            points.append(world[mask])
            colours.append(image.image[mask] / 255.0)
    cloud, tint = np.concatenate(points), np.concatenate(colours)
    if not len(cloud):
        return None, None
    step = max(1, -(-len(cloud) // _MAX_POINTS))
    cloud, tint = cloud[::step], tint[::step]
    low, high = np.percentile(cloud[:, :2], [0.5, 99.5], axis=0)  # outliers would shrink the room in the figure
    inliers = ((cloud[:, :2] >= low) & (cloud[:, :2] <= high)).all(1)
    return cloud[inliers], tint[inliers]


def _draw_box(axes: Axes, box: Box, outline: str | None) -> None:
    edge = outline or INK
    fill = (*_box_colour(box.colour), 0.9)
    style: dict[str, Any] = {"facecolor": "none", "linestyle": "--"} if outline else {"facecolor": fill}
    layer = 5 + 0.1 * min(box.top, 5.0)  # higher objects over lower ones: a lamp over its table
    axes.add_patch(Polygon(box.corners[4:, :2], closed=True, edgecolor=edge, linewidth=1.0, zorder=layer, **style))
    front = box.front
    if front is not None:
        start = box.center[:2] + front[:2] * 0.5 * box.size[0]
        end = start + front[:2] * _ARROW
        arrow = {"arrowstyle": "-|>", "color": edge, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=arrow, zorder=layer)
    axes.text(box.center[0], box.center[1], box.label, color=edge, fontsize=6.5, zorder=20, **_CENTRED)


def _box_colour(word: str | None) -> tuple[float, float, float]:
    """Look up RGB in [0, 1] of a colour word such as "light blue"; grey-blue where unknown."""
    if word in COLOURS:
        return COLOURS[word]
    for name in (word.replace(" ", ""), f"xkcd:{word}", word.split()[-1]) if word else ():
        if is_color_like(name):
            return to_rgb(name)
    return to_rgb(DEFAULT_BOX)


def _draw_camera(axes: Axes, world_from_camera: Array, fov: float) -> None:
    x, y = world_from_camera[:2, 3]
    forward = level_from_world(world_from_camera)[1, :3]  # the level frame's y axis, in world coordinates
    heading, half = np.degrees(np.arctan2(forward[1], forward[0])), np.degrees(fov) / 2
    wedge = {"center": (x, y), "theta1": heading - half, "theta2": heading + half}
    axes.add_patch(Wedge(r=0.9, facecolor=CAMERA, alpha=0.10, zorder=30, linewidth=0, **wedge))
    axes.add_patch(Wedge(r=0.3, facecolor=CAMERA, alpha=0.55, zorder=31, edgecolor="white", linewidth=0.5, **wedge))
    axes.plot([x], [y], "o", markersize=3.5, color=CAMERA, markeredgecolor="white", markeredgewidth=0.5, zorder=32)


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
