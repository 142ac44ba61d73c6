"""Writer of COLMAP text models, which nerfstudio and Gaussian splatting open: cameras, poses, points, images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, invert_rigid
from dollhouse.scenes.description import scene_scale
from dollhouse.scenes.export.points import ColouredPoints
from dollhouse.scenes.readers.colmap import METRIC_COMMENT, WORLD_COMMENT
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import atomic_folder

_QUALITY = 95


def write_colmap(scene: Scene, points: ColouredPoints | None, folder: Path) -> None:
    """Write ``images/`` (JPEG) and ``sparse/0/`` with cameras.txt, images.txt and points3D.txt, whole or not at all.

    The model's world is the scene's: z up, in metres if the scene is metric. Points have no tracks.

    Raises:
        SceneError: a view lacks its pose or intrinsics or cannot be read, or the folder exists.
        StorageError: the folder cannot be written.
    """
    if folder.exists():
        raise SceneError(f"{folder}: exists already; choose another folder for the COLMAP model, or delete it")
    if not scene.posed or any(view.intrinsics is None for view in scene.views):
        missing = "intrinsics" if scene.posed else "poses"
        raise SceneError(
            f"scene {scene.name} has views without {missing}, which COLMAP needs; --predicted predicts them"
        )
    with atomic_folder(folder) as unfinished:
        _write(scene, points, unfinished)


def _write(scene: Scene, points: ColouredPoints | None, folder: Path) -> None:
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    (folder / "images").mkdir()
    cameras: dict[str, int] = {}  # parameters -> id
    images = [f"# scale: {scene_scale(scene)}", WORLD_COMMENT, *([METRIC_COMMENT] if scene.metric else [])]
    for number, (view, name) in enumerate(zip(scene.views, _file_names(scene), strict=True), 1):
        pixels = view.image
        Image.fromarray(pixels).save(folder / "images" / name, quality=_QUALITY, subsampling=0)
        intrinsics = np.asarray(view.intrinsics)
        size = f"{pixels.shape[1]} {pixels.shape[0]}"
        camera = cameras.setdefault(f"{size} {_words(intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]])}", len(cameras) + 1)
        camera_from_world = invert_rigid(np.asarray(view.world_from_camera, dtype=np.float64))
        pose = [*_quaternion(camera_from_world[:3, :3]), *camera_from_world[:3, 3]]
        images += [f"{number} {_words(np.array(pose))} {camera} {name}", ""]
    (model / "images.txt").write_text("\n".join(images) + "\n", encoding="utf-8")
    lenses = [f"{id} PINHOLE {parameters}" for parameters, id in cameras.items()]
    (model / "cameras.txt").write_text("\n".join(lenses) + "\n", encoding="utf-8")
    rows = [] if points is None else zip(points.positions.tolist(), points.colours.tolist(), strict=True)
    lines = (
        f"{id} {x:.5f} {y:.5f} {z:.5f} {red} {green} {blue} 0\n"
        for id, ((x, y, z), (red, green, blue)) in enumerate(rows, 1)
    )
    with (model / "points3D.txt").open("w", encoding="utf-8") as file:
        file.writelines(lines)


def _file_names(scene: Scene) -> Iterator[str]:
    """Yield a distinct file name for each view, in their order."""
    digits = len(str(len(scene.views)))
    for number, view in enumerate(scene.views, 1):
        stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in Path(view.name).stem)
        yield f"{number:0{digits}d}_{stem}.jpg"


def _quaternion(rotation: Array) -> Array:
    """Convert a rotation (3, 3) to a unit quaternion (w, x, y, z): the main eigenvector of Bar-Itzhack's matrix."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    return np.linalg.eigh(symmetric)[1][:, -1]


def _words(values: Array) -> str:
    return " ".join(repr(float(value)) for value in values)
