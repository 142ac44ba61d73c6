"""Procedural rooms as scenes: ``room_scene(split, number)`` is a pure function of its arguments.

Knows who calls whom, and nothing of how things are placed (placement), looked at (standpoints) or drawn (render).
Pictures are drawn together, once, when a view is first looked at; boxes and poses are there at once.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from math import radians
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, intrinsics_from_fov
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.synthetic.cameras import Camera, choose_cameras
from dollhouse.scenes.synthetic.furniture import KINDS
from dollhouse.scenes.synthetic.layout import Item, RoomLayout
from dollhouse.scenes.synthetic.meshes import room_surfaces
from dollhouse.scenes.synthetic.placement import furnish
from dollhouse.scenes.synthetic.render import Rendering, render

SPLITS: Final = ("train", "validation", "test")
ROOMS_VERSION = 1  #: raise it whenever a room's boxes, poses or pictures change: what caches hold of them is then stale


def room_layout(split: str, number: int) -> RoomLayout:
    """The furnished room that :func:`room_scene` shows, without cameras. Same errors."""
    return _draw(split, number, views=1)[0]


def room_scene(split: str, number: int, *, image_size: int = 126, views: int = 4) -> Scene:
    """Room ``number`` (0, 1, ...) of ``split``, photographed ``views`` times at ``image_size`` x ``image_size`` pixels.

    Colour, depth and instance ids are drawn on first sight of any view. Raises SceneError for an unknown split, a
    negative number, or fewer than one view or 14 pixels.
    """
    if image_size < 14 or views < 1:
        raise SceneError(f"a room needs at least 1 view of at least 14 pixels, not {views} of {image_size}")
    layout, cameras, fov = _draw(split, number, views)
    poses = np.stack([camera.world_from_camera for camera in cameras])
    intrinsics = intrinsics_from_fov(fov, image_size, image_size)
    pictures = _Pictures(layout, poses, intrinsics, image_size)
    return Scene(
        name=f"rooms:{split}/{number}",
        views=tuple(pictures.view(k) for k in range(views)),
        boxes=boxes_of(layout),
        metadata={
            "source": "rooms",
            "split": split,
            "number": number,
            "licence": "Apache-2.0",
            "floor": [list(corner) for corner in layout.outline],
            "height": layout.height,
        },
    )


def boxes_of(layout: RoomLayout) -> tuple[Box, ...]:
    """The boxes of a layout's items, with ids from 1 up in their order."""
    return tuple(_box(index + 1, item) for index, item in enumerate(layout.items))


def _box(id: int, item: Item) -> Box:
    return Box(
        id=id,
        label=item.label,
        center=np.array(item.centre),
        size=np.array(item.size),
        yaw=item.yaw,
        has_front=KINDS[item.label].has_front,
        colour=item.colour,
    )


def _draw(split: str, number: int, views: int) -> tuple[RoomLayout, list[Camera], float]:
    if split not in SPLITS:
        raise SceneError(f"no split {split!r} of rooms; the splits are {', '.join(SPLITS)}")
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
        raise SceneError(f"rooms are numbered 0, 1, 2, ...; {number!r} is not such a number")
    for attempt in range(100):  # a room so full that nobody can stand in it is drawn again
        seed = blake2b(f"dollhouse room {split}/{int(number)}/{attempt}".encode(), digest_size=8).digest()
        rng = Random(int.from_bytes(seed, "little"))
        layout = furnish(rng)
        if len(layout.items) < 5:
            continue
        fov = radians(68 + 8 * rng.random())
        cameras = choose_cameras(rng, layout, views, fov)
        if cameras is not None:
            return layout, cameras, fov
    raise AssertionError(f"room {split}/{number} could not be furnished")


class _Pictures:
    """The views of one room, drawn together when the first is looked at."""

    def __init__(self, layout: RoomLayout, poses: Array, intrinsics: Array, size: int) -> None:
        self.layout, self.poses, self.intrinsics, self.size = layout, poses, intrinsics, size

    @cached_property
    def drawn(self) -> Rendering:
        surfaces = room_surfaces(self.layout)
        return render(surfaces, self.layout.lighting, self.poses, self.intrinsics, self.size, self.size)

    def view(self, index: int) -> View:
        def image() -> NDArray[np.uint8]:
            return self.drawn.images[index]

        def depth() -> NDArray[np.float32]:
            return self.drawn.depths[index]

        def instances() -> NDArray[np.int32]:
            return self.drawn.instances[index]

        return View(
            name=f"{index:02d}",
            open_image=image,
            intrinsics=self.intrinsics.copy(),
            world_from_camera=self.poses[index].copy(),
            open_depth=depth,
            open_instances=instances,
        )
