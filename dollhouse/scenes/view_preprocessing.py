"""Preprocessing of views: photo, depth, instance ids and intrinsics on one grid of the model's input size.

The longer side becomes ``size``, the shorter the nearest multiple of the patch size. For images at least as wide as
high this is VGGT's ``load_and_preprocess_images(mode="crop")``; taller ones keep all rows, which VGGT cuts to a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, level_from_world, resize_intrinsics
from dollhouse.scenes.scene import Scene, View

PREPROCESSING_VERSION = 2  #: raise it whenever the grid or the resampling of a view changes
PATCH = 14  #: patch size of the encoder, pixels


@dataclass(frozen=True, eq=False)
class PreprocessedView:
    """A view on the model's grid: H and W are multiples of 14, and every map has the same pixels."""

    image: NDArray[np.uint8]  #: (H, W, 3) RGB
    depth: NDArray[np.float32] | None  #: (H, W) z-depth, 0 where unknown; None if the view has none
    instances: NDArray[np.int32] | None  #: (H, W) box ids; None if not annotated
    intrinsics: Array | None  #: (3, 3) in pixels of this grid; None if unknown


def grid_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return (height, width) of the model's grid for an image: the longer side is ``size``, both are whole patches."""
    scale = size / max(height, width)
    return _whole_patches(height * scale), _whole_patches(width * scale)


def preprocess_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize an RGB image (H, W, 3) bicubically to :func:`grid_shape`; unchanged where it has that shape."""
    shape = grid_shape(image.shape[0], image.shape[1], size)
    if image.shape[:2] == shape:
        return image
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))


def pixel_values(images: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.float32]:
    """Resize the photos of one scene, each (H, W, 3), to model inputs (1, V, 3, h, w) in [0, 1].

    Raises ValueError where the resized photos have different shapes.
    """
    resized = [preprocess_image(image, size) for image in images]
    if len({photo.shape for photo in resized}) > 1:
        shapes = ", ".join(str(photo.shape[:2]) for photo in resized)
        raise ValueError("the photos of one scene must have one shape: " + shapes)
    return np.stack(resized).transpose(0, 3, 1, 2)[None].astype(np.float32) / np.float32(255)


def preprocess_view(view: View, size: int = 126) -> PreprocessedView:
    """Resample a view to a longer side of ``size`` pixels, a multiple of 14.

    Colour is resampled bicubically, depth and instance ids by nearest neighbour. Where the view has both intrinsics,
    depth is looked up through the depth camera, so it is aligned with the colour pixels; pixels outside the depth
    camera's image are 0. Raises ValueError for other sizes, and SceneError where a file cannot be read.
    """
    if size < PATCH or size % PATCH:
        raise ValueError(f"size must be a multiple of {PATCH}, not {size}")
    image = view.image
    resized = preprocess_image(image, size)
    (old_height, old_width), (height, width) = image.shape[:2], resized.shape[:2]

    intrinsics = None
    if view.intrinsics is not None:
        intrinsics = resize_intrinsics(view.intrinsics, width / old_width, height / old_height)
    # Rows and columns of the grid as fractions of the whole image's height and width.
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width

    depth = view.depth
    if depth is not None and intrinsics is not None and view.depth_intrinsics is not None:
        depth = _look_up(depth, *_through_cameras(resized.shape[:2], intrinsics, view.depth_intrinsics))
    elif depth is not None:
        depth = _look_up(depth, rows * depth.shape[0], columns * depth.shape[1])
    instances = view.instances
    if instances is not None:
        instances = _look_up(instances, rows * instances.shape[0], columns * instances.shape[1])
    return PreprocessedView(resized, depth, instances, intrinsics)


def rgbd_arrays(scene: Scene, size: int) -> tuple[Array, Array, Array, Array]:
    """Collect depth, poses, up vectors and focal lengths of a scene's views at ``size`` pixels.

    Returns depth (V, H, W) in metres, 0 unknown; poses (V, 4, 4) in the level frame of the first view; up vectors
    (V, 3) in each camera's frame; focal lengths (V,) divided by the image's width. Raises SceneError where depth, poses
    or intrinsics are missing, or the views have several shapes.
    """
    views = [preprocess_view(view, size) for view in scene.views]
    depth = [view.depth for view in views if view.depth is not None]
    focal = [view.intrinsics[0, 0] / view.image.shape[1] for view in views if view.intrinsics is not None]
    if not scene.posed or len(depth) < len(views) or len(focal) < len(views):
        raise SceneError(f"scene {scene.name} lacks depth, poses or intrinsics, which this model needs beside photos")
    if len({depth_map.shape for depth_map in depth}) > 1:
        raise SceneError(f"scene {scene.name} has views of several shapes: put photos of one shape together")
    poses = np.stack([np.asarray(view.world_from_camera, dtype=np.float64) for view in scene.views])
    return np.stack(depth), level_from_world(poses[0]) @ poses, poses[:, 2, :3], np.array(focal)


def _whole_patches(pixels: float) -> int:
    return max(PATCH, round(pixels / PATCH) * PATCH)


def _through_cameras(shape: tuple[int, ...], intrinsics: Array, other: Array) -> tuple[Array, Array]:
    """Project pixel centres of a (H, W) image into a camera of the same pose: rows (H,) and columns (W,)."""
    y = (np.arange(shape[0]) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (np.arange(shape[1]) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    return y * other[1, 1] + other[1, 2], x * other[0, 0] + other[0, 2]


def _look_up(values: NDArray[Any], rows: Array, columns: Array) -> NDArray[Any]:
    """Sample ``values`` at continuous rows (H,) and columns (W,) by nearest neighbour, (H, W); 0 outside."""
    i, j = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    inside = ((i >= 0) & (i < values.shape[0]))[:, None] & ((j >= 0) & (j < values.shape[1]))
    picked = values[np.ix_(i.clip(0, values.shape[0] - 1), j.clip(0, values.shape[1] - 1))]
    return np.where(inside, picked, values.dtype.type(0))
