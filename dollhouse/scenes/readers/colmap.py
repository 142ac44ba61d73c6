"""Reader of COLMAP models, text or binary: camera-from-world poses of unknown scale."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.readers.captures import Camera, Capture, file_view, numbers, pinhole, read_rows, rigid
from dollhouse.scenes.readers.reader import Reader, list_photos, natural_key, read_text
from dollhouse.scenes.scene import Scene, View

# COLMAP's models by number, with the names of their parameters; those without names cannot be undistorted here.
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3, "fx cx cy"),
    1: ("PINHOLE", 4, "fx fy cx cy"),
    2: ("SIMPLE_RADIAL", 4, "fx cx cy k1"),
    3: ("RADIAL", 5, "fx cx cy k1 k2"),
    4: ("OPENCV", 8, "fx fy cx cy k1 k2 p1 p2"),
    5: ("OPENCV_FISHEYE", 8, ""),
    6: ("FULL_OPENCV", 12, ""),
    7: ("FOV", 5, ""),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, ""),
    9: ("RADIAL_FISHEYE", 5, ""),
    10: ("THIN_PRISM_FISHEYE", 12, ""),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16, ""),
}
_PARAMETERS = {name: words.split() for name, _, words in _MODELS.values()}
_PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", "dense/0/sparse")
_IMAGE_FOLDERS = ("images", "rgb", "color", ".", "../images", "../../images", "../../../images")
Lens = tuple[str, tuple[int, int], Sequence[float]]  #: model, size, parameters
Image = tuple[str, int, Sequence[float]]  #: name, camera, qw qx qy qz tx ty tz of camera-from-world


def open_colmap(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the registered images of a sparse model; radial and tangential distortion is removed on reading."""
    model = _find(path)
    if model is None:
        raise SceneError(f"{path}: holds no COLMAP model (cameras and images, .bin or .txt)")
    binary = (model / "images.bin").is_file()
    cameras_file, images_file = (model / f"{name}.{'bin' if binary else 'txt'}" for name in ("cameras", "images"))
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=None, metric=False)
    cameras: dict[int, Lens] = {}
    images: list[Image] = []
    with capture.collect(cameras_file):  # whatever precedes a fault is used
        cameras.update(_binary_cameras(cameras_file) if binary else _text_cameras(cameras_file))
    with capture.collect(images_file):
        for image in _binary_images(images_file) if binary else _text_images(images_file):
            images.append(image)
    photos = next((found for folder in _IMAGE_FOLDERS if (found := list_photos(path / folder))), [])
    folders = [path / folder for folder in _IMAGE_FOLDERS]
    by_stem = {photo.stem: photo for photo in photos}
    for name, camera, (w, x, y, z, *translation) in sorted(images, key=lambda image: natural_key(image[0])):
        with capture.collect(f"{images_file}: {name}"):
            candidates = (folder / name for folder in folders)
            photo = next((p for p in candidates if p.is_file()), by_stem.get(Path(name).stem, folders[0] / name))
            pose = invert_rigid(rigid((x, y, z, w), translation))
            capture.add(name, pose, partial(_open_view, photo, cameras[camera]))
    return capture.scene()


def _open_view(image: Path, lens: Lens) -> View:
    model, size, parameters = lens
    if not _PARAMETERS.get(model):
        raise SceneError(f"{image}: COLMAP's {model} lens is not read; run: colmap image_undistorter")
    values = dict(zip(_PARAMETERS[model], parameters, strict=True))
    intrinsics = pinhole(values["fx"], values.get("fy", values["fx"]), values["cx"], values["cy"])
    return file_view(image, Camera(intrinsics, size, tuple(values.get(key, 0.0) for key in ("k1", "k2", "p1", "p2"))))


def _text_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    for id, model, width, height, *parameters in read_rows(path):
        yield int(id), (model, (int(width), int(height)), numbers(parameters))


def _text_images(path: Path) -> Iterator[Image]:
    lines = [line for line in read_text(path).splitlines() if not line.startswith("#")]
    for line in lines[::2]:  # every second line lists points and may be empty
        if line.strip():
            _, *pose, camera, name = line.split(maxsplit=9)
            yield name.strip(), int(camera), numbers(pose)


def _binary_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    data, offset = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        id, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        name, count, _ = _MODELS[model]
        yield id, (name, (width, height), struct.unpack_from(f"<{count}d", data, offset + 24))
        offset += 24 + 8 * count


def _binary_images(path: Path) -> Iterator[Image]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = 8
        for _ in range(struct.unpack_from("<Q", data)[0]):
            _, *pose, camera = struct.unpack_from("<i7di", data, offset)
            end = data.find(b"\0", offset + 64)
            (points,) = struct.unpack_from("<Q", data, end + 1)
            yield data[offset + 64 : end].decode("utf-8"), camera, pose
            offset = end + 9 + 24 * points


def _find(path: Path) -> Path | None:
    return next((path / place for place in _PLACES if _is_model(path / place)), None) if path.is_dir() else None


def _is_model(folder: Path) -> bool:
    return any((folder / f"cameras.{s}").is_file() and (folder / f"images.{s}").is_file() for s in ("bin", "txt"))


COLMAP = Reader("a COLMAP model with its images", lambda path: _find(path) is not None, open_colmap)
