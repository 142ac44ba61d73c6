"""Pictures of scenes: the views, their depth, and a plan from above with boxes and cameras.

``draw_plan`` and ``draw_depth`` draw on any matplotlib axes, so reports can show a truth beside a prediction.
Knows nothing of models. No pyplot, hence no global state: safe in servers and threads.
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
from numpy.typing import NDArray

from dollhouse.errors import StorageError
from dollhouse.geometry import Array, back_project, level_from_world, transform_points
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view
from dollhouse.system.atomic_io import atomic_path

INK = "#2b2b33"
CAMERA = "#c2410c"
FLOOR = "#f6f2ea"
DEFAULT_BOX = "#9aa7b8"
DEFAULT_FOV = np.radians(60.0)  #: drawn where a view's intrinsics are unknown
_HALO = [patheffects.withStroke(linewidth=2.2, foreground="white", alpha=0.85)]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
_TILE = 2.0  # inches across a view
_MAX_POINTS = 60_000
_ARROW = 0.22  # metres that a front's arrow reaches out of its box
_CEILING_CUT = 0.4  # metres above a camera; what is higher would hide the room


def draw_scene(scene: Scene, out: Path, *, views: int = 8) -> None:
    """Writes a picture of the scene to ``out`` (its suffix says the kind: png, jpg, pdf, svg, webp).

    Shows at most ``views`` views spread over the scene, depth in metres under each where there is depth, and the
    plan. The file appears whole or not at all. Raises StorageError where it cannot be written, SceneError from
    views that cannot be read.
    """
    shown = scene.sample_views(views).views
    frames = [preprocess_view(view, width=252) for view in shown]
    depths = [frame.depth[frame.depth > 0] for frame in frames if frame.depth is not None]
    bands = 2 if depths else 1  # a row of photos, and one of depth under it
    columns = min(len(shown), 2 if len(shown) <= 4 else 4)
    rows = -(-len(shown) // columns)
    tallest = max(frame.image.shape[0] / frame.image.shape[1] for frame in frames)
    height = rows * (bands * _TILE * tallest + 0.3) + 0.5
    left, right = columns * _TILE + (0.9 if depths else 0.1), 3.2
    if _has_plan(scene, shown):
        height = max(4.6, height)
        right = min(7.0, height)

    figure = Figure(figsize=(left + right, height), dpi=110, layout="constrained")
    figure.suptitle(_title(scene, len(shown)), color=INK, fontsize=11)
    parts: Any = figure.subfigures(1, 2, width_ratios=[left, right])
    grid: NDArray[Any] = parts[0].subplots(rows * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    near, far = _depth_range(depths)
    drawn: AxesImage | None = None
    for index, (view, frame) in enumerate(zip(shown, frames, strict=True)):
        row, column = divmod(index, columns)
        draw_image(grid[row * bands, column], frame.image, f"view {index + 1}: {view.name}")
        grid[row * bands, column].set_anchor("S")
        if frame.depth is not None:
            drawn = draw_depth(grid[row * bands + 1, column], frame.depth, near=near, far=far)
            grid[row * bands + 1, column].set_anchor("N")
    if drawn is not None:
        label = "depth in metres" if scene.metric else "depth in units of its own"
        bar = parts[0].colorbar(drawn, ax=grid, shrink=0.5, aspect=30, pad=0.01)
        bar.set_label(label, fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=INK)
    _draw_plan_panel(parts[1].subplots(), scene, shown, frames)
    save_figure(figure, out)


def draw_image(axes: Axes, image: NDArray[np.uint8], title: str = "") -> None:
    """A photo (H, W, 3) without axes."""
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(title, fontsize=7, color=INK, pad=2)
    axes.axis("off")


def draw_depth(
    axes: Axes, depth: Array, *, near: float | None = None, far: float | None = None, title: str = ""
) -> AxesImage:
    """A depth map (H, W) in metres, pale grey where unknown (0). Returns the image, for a colour bar.

    ``near`` and ``far`` are the ends of the colour scale; None: the map's own 2nd and 98th percentiles.
    """
    known = depth > 0
    own_near, own_far = _depth_range([depth[known]])
    near, far = own_near if near is None else near, own_far if far is None else far
    axes.set_facecolor("#e4e4e4")
    drawn = axes.imshow(np.ma.masked_where(~known, depth), cmap="turbo_r", vmin=near, vmax=far)
    axes.set_title(title, fontsize=7, color=INK, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.axis("on")
    for spine in axes.spines.values():
        spine.set_visible(False)
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
    """The scene from above, in metres, x to the right and y up the page.

    ``cameras`` are ``world_from_camera`` (4, 4), numbered from 1 as drawn; ``fovs`` their horizontal fields of view
    in radians. ``floor`` (N, 2 or 3) is the outline of the floor. Boxes are filled with their colour word, and
    where they have a front an arrow points there; ``outline`` draws them hollow in that colour instead (predictions
    over truth). ``points`` (N, 3) with ``point_colours`` (N, 3 in [0, 1]) are sprinkled under everything.
    """
    if floor is not None:
        axes.add_patch(Polygon(np.asarray(floor)[:, :2], closed=True, facecolor=FLOOR, edgecolor=INK, linewidth=1.6))
    if points is not None and len(points):
        upward = np.argsort(points[:, 2])  # what is higher hides what is lower
        colours = None if point_colours is None else point_colours[upward]
        x, y = points[upward, 0], points[upward, 1]
        axes.scatter(x, y, s=2.5, c=colours, linewidths=0, alpha=0.8, zorder=1, rasterized=True)
    for box in sorted(boxes, key=lambda box: box.top):
        _draw_box(axes, box, outline)
    for index, world_from_camera in enumerate(cameras):
        _draw_camera(axes, world_from_camera, fovs[index] if fovs else DEFAULT_FOV)
    for numbers, place in _standpoints(cameras):
        style: dict[str, Any] = {"fontsize": 7, "color": CAMERA, "ha": "center", "va": "center", "path_effects": _HALO}
        axes.annotate(numbers, (place[0], place[1]), xytext=(0, -9), textcoords="offset points", zorder=50, **style)
    axes.set_aspect("equal", adjustable="box")
    axes.autoscale_view()
    axes.margins(0.04)
    axes.set_xlabel("x (m)", fontsize=8, color=INK)
    axes.set_ylabel("y (m)", fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_axisbelow(True)
    axes.grid(color="#d9d9df", linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_color("#d9d9df")
    axes.set_title(title, fontsize=9, color=INK)


def save_figure(figure: Figure, out: Path) -> None:
    """Writes the figure under a temporary name, then renames it. Raises StorageError."""
    out = Path(out)
    if out.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{out}: pictures are written as {', '.join(_SUFFIXES)}; give a name that ends in one")
    with atomic_path(out) as unfinished:
        figure.savefig(unfinished, format=out.suffix.lower().lstrip("."), facecolor="white")


def _depth_range(depths: Sequence[Array]) -> tuple[float, float]:
    """Where a colour scale for these known depths should start and end."""
    known = np.concatenate(depths) if depths else np.empty(0)
    if not known.size:
        return 0.0, 1.0
    near, far = np.percentile(known, [2, 98])
    return float(near), float(far)


def _has_plan(scene: Scene, shown: Sequence[View]) -> bool:
    return bool(scene.boxes) or any(view.world_from_camera is not None for view in shown)


def _title(scene: Scene, shown: int) -> str:
    views = f"{len(scene.views)} view{'s' if len(scene.views) != 1 else ''}"
    parts = [scene.name, views if shown == len(scene.views) else f"{views}, {shown} shown"]
    if scene.boxes is not None:
        parts.append(f"{len(scene.boxes)} object{'s' if len(scene.boxes) != 1 else ''}")
    return "  ·  ".join(parts)


def _draw_plan_panel(axes: Axes, scene: Scene, shown: Sequence[View], frames: Sequence[PreprocessedView]) -> None:
    posed = [(view.world_from_camera, frame) for view, frame in zip(shown, frames, strict=True)]
    cameras = [(pose, frame) for pose, frame in posed if pose is not None]
    if not _has_plan(scene, shown):
        axes.axis("off")
        reason = "No plan: these photos carry no camera poses,\nand no objects are marked in them."
        axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=10, color=INK, transform=axes.transAxes)
        return
    points, colours = (None, None) if scene.boxes else _seen_points(cameras)
    draw_plan(
        axes,
        scene.boxes or (),
        [pose for pose, _ in cameras],
        scene.metadata.get("floor"),
        fovs=[_horizontal_fov(frame) for _, frame in cameras],
        points=points,
        point_colours=colours,
        title="seen from above" if scene.boxes else "seen from above (no objects are marked in this scene)",
    )


def _horizontal_fov(frame: PreprocessedView) -> float:
    if frame.intrinsics is None:
        return float(DEFAULT_FOV)
    return float(2 * np.arctan(0.5 * frame.image.shape[1] / frame.intrinsics[0, 0]))


def _seen_points(cameras: Sequence[tuple[Array, PreprocessedView]]) -> tuple[Array | None, Array | None]:
    """World points (N, 3) that the depth maps saw below the ceiling, and their colours (N, 3) in [0, 1]."""
    points, colours = [], []
    for world_from_camera, frame in cameras:
        if frame.depth is None or frame.intrinsics is None:
            continue
        seen = transform_points(world_from_camera, back_project(frame.depth, frame.intrinsics))
        kept = (frame.depth > 0) & (seen[..., 2] < world_from_camera[2, 3] + _CEILING_CUT)
        points.append(seen[kept])
        colours.append(frame.image[kept] / 255.0)
    if not points:
        return None, None
    cloud, tint = np.concatenate(points), np.concatenate(colours)
    every = max(1, -(-len(cloud) // _MAX_POINTS))
    cloud, tint = cloud[::every], tint[::every]
    if len(cloud):  # a few stray points would shrink the room on the page
        low, high = np.percentile(cloud[:, :2], [0.5, 99.5], axis=0)
        kept = ((cloud[:, :2] >= low) & (cloud[:, :2] <= high)).all(1)
        cloud, tint = cloud[kept], tint[kept]
    return cloud, tint


def _draw_box(axes: Axes, box: Box, outline: str | None) -> None:
    corners = box.corners[4:, :2]
    fill = (*_box_colour(box.colour), 0.9)
    edge = outline or INK
    style: dict[str, Any] = {"facecolor": "none", "linestyle": "--"} if outline else {"facecolor": fill}
    # Higher objects lie over lower ones: a lamp on a table is seen on the table.
    layer = 5 + 0.1 * min(box.top, 5.0)
    axes.add_patch(Polygon(corners, closed=True, edgecolor=edge, linewidth=1.0, zorder=layer, **style))
    front = box.front
    if front is not None:
        start = box.center[:2] + front[:2] * 0.5 * box.size[0]
        end = start + front[:2] * _ARROW
        arrow = {"arrowstyle": "-|>", "color": edge, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=arrow, zorder=layer)
    words: dict[str, Any] = {"fontsize": 6.5, "ha": "center", "va": "center", "path_effects": _HALO}
    axes.text(box.center[0], box.center[1], box.label, color=outline or INK, zorder=20, **words)


def _box_colour(word: str | None) -> tuple[float, float, float]:
    """RGB in [0, 1] of a colour word; "light blue" and "lightblue" are the same; grey-blue where unknown."""
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


def _standpoints(cameras: Sequence[Array]) -> list[tuple[str, Array]]:
    """Numbers of the cameras that stand together ("1, 2, 3"), and where (2,): one label a place."""
    places: list[tuple[list[int], Array]] = []
    for number, pose in enumerate(cameras, 1):
        position = pose[:2, 3]
        for numbers, place in places:
            if np.linalg.norm(place - position) < 0.15:
                numbers.append(number)
                break
        else:
            places.append(([number], position))
    return [(", ".join(map(str, numbers)), place) for numbers, place in places]
