"""Scale of lengths: what fixes it, and what users know of it (focal length, camera height, a length)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.labels import LabelMap
from dollhouse.scenes.scene import Box, Scene

DIAGONAL_35MM = math.hypot(36, 24)  #: CIPA DCG-001: equal diagonal angle of view
MAX_METRES = 100.0  #: largest camera height or length that is accepted
_FOCAL_OVER_WIDTH = (0.2, 20.0)  #: horizontal fields of view from 136 to 3 degrees
_FOCAL = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(mm|px|)\s*")
_FOCAL_FORMS = "give it over the photo's width (0.72), or as 26mm, 1480px or exif"
_LENGTH = re.compile(r"\s*([^=]*?)(\.height)?\s*=\s*(\d+\.?\d*|\.\d+)\s*m?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Scale:
    """Scale of lengths.

    "metric": a measurement fixes it, and lengths are in metres. "relative": only proportions are certain; a model's
    lengths are then in metres by its own estimate.
    """

    kind: Literal["metric", "relative"]
    source: str  #: what fixes a metric scale, or where a relative one is from

    def __str__(self) -> str:
        return f"{self.kind} ({self.source})"

    @property
    def phrase(self) -> str:
        """What stands after a length in this scale."""
        return f"metric by {self.source}" if self.kind == "metric" else f"scale {self.source}"


ESTIMATED = Scale("relative", "estimated by the model, not measured")
ESTIMATED_WITH_FOCAL = Scale("relative", "estimated by the model with a known focal length, not measured")
MEASURED_DEPTH = Scale("metric", "measured depth")


@dataclass(frozen=True)
class KnownScale:
    """What is known of a scene's cameras and lengths.

    Args:
        focal: focal length over the photo's width ("0.72"), as 35 mm equivalent ("26mm"), in pixels of the photo
            ("1480px"), or "exif": that of the photos' EXIF data or of a capture's calibration.
        camera_height: metres of the first view's camera above the floor.
        length: metres of an object, "table=1.20" (its longest horizontal side) or "door.height=2.0".

    Raises:
        SceneError: for a value that is not of these forms, not above 0 or not plausible.
    """

    focal: float | str | None = None
    camera_height: float | None = None
    length: str | None = None

    def __post_init__(self) -> None:
        if self.focal not in (None, "exif"):
            self._parsed_focal()
        if self.camera_height is not None:
            _check_metres(self.camera_height, "camera height")
        if self.length is not None:
            self.known_object  # noqa: B018 - raises

    @property
    def known_object(self) -> tuple[str, bool, float]:
        """Label, whether the length is its height, and metres."""
        matched = _LENGTH.fullmatch(self.length or "")
        if not matched or not matched[1]:
            raise SceneError(f"known length {self.length!r}: give OBJECT=METRES, such as table=1.20 or door.height=2.0")
        metres = float(matched[3])
        _check_metres(metres, f"known length of {matched[1]}")
        return matched[1].lower(), matched[2] is not None, metres

    def _parsed_focal(self) -> tuple[float, str]:
        matched = _FOCAL.fullmatch(str(self.focal))
        if not matched or not float(matched[1]):
            raise SceneError(f"focal length {self.focal!r}: {_FOCAL_FORMS}")
        return float(matched[1]), matched[2]

    def focal_over_width(self, scene: Scene, images: Sequence[NDArray[np.uint8]]) -> Array:
        """Compute the focal length of each view over the width of its image (V,); NaN where EXIF has none.

        Raises SceneError where no view has one, or it is not plausible.
        """
        sizes, padded = (scene.metadata.get(name) or {} for name in ("photo_sizes", "valid_area"))
        focal = []
        for view, image in zip(scene.views, images, strict=True):
            height, width = image.shape[:2]
            if self.focal == "exif":
                focal.append(np.nan if view.intrinsics is None else view.intrinsics[0, 0] / width)
                continue
            value, unit = self._parsed_focal()
            photo = sizes.get(view.name, (width, height))  # before it was cut or padded to the scene's grid
            pixels = value * {"": photo[0], "px": 1.0, "mm": math.hypot(*photo) / DIAGONAL_35MM}[unit]
            resized = (min if view.name in padded else max)(width / photo[0], height / photo[1])
            focal.append(pixels * resized / width)
        known = np.array(focal)
        if np.isnan(known).all():
            raise SceneError(f"scene {scene.name}: no photo has a focal length in its EXIF data; give it as a number")
        near, far = _FOCAL_OVER_WIDTH
        if (wrong := known[(known < near) | (known > far)]).size:
            raise SceneError(
                f"focal length {self.focal!r} is {wrong[0]:.3g} times the width of the image, not {near:g} to {far:g}; "
                + _FOCAL_FORMS
            )
        return known

    def length_factor(self, boxes: Sequence[Box]) -> float:
        """Return known over predicted length of the best-scored box (``boxes`` in that order) of the known name.

        Raises SceneError where there is no such box.
        """
        name, upright, metres = self.known_object
        labels = sorted({box.label for box in boxes})
        label = LabelMap(labels).map(name)
        box = next((box for box in boxes if box.label == label), None)
        if box is None:
            predicted = ", ".join(labels) or "none"
            raise SceneError(f"known length of {name}: no {name} is predicted in this scene; its objects: {predicted}")
        return metres / float(box.size[2] if upright else max(box.size[:2]))


NOTHING_KNOWN = KnownScale()


def _check_metres(metres: float, name: str) -> None:
    if not 0 < metres <= MAX_METRES:
        raise SceneError(f"{name} of {metres:g} m: give metres above 0 and at most {MAX_METRES:g}")
