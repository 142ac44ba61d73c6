"""Homes as scenes: ``home_scene(split, number)`` is a pure function of its arguments and the installed models.

Boxes and poses need no rendering; depth and instance ids none of the colour.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import camera_rays
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.synthetic.homes.cameras import sample_cameras
from dollhouse.scenes.synthetic.homes.catalogue import installed_pieces
from dollhouse.scenes.synthetic.homes.item_colours import item_colour
from dollhouse.scenes.synthetic.homes.layout import Home, HomeMesh, image_shape
from dollhouse.scenes.synthetic.homes.meshes import home_mesh
from dollhouse.scenes.synthetic.homes.renderer import HomeRenderer
from dollhouse.scenes.synthetic.homes.rooms import furnish
from dollhouse.scenes.synthetic.raycast import Caster
from dollhouse.scenes.synthetic.room_scene import attempts

HOMES_VERSION = 3  #: raise it whenever a home's boxes, poses or images change; caches are keyed by it
FEWEST_ITEMS, MOST_ITEMS = 8, 44
_ASPECTS = ((4, 3), (4, 3), (4, 3), (4, 3), (4, 3), (3, 4), (3, 4), (3, 4), (1, 1))


def home_scene(split: str, number: int, *, image_size: int = 252, views: int = 4) -> Scene:
    """Create home ``number`` (0, 1, ...) of ``split``, the longer side of its images ``image_size`` pixels.

    ``metadata["furniture"]`` lists the Sweet Home 3D pieces with their box ids, creators and licences. Raises
    SceneError for an unknown split, a negative number, less than one view or 14 pixels, or without the libraries.
    """
    if image_size < 14 or views < 1:
        raise SceneError(f"a home needs at least 1 view of at least 14 pixels, not {views} of {image_size}")
    home = sample_home(split, number, views)
    pieces = installed_pieces()
    furniture = [
        {"box": id, "library": pieces[item.model].library.name}
        | {name: getattr(pieces[item.model], name) for name in ("name", "id", "creator", "licence")}
        for id, item in enumerate(home.items, 1)
        if "#" in item.model
    ]
    licences = sorted({str(piece["licence"]) for piece in furniture})
    metadata: dict[str, Any] = {
        "source": "homes", "split": split, "number": int(number), "room": home.room, "furniture": furniture,
        "licence": "; ".join(["Apache-2.0 (the room)", *(f"{licence} (furniture)" for licence in licences)]),
        "floor": [list(corner) for corner in home.outline], "height": home.height,
    }  # fmt: skip
    return Scene(f"homes:{split}/{int(number)}", _views(home, image_size), _boxes(home), metadata=metadata)


def sample_home(split: str, number: int, views: int = 4) -> Home:
    """Sample the description of a home; errors as :func:`home_scene`."""
    for rng in attempts("home", split, number):
        room, furnished = furnish(rng, split)
        if not FEWEST_ITEMS <= len(furnished.items) <= MOST_ITEMS:
            continue
        aspect = _ASPECTS[int(rng.random() * len(_ASPECTS))]
        cameras = sample_cameras(rng, furnished.outline, furnished.height, furnished.items, views, aspect)
        if cameras is not None:
            parts = (furnished.outline, furnished.height, tuple(furnished.openings), tuple(furnished.items))
            return Home(room, *parts, cameras, aspect, int(rng.random() * 2**31))
    raise AssertionError(f"home {split}/{number} could not be furnished")


def _boxes(home: Home) -> tuple[Box, ...]:
    return tuple(
        Box(id, item.label, np.array(item.centre), np.array(item.size), item.yaw, item.has_front, item_colour(item))
        for id, item in enumerate(home.items, 1)
    )


def _views(home: Home, image_size: int) -> tuple[View, ...]:
    """Create lazy views; the mesh is built on the first access, each view is cast on its own."""
    width, height = image_shape(home.aspect, image_size)

    @cache
    def mesh() -> HomeMesh:
        return home_mesh(home)

    @cache
    def renderer() -> HomeRenderer:
        return HomeRenderer(home, mesh(), caster())

    @cache
    def caster() -> Caster:
        return Caster(mesh().triangles)

    @cache
    def geometry(index: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Cast depth and instance ids."""
        camera = home.cameras[index]
        pose = camera.world_from_camera
        # The z of a direction in the camera frame is 1, so the ray parameter is z-depth.
        rays = camera_rays(camera.intrinsics(width, height), width, height).reshape(-1, 3)
        directions = (rays @ pose[:3, :3].T).astype(np.float32)
        hits = caster().first_hit(np.broadcast_to(pose[:3, 3].astype(np.float32), rays.shape).copy(), directions)
        instances = np.where(hits.triangle >= 0, mesh().instances[hits.triangle], 0).astype(np.int32)
        return hits.distance.reshape(height, width), instances.reshape(height, width)

    @cache
    def photo(index: int) -> NDArray[np.uint8]:
        return renderer().photo(index, width, height)

    def view(index: int) -> View:
        camera = home.cameras[index]
        return View(
            name=f"{index:02d}",
            open_image=lambda: photo(index),
            intrinsics=camera.intrinsics(width, height),
            world_from_camera=camera.world_from_camera,
            open_depth=lambda: geometry(index)[0],
            open_instances=lambda: geometry(index)[1],
        )

    return tuple(view(index) for index in range(len(home.cameras)))
