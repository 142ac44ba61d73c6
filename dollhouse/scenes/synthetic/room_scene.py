"""Synthetic rooms as scenes: ``room_scene(split, number)`` is a pure function of its arguments.

All views of a room are rendered together on first access to an image; boxes and poses need no rendering.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from math import radians
from random import Random
from typing import Final

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, intrinsics_from_fov
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.synthetic.cameras import PlacedCamera, sample_cameras
from dollhouse.scenes.synthetic.furniture import KINDS
from dollhouse.scenes.synthetic.layout import RoomLayout
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.placement import sample_layout
from dollhouse.scenes.synthetic.render import Meshes, Rendering, render

SPLITS: Final = ("train", "validation", "test")
ROOMS_VERSION = 1  #: raise it whenever a room's boxes, poses or images change; caches are keyed by it


def room_layout(split: str, number: int) -> RoomLayout:
    """Sample the furnished room of :func:`room_scene`, without cameras. Same errors."""
    return _sample_room(split, number, views=1)[0]


def room_scene(split: str, number: int, *, image_size: int = 126, views: int = 4) -> Scene:
    """Create room ``number`` (0, 1, ...) of ``split`` with ``views`` square views of ``image_size`` pixels.

    Raises SceneError for an unknown split, a negative number, less than one view or 14 pixels.
    """
    if image_size < 14 or views < 1:
        raise SceneError(f"a room needs at least 1 view of at least 14 pixels, not {views} of {image_size}")
    layout, cameras, fov = _sample_room(split, number, views)
    poses = np.stack([camera.world_from_camera for camera in cameras])
    intrinsics = intrinsics_from_fov(fov, image_size, image_size)
    return Scene(
        name=f"rooms:{split}/{number}",
        views=render_views(lambda: room_meshes(layout), layout, poses, intrinsics, image_size),
        boxes=tuple(
            Box(
                id,
                item.label,
                np.array(item.centre),
                np.array(item.size),
                item.yaw,
                KINDS[item.label].has_front,
                item.colour,
            )
            for id, item in enumerate(layout.items, 1)
        ),
        metadata={"source": "rooms", "split": split, "number": number, "licence": "Apache-2.0"}
        | {"floor": [list(corner) for corner in layout.outline], "height": layout.height},
    )


def render_views(
    build_meshes: Callable[[], Meshes], layout: RoomLayout, poses: Array, intrinsics: Array, image_size: int
) -> tuple[View, ...]:
    """Create lazy views of ``poses`` (V, 4, 4); the first access to any image renders all of them."""

    @cache
    def rendering() -> Rendering:
        return render(build_meshes(), layout.lighting, poses, intrinsics, image_size, image_size)

    def view(index: int) -> View:
        return View(
            name=f"{index:02d}",
            open_image=lambda: rendering().images[index],
            intrinsics=intrinsics.copy(),
            world_from_camera=poses[index].copy(),
            open_depth=lambda: rendering().depths[index],
            open_instances=lambda: rendering().instances[index],
        )

    return tuple(view(index) for index in range(len(poses)))


def _sample_room(split: str, number: int, views: int) -> tuple[RoomLayout, list[PlacedCamera], float]:
    for rng in attempts("room", split, number):
        layout = sample_layout(rng)
        if len(layout.items) < 5:
            continue
        fov = radians(68 + 8 * rng.random())
        cameras = sample_cameras(rng, layout, views, fov)
        if cameras is not None:
            return layout, cameras, fov
    raise AssertionError(f"room {split}/{number} could not be furnished")


def attempts(kind: str, split: str, number: int) -> Iterator[Random]:
    """Yield a generator for each attempt at a "room" or "home"; one without space for a camera is sampled again.

    Raises SceneError for an unknown split or a negative number.
    """
    if split not in SPLITS:
        raise SceneError(f"no split {split!r} of {kind}s; the splits are {', '.join(SPLITS)}")
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
        raise SceneError(f"{kind}s are numbered 0, 1, 2, ...; {number!r} is not such a number")
    return (seeded(f"{kind} {split}/{int(number)}/{attempt}") for attempt in range(100))


def seeded(name: str) -> Random:
    """Return a generator that depends on ``name`` alone."""
    return Random(int.from_bytes(blake2b(f"dollhouse {name}".encode(), digest_size=8).digest(), "little"))
