"""Image processor of the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from dollhouse.scenes.view_preprocessing import pixel_values

Photo = np.ndarray | Image.Image


class DollhouseImageProcessor(BaseImageProcessor):
    """Resize the photos of one scene (:mod:`dollhouse.scenes.view_preprocessing`).

    Args:
        image_size: longer side in pixels, a multiple of 14.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, image_size: int = 518, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size

    def preprocess(
        self, images: Sequence[Photo] | Photo, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Convert photos, each (H, W, 3) uint8 or a PIL image, to ``pixel_values`` (1, V, 3, h, w) in [0, 1].

        Raises ValueError where the resized photos have different shapes.
        """
        photos = [images] if isinstance(images, (np.ndarray, Image.Image)) else list(images)
        pixels = pixel_values([np.asarray(photo) for photo in photos], self.image_size)
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)
