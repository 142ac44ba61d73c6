"""What a scene is: views of one place, and, where somebody annotated it, the boxes of its objects.

Knows nothing of where scenes come from (the readers beside it) or of models. A view's images are
opened when looked at, so a scene of a thousand frames costs nothing until a frame is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, box_corners, transform_points


@dataclass(frozen=True)
class Box:
    """One object: a box that stands upright, in world coordinates (conventions: :mod:`dollhouse.geometry`)."""

    id: int  #: from 1 up; pixels of ``View.instances`` carry it; 0 is no object
    label: str  #: category, lower case, singular: "chair"
    center: Array  #: (3,) metres
    size: Array  #: (3,) metres along the box's own axes: length (towards the front), width, height
    yaw: float  #: radians
    has_front: bool = False  #: whether the object has a front; then the box's own x axis points there
    colour: str | None = None  #: main colour as a word, where known
    score: float | None = None  #: confidence of the model that found it; None where a person annotated it

    @property
    def front(self) -> Array | None:
        """Unit vector (3,) to the object's front, or None."""
        return np.array([np.cos(self.yaw), np.sin(self.yaw), 0.0]) if self.has_front else None

    @property
    def corners(self) -> Array:
        """The eight corners (8, 3)."""
        return box_corners(self.center, self.size, self.yaw)

    @property
    def bottom(self) -> float:
        return float(self.center[2] - 0.5 * self.size[2])

    @property
    def top(self) -> float:
        return float(self.center[2] + 0.5 * self.size[2])

    def transformed(self, a_from_world: Array) -> Box:
        """The same box in another upright frame (``a_from_world`` turns about z and translates only)."""
        turn = float(np.arctan2(a_from_world[1, 0], a_from_world[0, 0]))
        return replace(self, center=transform_points(a_from_world, np.asarray(self.center)), yaw=self.yaw + turn)


@dataclass(frozen=True, eq=False)
class View:
    """One photo, with depth and a pose where the scene has them.

    The ``open_*`` callables read on demand and raise :class:`dollhouse.errors.SceneError` on bad files;
    use the properties. Colour and depth may differ in size; each has its own intrinsics.
    """

    name: str
    open_image: Callable[[], NDArray[np.uint8]]
    intrinsics: Array | None = None  #: (3, 3) of the colour image, pixels
    world_from_camera: Array | None = None  #: (4, 4)
    open_depth: Callable[[], NDArray[np.float32]] | None = None
    depth_intrinsics: Array | None = None  #: (3, 3) of the depth map; None: the colour image's
    open_instances: Callable[[], NDArray[np.int32]] | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """Colour (H, W, 3), RGB."""
        return self.open_image()

    @property
    def depth(self) -> NDArray[np.float32] | None:
        """z-depth (H', W') in metres, 0 where unknown; None if the view has none."""
        return self.open_depth() if self.open_depth else None

    @property
    def instances(self) -> NDArray[np.int32] | None:
        """Box ids (H, W) of the colour image's pixels, 0 where no object; None if not annotated."""
        return self.open_instances() if self.open_instances else None


@dataclass(frozen=True, eq=False)
class Scene:
    """Views of one place. ``boxes`` is None where nobody annotated objects, () where there are none."""

    name: str
    views: tuple[View, ...]
    boxes: tuple[Box, ...] | None = None
    metric: bool = True  #: whether depth and poses are in metres
    metadata: Mapping[str, Any] = field(default_factory=dict)  #: source, licences, frames skipped, outline of the floor

    @property
    def posed(self) -> bool:
        return bool(self.views) and all(view.world_from_camera is not None for view in self.views)

    @property
    def has_depth(self) -> bool:
        return bool(self.views) and all(view.open_depth is not None for view in self.views)

    def box(self, id: int) -> Box:
        """The box with this id; KeyError if there is none."""
        for box in self.boxes or ():
            if box.id == id:
                return box
        raise KeyError(id)

    def hold_out(self, every: int) -> tuple[Scene, Scene]:
        """The scene to learn from and the scene to test on: every ``every``-th view is held out; 0 holds out none."""
        held = [bool(every) and (number + 1) % every == 0 for number in range(len(self.views))]
        kept = tuple(view for view, out in zip(self.views, held, strict=True) if not out)
        tested = tuple(view for view, out in zip(self.views, held, strict=True) if out)
        return replace(self, views=kept), replace(self, views=tested)

    def sample_views(self, count: int) -> Scene:
        """The scene with at most ``count`` views, spread evenly over it, the first one kept."""
        if len(self.views) <= count:
            return self
        chosen = np.linspace(0, len(self.views) - 1, count).round().astype(int)
        return replace(self, views=tuple(self.views[i] for i in chosen))
