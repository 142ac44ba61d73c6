"""Bring photos and views of indoor panoramas to the layout of training photos: one folder each, 4:3 or 3:4.

Batches hold photos of one shape, so all are cut to these two::

    python -m examples.training_photos --out OUT --photos FOLDER --panoramas ROOM.hdr ROOM.hdr
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

LONGER, SHORTER = 896, 672  #: pixels of a photo
VIEWS = 9  #: of a panorama
WHITE = 0.35  #: of the tone curve, for a panorama's median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--panoramas", type=Path, nargs="*", default=[], help="equirectangular Radiance files (.hdr)")
    given = parser.parse_args()
    for path in sorted(given.photos.glob("*.jpg")) if given.photos else []:
        with Image.open(path) as photo:
            upright = ImageOps.exif_transpose(photo).convert("RGB")
        save(upright, given.out, path.stem, path)
    for path in given.panoramas:
        panorama = read_hdr(path)
        rng = np.random.default_rng([*path.stem.encode()])
        for view in range(VIEWS):
            size = (LONGER, SHORTER) if view % 2 else (SHORTER, LONGER)
            heading = 2 * np.pi * (view + rng.uniform(-0.3, 0.3)) / VIEWS
            longer = np.radians(rng.uniform(60, 90))
            cut = cut_view(panorama, heading, np.radians(rng.uniform(-5, 22)), longer, size)
            save(Image.fromarray(tone(cut, np.median(panorama.mean(-1)))), given.out, f"{path.stem}_{view}")


def save(photo: Image.Image, out: Path, name: str, source: Path | None = None) -> None:
    """Cut the middle of a photo to 4:3 or 3:4, at most 896 pixels long, and write it to a folder of its own.

    A photo of that shape is copied from its ``source``.
    """
    unit = min(max(photo.size) // 4, min(photo.size) // 3, LONGER // 4)
    size = (4 * unit, 3 * unit) if photo.width >= photo.height else (3 * unit, 4 * unit)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    if source is not None and photo.size == size:
        shutil.copyfile(source, folder / f"{name}.jpg")
        return
    ImageOps.fit(photo, size, Image.Resampling.LANCZOS).save(folder / f"{name}.jpg", quality=95)


def read_hdr(path: Path) -> np.ndarray:
    """Read a run-length encoded Radiance picture (H, W, 3), linear."""
    content = path.read_bytes()
    header, _, rest = content.partition(b"\n\n")
    size, _, rest = rest.partition(b"\n")
    _, height, _, width = size.split()
    rows, columns, place = int(height), int(width), 0
    if b"32-bit_rle_rgbe" not in header:
        raise ValueError(f"{path}: is no Radiance picture")
    packed = np.frombuffer(rest, dtype=np.uint8)
    pixels = np.zeros((rows, columns, 4), dtype=np.uint8)
    for row in range(rows):
        place += 4  # marks a run-length encoded row
        for channel in range(4):
            column = 0
            while column < columns:
                count = int(packed[place])
                if count > 128:
                    count -= 128
                    pixels[row, column : column + count, channel] = packed[place + 1]
                    place += 2
                else:
                    pixels[row, column : column + count, channel] = packed[place + 1 : place + 1 + count]
                    place += 1 + count
                column += count
    exponent = pixels[..., 3:].astype(np.int32) - 136
    return pixels[..., :3] * np.ldexp(np.float32(1), exponent)


def cut_view(panorama: np.ndarray, heading: float, down: float, longer: float, size: tuple[int, int]) -> np.ndarray:
    """Return the pinhole view (H, W, 3) of a panorama: field of view ``longer`` over the longer side, radians."""
    width, height = size
    focal = 0.5 * max(size) / np.tan(longer / 2)
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    up = -y * np.cos(down) - focal * np.sin(down)
    ahead = focal * np.cos(down) - y * np.sin(down)
    longitude = np.arctan2(x, ahead) + heading
    latitude = np.arctan2(up, np.hypot(x, ahead))
    rows, columns = panorama.shape[:2]
    column = (longitude / (2 * np.pi) % 1) * columns - 0.5
    row = np.clip((0.5 - latitude / np.pi) * rows - 0.5, 0, rows - 1.001)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    across, along = (column - left)[..., None], (row - top)[..., None]
    upper = panorama[top, left % columns] * (1 - across) + panorama[top, (left + 1) % columns] * across
    lower = panorama[top + 1, left % columns] * (1 - across) + panorama[top + 1, (left + 1) % columns] * across
    return np.asarray(upper * (1 - along) + lower * along)


def tone(linear: np.ndarray, median: float) -> np.ndarray:
    """Return sRGB-like uint8 colours of linear light."""
    scaled = linear * (WHITE / median)
    return np.asarray(np.clip(1.25 * scaled / (1 + scaled), 0, 1) ** (1 / 2.2) * 255, dtype=np.uint8)


if __name__ == "__main__":
    main()
