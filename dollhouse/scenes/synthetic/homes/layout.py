"""Data types of a home: its room, openings, items and cameras, and the triangles and surfaces built from them.

A description fixes all geometry. ``appearance_seed`` is for what changes images only: textures, light, photo effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, floor, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, intrinsics_from_fov, look_at
from dollhouse.scenes.synthetic.furniture import Rgb
from dollhouse.scenes.synthetic.layout import Footprint, footprint

FLOOR: Final = -1
WALL: Final = -2
CEILING: Final = -3
_PATCH: Final = 14


@dataclass(frozen=True)
class Opening:
    """A hole in a wall, filled by the window or door that is item ``item``."""

    wall: int  #: index of the outline's edge, from corner ``wall`` to the next corner
    start: float  #: metres from the edge's first corner
    end: float
    bottom: float  #: metres above the floor
    top: float
    item: int


@dataclass(frozen=True)
class Item:
    """One object of a home: a Sweet Home 3D piece, or a procedural kind."""

    label: str  #: of scenes/labels.txt
    model: str  #: id of a piece ("Scopia#toaster"), or name of a procedural kind ("rug")
    size: tuple[float, float, float]  #: length (back to front), width, height in metres
    centre: tuple[float, float, float]
    yaw: float
    support: int  #: index of the item that it stands on, FLOOR, WALL or CEILING
    seed: int  #: of the details of procedural kinds and their appearance
    has_front: bool = False
    paint: str | None = None  #: name of COLOURS given to the main surface; None: the model's own, or the kind's choice

    @property
    def footprint(self) -> Footprint:
        return footprint(self.centre[0], self.centre[1], self.yaw, self.size[0], self.size[1])

    @property
    def bottom(self) -> float:
        return self.centre[2] - 0.5 * self.size[2]

    @property
    def top(self) -> float:
        return self.centre[2] + 0.5 * self.size[2]


@dataclass(frozen=True)
class HomeCamera:
    """One view: eye in metres; heading, pitch (negative downwards), roll and horizontal field of view in radians."""

    eye: tuple[float, float, float]
    heading: float
    pitch: float
    roll: float
    fov: float

    @property
    def world_from_camera(self) -> Array:
        """Return the pose (4, 4)."""
        eye, level = np.array(self.eye), cos(self.pitch)
        ahead = np.array([cos(self.heading) * level, sin(self.heading) * level, sin(self.pitch)])
        pose = look_at(eye, eye + ahead)
        c, s = cos(self.roll), sin(self.roll)
        pose[:3, :3] = pose[:3, :3] @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return pose

    def intrinsics(self, width: int, height: int) -> Array:
        """Return the intrinsics (3, 3) of an image of this many pixels."""
        return intrinsics_from_fov(self.fov, width, height)


@dataclass(frozen=True)
class Home:
    """A furnished room. The floor is z = 0; ``outline`` lists its corners counter-clockwise, a rectangle or an L."""

    room: str  #: "living room", "kitchen", ...
    outline: tuple[tuple[float, float], ...]
    height: float
    openings: tuple[Opening, ...]
    items: tuple[Item, ...]
    cameras: tuple[HomeCamera, ...]
    aspect: tuple[int, int]  #: width to height of its images: (4, 3), (3, 4) or (1, 1)
    appearance_seed: int


@dataclass(frozen=True)
class Surface:
    """What triangles are made of. Colours are sRGB in [0, 1]."""

    #: "floor", "wall", "ceiling", "pane" (a window's glass with the outside behind it), "lamp" (gives light), "screen",
    #: "mirror", "picture", or a material: "fabric", "wood", "metal", "ceramic", "plastic", "paper", "leaf", "stone";
    #: "model": a piece's own material
    role: str
    rgb: Rgb  #: mean colour, the texture's mean times its tint where there is one
    texture: tuple[str, str] | None = None  #: path of the library and of the texture in it
    painted: bool = False  #: whether ``rgb`` replaces the mean colour of the texture, which keeps its pattern
    opacity: float = 1.0
    shine: float = 0.0  #: specular share, 0 to 1
    item: int = -1  #: index of the item, -1 for the room


@dataclass(frozen=True, eq=False)
class HomeMesh:
    """Triangles of a home in world coordinates, metres. Faces are seen from both sides."""

    triangles: NDArray[np.float32]  #: (T, 3, 3)
    uv: NDArray[np.float32]  #: (T, 3, 2) texture coordinates, v upwards; in metres along the surface where no texture
    instances: NDArray[np.int32]  #: (T,) item index + 1, 0 for the room
    surface_ids: NDArray[np.int32]  #: (T,) indices into ``surfaces``
    surfaces: tuple[Surface, ...]


def image_shape(aspect: tuple[int, int], image_size: int) -> tuple[int, int]:
    """Return (width, height) of a home's images: the longer side is ``image_size``, the shorter whole patches."""
    width, height = aspect
    shorter = max(_PATCH, _PATCH * floor(image_size * min(aspect) / max(aspect) / _PATCH))
    return (image_size if width >= height else shorter, image_size if height >= width else shorter)
