"""A posed RGB-D scene -> what the model sees (``specs/llava3d.md``, section 7).

Knows scenes and pixels, not the model. The pixel convention changes here: Dollhouse puts the centre of the top left
pixel at (0.5, 0.5), the official code at (0, 0).
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
    """How a scene is cut down to what the model sees."""

    size: int = 336  #: pixels of the square crop's side
    num_frames: int = 20
    frame_sampling: FrameSampling = "uniform"  #: see :func:`sample_frames`
    portrait_fault: bool = False  #: whether portrait images get the official code's wrong principal point


def sample_frames(count: int, wanted: int, choice: FrameSampling) -> list[int]:
    """Which of ``count`` frames the model looks at.

    ``uniform``: at most ``wanted``, evenly from the first to the last. ``official``: exactly ``wanted``, every
    (count // wanted)-th from the first, so the tail is never seen, or all of them over and over where they are too few.
    """
    if choice == "official":
        step = count // wanted if count > wanted else 1
        return [number * step % count for number in range(wanted)]
    if count <= wanted:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()


def prepare_views(scene: Scene, preprocessing: ViewPreprocessing) -> PosedViews:
    """The frames that the model looks at, cropped, with depth, poses and intrinsics in float32.

    Raises TeacherError for a scene without poses, depth, intrinsics or metres.
    """
    if not scene.views or not scene.posed or not scene.has_depth:
        raise TeacherError(f"scene {scene.name}: LLaVA-3D looks at photos with poses and depth, and it lacks some")
    if not scene.metric:
        raise TeacherError(f"scene {scene.name}: its depth and poses are not in metres, and LLaVA-3D needs metres")
    numbers = sample_frames(len(scene.views), preprocessing.num_frames, preprocessing.frame_sampling)
    framed = {number: _framed(scene, scene.views[number], preprocessing) for number in set(numbers)}
    images, depths, poses, intrinsics = zip(*(framed[number] for number in numbers), strict=True)
    return PosedViews(
        images=torch.stack(images),
        depths=torch.from_numpy(np.stack(depths)),
        world_from_camera=torch.from_numpy(np.stack(poses)).float(),
        intrinsics=torch.from_numpy(np.stack(intrinsics)).float(),
    )


def image_pixels(image: NDArray[np.uint8], size: int, aspect_ratio: str = "square") -> Tensor:
    """RGB (H, W, 3) -> (3, size, size), normalised as CLIP wants it.

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
    """A depth map (H, W) -> its middle (size, size), nearest neighbour, and (width, height) before the crop."""
    height, width = depth.shape
    scale = size / min(width, height)
    resized = (size, int(height * scale)) if width < height else (int(width * scale), size)
    columns, rows = (_nearest(*sides, size) for sides in zip((width, height), resized, strict=True))
    return depth[rows[:, None], columns], resized


def _nearest(side: int, resized: int, size: int) -> NDArray[np.int64]:
    """Which of ``side`` pixels each pixel of the crop shows.

    Pillow's rule for 16-bit images, written out: for 32-bit ones Pillow rounds otherwise, and depth is in metres here.
    """
    first = round((resized - size) / 2)
    return ((np.arange(first, first + size) + 0.5) * (side / resized)).astype(np.int64)


def crop_intrinsics(intrinsics: Array, of: Size, resized: Size, size: int, portrait_fault: bool = False) -> Array:
    """Intrinsics (4, 4) of the crop in the official convention.

    Args:
        intrinsics: (3, 3) in Dollhouse's convention, of an image of size ``of``.
        of: width and height that ``intrinsics`` belong to.
        resized: width and height of the depth map before the crop.
        size: side of the crop.
        portrait_fault: shift the wrong axis where the image is higher than wide, as the official code does.
    """
    cropped = np.eye(4)
    cropped[:3, :3] = intrinsics
    cropped[:2, 2] -= 0.5
    cropped[0] /= of[0] / resized[0]
    cropped[1] /= of[1] / resized[1]
    if portrait_fault:
        cropped[0, 2] -= (resized[0] - resized[1]) / 2
    else:
        cropped[:2, 2] -= (np.array(resized) - size) / 2
    return cropped


def _framed(
    scene: Scene, view: View, preprocessing: ViewPreprocessing
) -> tuple[Tensor, NDArray[np.float32], Array, Array]:
    intrinsics = view.intrinsics if view.depth_intrinsics is None else view.depth_intrinsics
    image, depth = view.image, view.depth
    if intrinsics is None or depth is None or view.world_from_camera is None:
        raise TeacherError(f"scene {scene.name}: view {view.name} lacks intrinsics, depth or a pose")
    height, width = image.shape[:2] if view.depth_intrinsics is None else depth.shape
    cleaned = np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)
    cropped, resized = crop_depth(cleaned, preprocessing.size)
    camera = crop_intrinsics(intrinsics, (width, height), resized, preprocessing.size, preprocessing.portrait_fault)
    return (
        image_pixels(image, preprocessing.size),
        cropped,
        np.asarray(view.world_from_camera, dtype=np.float64),
        camera,
    )
