"""Preprocessing of posed RGB-D scenes for LLaVA-3D (``docs/specs/llava3d.md``, section 7).

The pixel convention changes here: the centre of the top left pixel is (0.5, 0.5) in Dollhouse and (0, 0) officially.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.models.llava3d.modeling import PosedViews
from dollhouse.scenes.scene import Scene, View

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

FrameSampling = Literal["uniform", "official"]
Size = tuple[int, int]  #: width, height


@dataclass(frozen=True)
class ViewPreprocessing:
    """Options of :func:`prepare_views`."""

    size: int = 336  #: pixels of the square crop's side
    num_frames: int = 20  #: views of a scene
    frame_sampling: FrameSampling = "uniform"  #: see :func:`sample_frames`
    portrait_fault: bool = False  #: whether portrait images get the official code's wrong principal point


def sample_frames(count: int, wanted: int, choice: FrameSampling) -> list[int]:
    """Select the indices of at most ``wanted`` of ``count`` frames.

    ``uniform``: evenly from the first to the last. ``official``: exactly ``wanted``, every (count // wanted)-th from
    the first, so that the tail is never used, or all of them repeatedly where they are too few.
    """
    if choice == "official":
        step = count // wanted if count > wanted else 1
        return [number * step % count for number in range(wanted)]
    if count <= wanted:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()


def prepare_views(scene: Scene, options: ViewPreprocessing) -> PosedViews:
    """Sample and crop the views of a scene, with depth, poses and intrinsics in float32.

    Raises TeacherError for a scene without poses, depth, intrinsics or metres.
    """
    if not scene.views or not scene.posed or not scene.has_depth:
        raise TeacherError(f"scene {scene.name}: LLaVA-3D needs photos with poses and depth, and some are missing")
    if not scene.metric:
        raise TeacherError(f"scene {scene.name}: its depth and poses are not in metres, and LLaVA-3D needs metres")
    numbers = sample_frames(len(scene.views), options.num_frames, options.frame_sampling)
    prepared = {number: _prepare_view(scene, scene.views[number], options) for number in set(numbers)}
    images, depths, poses, intrinsics = zip(*(prepared[number] for number in numbers), strict=True)
    return PosedViews(
        images=torch.stack(images),
        depths=torch.from_numpy(np.stack(depths)),
        world_from_camera=torch.from_numpy(np.stack(poses)).float(),
        intrinsics=torch.from_numpy(np.stack(intrinsics)).float(),
    )


def image_pixels(image: NDArray[np.uint8], size: int, aspect_ratio: str = "square") -> Tensor:
    """Resize, crop and normalise RGB (H, W, 3) by CLIP's rules to (3, size, size).

    ``aspect_ratio``: "square" crops the middle, "pad" first pads to a square with CLIP's mean colour.
    """
    photo = Image.fromarray(image)
    if aspect_ratio == "pad" and photo.width != photo.height:
        side = max(photo.size)
        padded = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in CLIP_MEAN))
        padded.paste(photo, ((side - photo.width) // 2, (side - photo.height) // 2))
        photo = padded
    short, long = min(photo.size), max(photo.size)
    width, height = (size if side == short else int(size * long / short) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(photo.crop((left, top, left + size, top + size)), dtype=np.float32) / np.float32(255)
    normalised = (pixels - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()


def crop_depth(depth: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], Size]:
    """Resize (nearest) and crop depth (H, W) to (size, size); also returns (width, height) before the crop."""
    height, width = depth.shape
    scale = size / min(width, height)
    resized = (size, int(height * scale)) if width < height else (int(width * scale), size)
    columns, rows = (_nearest(*sides, size) for sides in zip((width, height), resized, strict=True))
    return depth[rows[:, None], columns], resized


def _nearest(side: int, resized: int, size: int) -> NDArray[np.int64]:
    """Return the source index among ``side`` pixels of each pixel of the crop.

    This is Pillow's rule for 16-bit images; for 32-bit ones, as depth in metres would be, Pillow rounds differently.
    """
    first = round((resized - size) / 2)
    return ((np.arange(first, first + size) + 0.5) * (side / resized)).astype(np.int64)


def crop_intrinsics(intrinsics: Array, original: Size, resized: Size, size: int, portrait_fault: bool = False) -> Array:
    """Convert intrinsics to those (4, 4) of the crop, in the official convention.

    Args:
        intrinsics: (3, 3) in Dollhouse's convention, of an image of size ``original``.
        original: width and height that ``intrinsics`` belong to.
        resized: width and height of the depth map before the crop.
        size: side of the crop.
        portrait_fault: shift the wrong axis where the image is higher than wide, as the official code does.
    """
    cropped = np.eye(4)
    cropped[:3, :3] = intrinsics
    cropped[:2, 2] -= 0.5
    cropped[0] /= original[0] / resized[0]
    cropped[1] /= original[1] / resized[1]
    if portrait_fault:
        cropped[0, 2] -= (resized[0] - resized[1]) / 2
    else:
        cropped[:2, 2] -= (np.array(resized) - size) / 2
    return cropped


def _prepare_view(scene: Scene, view: View, options: ViewPreprocessing) -> tuple[Tensor, Array, Array, Array]:
    intrinsics = view.intrinsics if view.depth_intrinsics is None else view.depth_intrinsics
    image, depth = view.image, view.depth
    if intrinsics is None or depth is None or view.world_from_camera is None:
        raise TeacherError(f"scene {scene.name}: view {view.name} lacks intrinsics, depth or a pose")
    height, width = image.shape[:2] if view.depth_intrinsics is None else depth.shape
    cleaned = np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)
    cropped, resized = crop_depth(cleaned, options.size)
    camera = crop_intrinsics(intrinsics, (width, height), resized, options.size, options.portrait_fault)
    pose = np.asarray(view.world_from_camera, dtype=np.float64)
    return image_pixels(image, options.size), cropped, pose, camera
