"""Writer of boxes as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dollhouse.errors import SceneError
from dollhouse.scenes.description import describe_lengths
from dollhouse.scenes.scene import Box, Scene
from dollhouse.system.atomic_io import write_text

FORMAT = "dollhouse boxes 1"


def write_boxes(scene: Scene, path: Path) -> None:
    """Write the boxes of a scene, atomically: units, frame, scale, and label, center, size, yaw, score of each.

    Raises:
        SceneError: the scene has no boxes.
        StorageError: the file cannot be written.
    """
    if scene.boxes is None:
        raise SceneError(f"scene {scene.name} is not annotated with boxes; predicted ones: --predicted")
    content = {
        "format": FORMAT,
        "scene": scene.name,
        **describe_lengths(scene),
        "up": "z",
        "size_axes": "length along the box's x axis (its front), width along y, height along z",
        "yaw": "radians from the frame's x axis to the box's x axis, counter-clockwise from above",
        "boxes": [box_fields(box) for box in scene.boxes],
    }
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def box_fields(box: Box) -> dict[str, Any]:
    """Return the fields of a box as JSON-able values."""
    return {
        "id": int(box.id),
        "label": box.label,
        "score": None if box.score is None else round(float(box.score), 4),
        "center": [round(float(x), 4) for x in box.center],
        "size": [round(float(x), 4) for x in box.size],
        "yaw": round(float(box.yaw), 4),
        "has_front": bool(box.has_front),
        "colour": box.colour,
    }
