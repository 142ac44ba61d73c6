"""Prepare the committee's boxes of photos for training: main colours, and names without a label for uncertain boxes.

PYTHONPATH=. dollhouse annotate --boxes --scenes PHOTOS --out annotated ...  (see README.md)
PYTHONPATH=. python -m examples.photo_boxes annotated --out boxed
dollhouse annotate --teacher file:questions.jsonl --scenes boxed --geometry-teacher sensor --out records
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dollhouse.data.targets import frame_scene, instances_by_depth
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scene import Box, Scene
from examples.committee_answers import COLOURS

SIZE = 252  #: longer side of the photos whose pixels give colours
CERTAIN = 0.4  #: score from which a box is an object; below it, training ignores the box
UNCERTAIN = "uncertain object"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    for scene in open_scenes(given.scenes):
        boxes = certain(coloured(scene).boxes or (), CERTAIN)
        save_scene(replace(scene, boxes=boxes), given.out / scene.name)


def coloured(scene: Scene) -> Scene:
    """Give each box the colour nearest to the median of its pixels."""
    boxes = list(scene.boxes or ())
    pixels: dict[int, list[np.ndarray]] = {box.id: [] for box in boxes}
    for frame, view in zip(frame_scene(scene, SIZE), scene.views, strict=True):
        ids = instances_by_depth(frame, np.asarray(view.world_from_camera), boxes)
        for box in boxes:
            pixels[box.id].append(frame.image[ids == box.id])
    return replace(scene, boxes=tuple(replace(b, colour=_colour(np.concatenate(pixels[b.id]))) for b in boxes))


def _colour(pixels: np.ndarray) -> str | None:
    if not len(pixels):
        return None
    median = np.median(pixels, axis=0) / 255
    return min(COLOURS, key=lambda name: float(np.linalg.norm(median - np.array(COLOURS[name]))))


def certain(boxes: Sequence[Box], threshold: float) -> tuple[Box, ...]:
    """Name boxes below a score as uncertain."""
    return tuple(box if (box.score or 0) >= threshold else replace(box, label=UNCERTAIN) for box in boxes)


if __name__ == "__main__":
    main()
