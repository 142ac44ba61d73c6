"""Generator of a data set of ScanNet-layout scans: synthetic rooms, filmed by a person who walks through them.

    python -m benchmarks.scannet_scans --out DIR --scans 100 --frames 300 [--stream]

Writes ``DIR/scans/scene0000_00`` and so on, and ``DIR/scannetv2_train.txt`` and ``scannetv2_val.txt`` (every fifth).
A scan depends on its number, frames and size alone. Scans that exist already are left as they are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, lru_cache, partial
from math import radians
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from dollhouse.geometry import Array, intrinsics_from_fov, resize_intrinsics
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.cameras import PlacedCamera, clearance
from dollhouse.scenes.synthetic.layout import RoomLayout
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.render import Rendering, render
from dollhouse.scenes.synthetic.room_scene import room_layout, room_scene
from dollhouse.system.progress import ProgressBar

FIELD_OF_VIEW = radians(65.0)
STEP = 0.03  # metres between frames: 0.3 m/s at ten frames a second
TURN = radians(3.0)  # typical change of heading between frames
CLEARANCE = 0.3  # metres between a camera and walls or furniture
CELL = 0.1  # metres, of the grid on which the walk is planned
CHUNK = 10  # frames rendered together


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--width", type=int, default=320, help="of colour; depth has half of it")
    parser.add_argument("--height", type=int, default=240, help="of colour; depth has half of it")
    parser.add_argument("--split", default="train", help="split of the synthetic rooms")
    parser.add_argument("--stream", action="store_true", help="write .sens streams, not exported frames")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    names = [f"scene{number:04d}_00" for number in range(options.scans)]
    (options.out / "scans").mkdir(parents=True, exist_ok=True)
    for split, part in (("train", [n for i, n in enumerate(names) if i % 5 != 4]), ("val", names[4::5])):
        (options.out / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in part), encoding="utf-8")
    size = options.width, options.height
    write = partial(write_scan, split=options.split, frames=options.frames, size=size, stream=options.stream)
    todo = [number for number, name in enumerate(names) if not (options.out / "scans" / name).exists()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, spawn) as pool, ProgressBar("scans", len(todo), "scans") as bar:
        futures = [pool.submit(write, options.out / "scans" / names[number], number) for number in todo]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            bar.update(done)
    print(f"{len(todo)} scans written, {len(names)} in {options.out}")


def write_scan(folder: Path, number: int, *, split: str, frames: int, size: tuple[int, int], stream: bool) -> None:
    """Write one scan, exported or as a stream."""
    write_scannet(walk_scene(split, number, frames, size), folder, stream=stream)


def walk_scene(split: str, number: int, frames: int, size: tuple[int, int] = (320, 240)) -> Scene:
    """Create room ``number`` filmed by ``frames`` views of ``size`` (width, height), depth of half the size.

    Views are rendered in order, a chunk at a time, of which one is held in memory.
    """
    layout = room_layout(split, number)
    width, height = size
    intrinsics = intrinsics_from_fov(FIELD_OF_VIEW, width, height)
    # Every second depth pixel is stored; its ray is that of a pixel a quarter off the centre of the new one.
    depth_intrinsics = resize_intrinsics(intrinsics, 0.5, 0.5, left=-0.25, top=-0.25)
    poses = walk(np.random.default_rng(number), layout, frames)
    meshes = cache(lambda: room_meshes(layout))

    @lru_cache(maxsize=1)
    def chunk(index: int) -> Rendering:
        return render(meshes(), layout.lighting, poses[index : index + CHUNK], intrinsics, width, height)

    def view(index: int) -> View:
        start, offset = index // CHUNK * CHUNK, index % CHUNK
        return View(
            name=str(index),
            open_image=lambda: chunk(start).images[offset],
            intrinsics=intrinsics,
            world_from_camera=poses[index],
            open_depth=lambda: chunk(start).depths[offset, ::2, ::2],
            depth_intrinsics=depth_intrinsics,
            open_instances=lambda: chunk(start).instances[offset],
        )

    room = room_scene(split, number, views=1)
    return Scene(f"walk:{split}/{number}", tuple(map(view, range(frames))), room.boxes, metadata=room.metadata)


def walk(rng: np.random.Generator, layout: RoomLayout, frames: int) -> Array:
    """Sample poses (frames, 4, 4) of a person who walks from place to place and pans a scanner, without jumps."""
    path = _walked_path(rng, layout, STEP * frames)
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0.0, min(STEP * frames, travelled[-1]), frames)
    plan = np.column_stack([np.interp(at, travelled, path[:, axis]) for axis in (0, 1)])
    heading = rng.uniform(0, 2 * np.pi) + rng.choice((-1, 1)) * TURN * np.arange(frames) + 0.6 * _sway(rng, frames, 90)
    pitch = radians(-18.0) + radians(9.0) * _sway(rng, frames, 60) + radians(0.4) * _sway(rng, frames, 4)
    roll = radians(2.0) * _sway(rng, frames, 30) + radians(0.4) * _sway(rng, frames, 4)
    eye_height = rng.uniform(1.35, 1.6) + 0.06 * _sway(rng, frames, 40)
    eyes = np.column_stack([plan, eye_height])
    cameras = map(PlacedCamera, eyes, heading, pitch, roll)
    return np.stack([camera.world_from_camera for camera in cameras])


def _sway(rng: np.random.Generator, frames: int, period: float) -> NDArray[np.float64]:
    """Sample a smooth curve (frames,) between about -1 and 1 that changes over ``period`` frames."""
    times = 2 * np.pi * np.arange(frames) / period
    return sum(np.sin(times * rng.uniform(0.5, 1.5) + rng.uniform(0, 2 * np.pi)) for _ in range(3)) / 3


def _walked_path(rng: np.random.Generator, layout: RoomLayout, length: float) -> Array:
    """Join shortest ways between random free places to a path (N, 2) of at least ``length`` metres, smoothed."""
    places, ways = _free_grid(layout)
    here, path, walked = int(rng.integers(len(places))), [], 0.0
    while walked < length + 1.0 and len(places) > 1:
        distances, before = dijkstra(ways, directed=False, indices=here, return_predecessors=True)
        there = int(rng.integers(len(places)))
        walked += distances[there]
        way = [there]
        while way[-1] != here:
            way.append(int(before[way[-1]]))
        path += way[::-1][1:]
        here = there
    return gaussian_filter1d(places[path or [here, here]], sigma=2.0, axis=0, mode="nearest")


def _free_grid(layout: RoomLayout) -> tuple[Array, coo_array]:
    """Return the places (N, 2) of the largest free area, and the lengths (N, N) of steps between neighbours."""
    (x0, y0), (x1, y1) = layout.low, layout.high
    x, y = np.meshgrid(np.arange(x0, x1, CELL), np.arange(y0, y1, CELL), indexing="ij")
    room = clearance(layout, np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    areas, _ = label(room > CLEARANCE) if (room > CLEARANCE).any() else label(room >= room.max())
    sizes = np.bincount(areas.ravel())[1:]
    free = areas == 1 + int(sizes.argmax())
    ids = np.full(free.shape, -1)
    ids[free] = np.arange(free.sum())
    pairs = [(ids[:-1], ids[1:]), (ids[:, :-1], ids[:, 1:])]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    joined = (first >= 0) & (second >= 0)
    lengths = np.full(joined.sum(), CELL)
    return np.column_stack([x[free], y[free]]), coo_array(
        (lengths, (first[joined], second[joined])), shape=(int(free.sum()),) * 2
    )


if __name__ == "__main__":
    main()
