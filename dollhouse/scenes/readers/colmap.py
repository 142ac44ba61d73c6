"""Reader of COLMAP models, text or binary: camera-from-world poses of unknown scale."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos, natural_key, read_text
from dollhouse.scenes.scene import View
from dollhouse.system.links import refuse_outside
from dollhouse.system.read_files import open_file, read_bytes

# COLMAP's models whose distortion can be removed here, by number, with the names of their parameters.
_MODELS = {
    "SIMPLE_PINHOLE": ("fx", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("fx", "cx", "cy", "k1"),
    "RADIAL": ("fx", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
_PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", "dense/0/sparse")
_IMAGE_FOLDERS = ("images", "rgb", "color", ".", "../images", "../../images")
_FILES = "images rgb color *.jpg *.png *.JPG sparse colmap dense cameras.* images.* points3D.* project.ini database.db"
WORLD_COMMENT = "# world: z up"  #: in images.txt of :func:`dollhouse.scenes.export.colmap.write_colmap`
METRIC_COMMENT = "# unit: metre"
Lens = tuple[str, tuple[int, int], Sequence[float]]  #: model, size, parameters
Image = tuple[str, int, Sequence[float]]  #: name, camera, qw qx qy qz tx ty tz of camera-from-world


def _collect(capture: captures.Capture) -> None:
    model = _find(capture.path) or capture.path
    binary = (model / "images.bin").is_file()
    cameras_file, images_file = (model / f"{name}.{'bin' if binary else 'txt'}" for name in ("cameras", "images"))
    capture.metric = False
    if not binary:
        with images_file.open(encoding="utf-8-sig", errors="replace") as file:
            comments = {line.strip() for line in takewhile(lambda line: line.startswith("#"), file)}
        capture.metric = METRIC_COMMENT in comments
        capture.up = captures.Z_UP if WORLD_COMMENT in comments else None
    cameras: dict[int, Lens] = {}
    images: list[Image] = []
    with capture.collect(cameras_file):  # whatever precedes a fault is used
        for id, lens in _binary_cameras(cameras_file) if binary else _text_cameras(cameras_file):
            cameras[id] = lens
    with capture.collect(images_file):
        images.extend(_binary_images(images_file) if binary else _text_images(images_file))
    folders = [capture.path / folder for folder in _IMAGE_FOLDERS]
    by_stem = {photo.stem: photo for folder in reversed(folders) for photo in list_photos(folder)}
    used = {Path(name).stem for name, _, _ in images}
    capture.lost += sum(stem not in used for stem in by_stem)  # photos that COLMAP did not register
    for name, camera, (w, x, y, z, *translation) in sorted(images, key=lambda image: natural_key(image[0])):
        with capture.collect(f"{images_file}: {name}"):
            candidates = (refuse_outside(folder / name, folder, SceneError) for folder in folders)
            photo = next((p for p in candidates if p.is_file()), by_stem.get(Path(name).stem, folders[0] / name))
            pose = invert_rigid(captures.rigid((x, y, z, w), translation))
            capture.add(name, pose, partial(_open_view, photo, cameras[camera]))


def _open_view(image: Path, lens: Lens) -> View:
    model, size, parameters = lens
    if model not in _MODELS:
        raise SceneError(f"{image}: COLMAP's {model} lens is not read; run: colmap image_undistorter")
    values = dict(zip(_MODELS[model], parameters, strict=True))
    distortion = tuple(values.get(key, 0.0) for key in ("k1", "k2", "p1", "p2"))
    camera = captures.Camera(captures.named_lens({"fy": values["fx"], **values}), size, distortion)
    return captures.file_view(image, camera)


def _text_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    for id, model, width, height, *parameters in captures.read_rows(path):
        yield int(id), (model, (int(width), int(height)), [float(word) for word in parameters])


def _text_images(path: Path) -> Iterator[Image]:
    lines = [line for line in read_text(path).splitlines() if not line.startswith("#")]
    for line in filter(str.strip, lines[::2]):  # every second line lists points and may be empty
        _, *pose, camera, name = line.split(maxsplit=9)
        yield name.strip(), int(camera), [float(word) for word in pose]


def _binary_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    data, offset = read_bytes(path, SceneError), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        id, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        if not 0 <= model < len(_MODELS):
            raise SceneError(f"{path}: lens model {model} is not read; run: colmap image_undistorter")
        name, parameters = list(_MODELS.items())[model]
        yield id, (name, (width, height), struct.unpack_from(f"<{len(parameters)}d", data, offset + 24))
        offset += 24 + 8 * len(parameters)


def _binary_images(path: Path) -> Iterator[Image]:
    with open_file(path, SceneError) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = 8
        for _ in range(struct.unpack_from("<Q", data)[0]):
            _, *pose, camera = struct.unpack_from("<i7di", data, offset)
            end = data.find(b"\0", offset + 64)
            (points,) = struct.unpack_from("<Q", data, end + 1)
            yield data[offset + 64 : end].decode("utf-8"), camera, pose
            offset = end + 9 + 24 * points


def _find(path: Path) -> Path | None:
    models = [(path / place, suffix) for place in _PLACES for suffix in ("bin", "txt")]
    files = ((model, [model / f"{name}.{suffix}" for name in ("cameras", "images")]) for model, suffix in models)
    return next((model for model, pair in files if all(file.is_file() for file in pair)), None)


COLMAP = captures.capture_reader("a COLMAP model", lambda path: _find(path) is not None, _collect, _FILES, up=None)
