"""Data types of a scene: :class:`Scene`, its :class:`View` images and the :class:`Box` of each annotated object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, box_corners, transform_points
from dollhouse.system.text import storable


@dataclass(frozen=True)
class Box:
    """Oriented 3D bounding box of one object, upright, in world coordinates (see :mod:`dollhouse.geometry`)."""

    id: int  #: from 1; the value of the object's pixels in ``View.instances``, where 0 is background
    label: str  #: category, lower case, singular: "chair"
    center: Array  #: (3,) metres
    size: Array  #: (3,) metres along the box's own axes: length (towards the front), width, height
    yaw: float  #: radians, counter-clockwise from the world's x axis to the box's x axis
    has_front: bool = False  #: whether the box's x axis points to the object's front
    colour: str | None = None  #: main colour as a word; None where unknown
    score: float | None = None  #: confidence of a predicted box; None for annotations

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Box:
        """Return the box of plain fields, such as of JSON, whose centre and size are lists."""
        return cls(**{**fields, "center": np.array(fields["center"]), "size": np.array(fields["size"])})

    @property
    def front(self) -> Array | None:
        """Return the unit vector (3,) to the object's front, or None."""
        return np.array([np.cos(self.yaw), np.sin(self.yaw), 0.0]) if self.has_front else None

    @property
    def corners(self) -> Array:
        """Return the eight corners (8, 3), ordered as :func:`dollhouse.geometry.box_corners`."""
        return box_corners(self.center, self.size, self.yaw)

    @property
    def bottom(self) -> float:
        return float(self.center[2] - 0.5 * self.size[2])

    @property
    def top(self) -> float:
        return float(self.center[2] + 0.5 * self.size[2])

    def transformed(self, a_from_world: Array) -> Box:
        """Return the box in frame a; ``a_from_world`` (4, 4) may rotate about z and translate only."""
        turn = float(np.arctan2(a_from_world[1, 0], a_from_world[0, 0]))
        return replace(self, center=transform_points(a_from_world, np.asarray(self.center)), yaw=self.yaw + turn)


@dataclass(frozen=True, eq=False)
class View:
    """One image with optional depth, camera pose and instance ids.

    Arrays are read on demand through the properties, so a scene of a thousand frames holds no pixels. The ``open_*``
    callables raise :class:`dollhouse.errors.SceneError` on files that cannot be read. Colour and depth may differ in
    size; each has its own intrinsics.
    """

    name: str
    open_image: Callable[[], NDArray[np.uint8]]
    intrinsics: Array | None = None  #: (3, 3) of the colour image, pixels
    world_from_camera: Array | None = None  #: (4, 4)
    open_depth: Callable[[], NDArray[np.float32]] | None = None
    depth_intrinsics: Array | None = None  #: (3, 3) of the depth map; None: those of the colour image
    open_instances: Callable[[], NDArray[np.int32] | None] | None = None  #: may return None, too

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", storable(self.name))

    @property
    def image(self) -> NDArray[np.uint8]:
        """Read the colour image (H, W, 3), RGB."""
        return self.open_image()

    @property
    def depth(self) -> NDArray[np.float32] | None:
        """Read the z-depth map (H', W') in metres, 0 where unknown; None if the view has none."""
        return self.open_depth() if self.open_depth else None

    @property
    def intrinsics_of_depth(self) -> Array | None:
        """Return the intrinsics (3, 3) of the depth map, by default those of the colour image."""
        return self.intrinsics if self.depth_intrinsics is None else self.depth_intrinsics

    @property
    def instances(self) -> NDArray[np.int32] | None:
        """Read the box id (H, W) of each colour pixel, 0 for background; None if not annotated, or broken."""
        return self.open_instances() if self.open_instances else None


@dataclass(frozen=True, eq=False)
class Scene:
    """Views of one place. ``boxes`` is None where objects are not annotated, () where there are none."""

    name: str
    views: tuple[View, ...]
    boxes: tuple[Box, ...] | None = None
    metric: bool = True  #: whether depth and poses are in metres
    metadata: Mapping[str, Any] = field(default_factory=dict)  #: source, licences, skipped frames, floor outline

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", storable(self.name))

    @property
    def known_poses(self) -> list[Array]:
        """Return ``world_from_camera`` (4, 4) of the views that have it."""
        return [view.world_from_camera for view in self.views if view.world_from_camera is not None]

    @property
    def posed(self) -> bool:
        """Return whether every view has a camera pose."""
        return bool(self.views) and all(view.world_from_camera is not None for view in self.views)

    @property
    def has_depth(self) -> bool:
        """Return whether every view has a depth map."""
        return bool(self.views) and all(view.open_depth is not None for view in self.views)

    def box(self, id: int) -> Box:
        """Return the box with this id; KeyError if there is none."""
        for box in self.boxes or ():
            if box.id == id:
                return box
        raise KeyError(id)

    @property
    def notices(self) -> list[str]:
        """Return what a user must know of how the scene was opened: what was left out, cut, padded or not used."""
        lines = [f"left out: {fault}" for fault in self.metadata.get("skipped") or ()]
        if lost := self.metadata.get("frames_skipped"):
            lines.append(f"left out: {lost} frames without a pose")
        lines += [f"warning: {warning}" for warning in self.metadata.get("warnings") or ()]
        check = self.metadata.get("pose_check")
        if check and (check["agrees"] is False or check["mistake"]):
            lines.append(f"warning: {check['summary']}")
        named = {"framing": "framing", "unused": "not used"}
        return lines + [f"{name}: {self.metadata[key]}" for key, name in named.items() if self.metadata.get(key)]

    def hold_out(self, every: int) -> tuple[Scene, Scene]:
        """Split the views into (train, test): every ``every``-th view is for testing; 0 holds out none."""
        test = [bool(every) and (number + 1) % every == 0 for number in range(len(self.views))]
        parts = [
            tuple(view for view, held in zip(self.views, test, strict=True) if held is part) for part in (False, True)
        ]
        return replace(self, views=parts[0]), replace(self, views=parts[1])

    def read_sample(self, count: int, skip_bad: bool = False) -> tuple[Scene, list[NDArray[np.uint8]]]:
        """Return :meth:`sample_views` with its images.

        ``skip_bad`` takes other views for those that cannot be read and adds their faults to ``metadata["skipped"]``;
        otherwise, and where none is left, the first raises SceneError.
        """
        scene = self
        while True:
            sampled, images = scene.sample_views(count), []
            for view in sampled.views:
                try:
                    images.append(view.image)
                except SceneError as error:
                    others = tuple(other for other in scene.views if other is not view)
                    if not (skip_bad and others):
                        raise
                    metadata = {**scene.metadata, "skipped": (*scene.metadata.get("skipped", ()), str(error))}
                    scene = replace(scene, views=others, metadata=metadata)
                    break
            else:
                return sampled, images

    def keeping_images(self) -> Scene:
        """Return the scene with colour images that stay in memory once they are read."""
        return replace(self, views=tuple(replace(view, open_image=cache(view.open_image)) for view in self.views))

    def sample_views(self, count: int) -> Scene:
        """Return the scene with at most ``count`` evenly spaced views, including the first."""
        return replace(self, views=tuple(self.views[index] for index in spaced_indices(len(self.views), count)))


def spaced_indices(length: int, count: int | None) -> list[int]:
    """Return at most ``count`` evenly spaced indices into ``range(length)``, including 0; all where None."""
    if count is None or length <= count:
        return list(range(length))
    return [int(index) for index in np.linspace(0, length - 1, count).round()]
