"""Brings a view to the size the student looks at: photo, depth, object ids and intrinsics, all on one grid.

Follows the "crop" preprocessing of VGGT (``load_and_preprocess_images``): the width becomes ``width``, the height
the nearest multiple of the patch side, and what is taller than wide is cut to a square from its middle.
Knows nothing of models beyond the patch side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, level_from_world, resize_intrinsics
from dollhouse.scenes.scene import Scene, View

PREPROCESSING_VERSION = 1  #: raise it whenever a view is brought to another grid or resampled otherwise
PATCH = 14  #: side in pixels of the encoder's patches


@dataclass(frozen=True, eq=False)
class PreprocessedView:
    """A view on the student's grid: H and W are multiples of 14, and every map has the same pixels."""

    image: NDArray[np.uint8]  #: (H, W, 3) RGB
    depth: NDArray[np.float32] | None  #: (H, W) z-depth, 0 where unknown; None if the view has none
    instances: NDArray[np.int32] | None  #: (H, W) box ids; None if not annotated
    intrinsics: Array | None  #: (3, 3) in pixels of this grid; None if unknown


def resized_height(image_height: int, image_width: int, width: int) -> int:
    """Height after scaling to ``width``, rounded to whole patches (at least one); before any cropping."""
    return max(PATCH, round(image_height * (width / image_width) / PATCH) * PATCH)


def preprocess_image(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """An RGB image (H, W, 3) at ``width``: bicubic, then cut to a square where it is taller than wide.

    An image that already has the target size is returned as it is.
    """
    height, old_width = image.shape[:2]
    new_height = resized_height(height, old_width, width)
    if (old_width, height) != (width, new_height):
        image = np.asarray(Image.fromarray(image).resize((width, new_height), Image.Resampling.BICUBIC))
    top = _crop_top(new_height, width)
    return image[top : top + width]


def preprocess_view(view: View, width: int = 126, mode: Literal["crop"] = "crop") -> PreprocessedView:
    """The view at ``width`` pixels (a multiple of 14).

    Colour is resampled bicubically. Depth and object ids take the nearest pixel; depth is looked up through its
    own intrinsics where the view has both, so it lies on the colour image's pixels even if the two cameras' sizes
    and focal lengths differ; pixels that the depth camera did not see are 0.
    Raises ValueError for another width or mode, and SceneError from files that cannot be read.
    """
    if width < PATCH or width % PATCH:
        raise ValueError(f"width must be a multiple of {PATCH}, not {width}")
    if mode != "crop":
        raise ValueError(f"mode must be 'crop', not {mode!r}")
    image = view.image
    height, old_width = image.shape[:2]
    new_height = resized_height(height, old_width, width)
    top = _crop_top(new_height, width)
    framed = preprocess_image(image, width)

    intrinsics = None
    if view.intrinsics is not None:
        intrinsics = resize_intrinsics(view.intrinsics, width / old_width, new_height / height, top=top)
    # Where each row and column of the frame lies in the whole image, as a fraction of its height and width.
    rows = (np.arange(len(framed)) + top + 0.5) / new_height
    columns = (np.arange(width) + 0.5) / width

    depth = view.depth
    if depth is not None and intrinsics is not None and view.depth_intrinsics is not None:
        depth = _look_up(depth, *_through_cameras(framed.shape[:2], intrinsics, view.depth_intrinsics))
    elif depth is not None:
        depth = _look_up(depth, rows * depth.shape[0], columns * depth.shape[1])
    instances = view.instances
    if instances is not None:
        instances = _look_up(instances, rows * instances.shape[0], columns * instances.shape[1])
    return PreprocessedView(framed, depth, instances, intrinsics)


def rgbd_arrays(scene: Scene, width: int) -> tuple[Array, Array, Array, Array]:
    """What a depth camera and its poses tell of a scene at ``width`` pixels.

    Depth (V, H, W) in metres, 0 unknown; poses (V, 4, 4) in the level frame of the first view; against gravity in
    each camera's frame (V, 3); focal lengths (V,) divided by ``width``.
    Raises SceneError where depth, poses or intrinsics are missing, or views have several shapes.
    """
    frames = [preprocess_view(view, width) for view in scene.views]
    depth = [frame.depth for frame in frames if frame.depth is not None]
    focal = [frame.intrinsics[0, 0] / width for frame in frames if frame.intrinsics is not None]
    if not scene.posed or len(depth) < len(frames) or len(focal) < len(frames):
        raise SceneError(f"scene {scene.name} lacks depth, poses or intrinsics, which this model needs beside photos")
    if len({one.shape for one in depth}) > 1:
        raise SceneError(f"scene {scene.name} has views of several shapes: put photos of one shape together")
    poses = np.stack([np.asarray(view.world_from_camera, dtype=np.float64) for view in scene.views])
    return np.stack(depth), level_from_world(poses[0]) @ poses, poses[:, 2, :3], np.array(focal)


def _crop_top(height: int, width: int) -> int:
    return max(0, (height - width) // 2)


def _through_cameras(shape: tuple[int, ...], ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Row (H,) and column (W,) positions in the other camera's map of our pixel centres; both look the same way."""
    y = (np.arange(shape[0]) + 0.5 - ours[1, 2]) / ours[1, 1]
    x = (np.arange(shape[1]) + 0.5 - ours[0, 2]) / ours[0, 0]
    return y * theirs[1, 1] + theirs[1, 2], x * theirs[0, 0] + theirs[0, 2]


def _look_up(values: NDArray[Any], rows: Array, columns: Array) -> NDArray[Any]:
    """``values`` at continuous row (H,) and column (W,) positions, (H, W); 0 outside."""
    i, j = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    inside = ((i >= 0) & (i < values.shape[0]))[:, None] & ((j >= 0) & (j < values.shape[1]))
    picked = values[np.ix_(i.clip(0, values.shape[0] - 1), j.clip(0, values.shape[1] - 1))]
    return np.where(inside, picked, values.dtype.type(0))
