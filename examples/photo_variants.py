"""Write changed copies of photos with the committee's answers, so that language does not learn a few photos by heart.

    PYTHONPATH=. python -m examples.photo_variants PHOTOS questions.jsonl --out variants

Copies are mirrored (answers left and right are exchanged), cropped a little, and changed in light, colour, sharpness
and noise. Questions about colours are left out. ``variants/photos`` and ``variants/questions.jsonl`` are what
``dollhouse annotate --teacher file:variants/questions.jsonl --scenes variants/photos --geometry-teacher none`` takes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

VARIANTS = 8  #: of each photo; the first is unchanged
ZOOM = 1.12  #: at most, so that few objects are cut off
MIRRORED = {"left": "right", "right": "left"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = defaultdict(list)
    for line in given.questions.read_text().splitlines():
        row = json.loads(line)
        if row["family"] != "attribute":
            rows[row["scene"]].append(row)
    (given.out / "photos").mkdir(parents=True)
    with (given.out / "questions.jsonl").open("w") as file:
        for name, asked in rows.items():
            (path,) = (given.photos / name).rglob("*.jpg")
            with Image.open(path) as opened:
                photo = opened.convert("RGB")
            for number in range(VARIANTS):
                rng = np.random.default_rng([*name.encode(), number])
                mirrored = bool(number) and bool(rng.random() < 0.5)
                scene = f"{name}_{number}"
                folder = given.out / "photos" / scene
                folder.mkdir()
                changed = change(photo, mirrored, rng) if number else photo
                changed.save(folder / f"{scene}.jpg", quality=int(rng.integers(60, 96)))
                for row in asked:
                    answer = MIRRORED.get(row["answer"], row["answer"]) if mirrored else row["answer"]
                    file.write(json.dumps({**row, "scene": scene, "answer": answer}) + "\n")


def change(photo: Image.Image, mirrored: bool, rng: np.random.Generator) -> Image.Image:
    """Return a changed copy of a photo, of its size."""
    width, height = photo.size
    zoom = rng.uniform(1, ZOOM)
    left, top = rng.uniform(0, width * (1 - 1 / zoom)), rng.uniform(0, height * (1 - 1 / zoom))
    box = (left, top, left + width / zoom, top + height / zoom)
    changed = photo.resize(photo.size, Image.Resampling.BILINEAR, box=box)
    if mirrored:
        changed = ImageOps.mirror(changed)
    if rng.random() < 0.3:
        changed = changed.filter(ImageFilter.GaussianBlur(width / 252 * rng.uniform(0.2, 0.8)))
    light = np.asarray(changed, dtype=np.float32) / 255
    light = light ** np.exp(rng.normal(0, 0.25)) * rng.normal(1, 0.06, 3) * rng.uniform(0.8, 1.15)
    light += rng.normal(0, rng.uniform(0, 0.03), light.shape)
    return Image.fromarray(np.asarray(np.clip(light, 0, 1) * 255, dtype=np.uint8))


if __name__ == "__main__":
    main()
