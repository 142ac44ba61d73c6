"""Pictures of scenes: photos, depth maps, and a plan with boxes and cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dollhouse.geometry import Array, back_project, transform_points
from dollhouse.scenes.drawing import SOFT, depth_bar, depth_colours, save_picture, stack, text_picture
from dollhouse.scenes.plan import DEFAULT_FOV, draw_plan
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view

_TILES = (560, 360, 320, 290, 230, 192)  #: width of a photo in rows of 1, 2, ... photos, pixels
_TALLEST = 420  #: height of a photo, pixels, at most
_MAX_POINTS = 60_000
_CEILING_CUT = 0.4  #: points higher than this above the camera would hide the room, metres


def draw_scene(scene: Scene, out: Path, *, views: int = 8) -> None:
    """Draw at most ``views`` evenly spaced views, their depth, and the floor plan; write to ``out`` atomically.

    The suffix of ``out`` gives the format: png, jpg, pdf or webp. Raises StorageError where it cannot be written, and
    SceneError where a view cannot be read.
    """
    shown = scene.sample_views(views).views
    images = [preprocess_view(view, 392) for view in shown]
    poses = [view.world_from_camera for view in shown]
    posed = [(pose, image) for pose, image in zip(poses, images, strict=True) if pose is not None]
    count = f"{len(scene.views)} view{'s'[: len(scene.views) != 1]}"
    parts = [scene.name, count if len(shown) == len(scene.views) else f"{count}, {len(shown)} shown"]
    if scene.boxes is None:
        parts.append("no objects are annotated")
    else:
        parts.append(f"{len(scene.boxes)} object{'s'[: len(scene.boxes) != 1]}")
    titles = [f"view {index}: {view.name}" for index, view in enumerate(shown, 1)]
    depths = {"depth in metres" if scene.metric else "depth, relative scale": [image.depth for image in images]}
    panels = [draw_views([image.image for image in images], titles, depths)]
    if scene.boxes or posed:
        points, colours = (None, None) if scene.boxes else _coloured_points(posed)
        cameras, floor = [pose for pose, _ in posed], scene.metadata.get("floor")
        fovs = [_horizontal_fov(image) for _, image in posed]
        side = plan_side(panels[0])
        panels.append(
            draw_plan(scene.boxes or (), cameras, floor, fovs=fovs, points=points, point_colours=colours, side=side)
        )
    else:
        parts.append("no camera poses, so no plan")
    save_page("  ·  ".join(parts), [stack(panels, 24, down=False)], out)


def plan_side(photos: Image.Image) -> int:
    """Return the side of a plan beside photos, pixels."""
    return min(max(640, photos.height), 800)


def save_page(title: str, parts: Sequence[Image.Image], out: Path) -> None:
    """Write pictures one below the other under a title. Raises StorageError."""
    heading = text_picture(title, 18, max(part.width for part in parts))
    save_picture(ImageOps.expand(stack([heading, *parts], 12, down=True), 14, "white"), out)


def draw_views(
    images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    depths: Mapping[str, Sequence[Array | None]],
    *,
    columns: int | None = None,
    tile: int | None = None,
) -> Image.Image:
    """Draw photos (H, W, 3) in rows, their depth maps below them, and the scale of depth.

    Args:
        depths: bands of depth maps (H, W), 0 where unknown, by names that stand above them. The scale spans the 2nd to
            98th percentile of the last band.
        columns, tile: photos in a row, and the width of each in pixels; None: four at most, six of more than eight.
    """
    columns = columns or -(-len(images) // -(-len(images) // (4 if len(images) <= 8 else 6)))
    tile = tile or _TILES[columns - 1]
    tall = min(_TALLEST, round(tile * max(image.shape[0] / image.shape[1] for image in images)))
    bands = {name: maps for name, maps in depths.items() if any(depth is not None for depth in maps)}
    near, far = _depth_range(list(bands.values())[-1]) if bands else (0.0, 1.0)

    def fit(picture: NDArray[np.uint8] | None, upwards: float) -> Image.Image:
        if picture is None:
            return Image.new("RGB", (tile, tall), "white")
        return ImageOps.pad(Image.fromarray(picture), (tile, tall), Image.Resampling.BICUBIC, "white", (0.0, upwards))

    rows: list[Image.Image] = []
    for start in range(0, len(images), columns):
        part = slice(start, start + columns)
        cells = [
            stack([text_picture(title, 13, tile, single=True), fit(image, 1.0)], 2, down=True)
            for image, title in zip(images[part], titles[part], strict=True)
        ]
        rows.append(stack(cells, down=False))
        for name, maps in bands.items():
            rows.append(text_picture(name, 13, columns * tile, colour=SOFT, single=True))
            coloured = (None if depth is None else depth_colours(depth, near, far) for depth in maps[part])
            rows.append(stack([fit(colours, 0.0) for colours in coloured], down=False))
    if bands:
        rows.append(depth_bar(near, far, min(rows[0].width, 420)))
    return stack(rows, 6, down=True)


def _depth_range(depths: Sequence[Array | None]) -> tuple[float, float]:
    """Compute the limits of a colour scale for known depths."""
    known = np.concatenate([depth[depth > 0] for depth in depths if depth is not None])
    near, far = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    return float(near), max(float(far), float(near) + 0.01)


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
    low, high = np.percentile(cloud[:, :2], [0.5, 99.5], axis=0)  # outliers would shrink the room in the picture
    inliers = ((cloud[:, :2] >= low) & (cloud[:, :2] <= high)).all(1)
    return cloud[inliers], tint[inliers]
