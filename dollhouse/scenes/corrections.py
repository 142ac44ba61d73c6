"""Corrections of camera axes, poses, units and the up axis, for scenes whose files are in another convention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, invert_rigid, transform_points
from dollhouse.scenes.readers.captures import OPENCV_FROM_OPENGL, estimate_up, level_from_up
from dollhouse.scenes.scene import Box, Scene, View

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
CameraAxes = Literal["opencv", "opengl"]
PoseDirection = Literal["world_from_camera", "camera_from_world"]
_AXES: tuple[Axis, ...] = get_args(Axis)
_CHOICES = {"axes": get_args(CameraAxes), "poses": get_args(PoseDirection), "up": _AXES}


@dataclass(frozen=True)
class Corrections:
    """What the poses and depth maps of a scene are, as its reader opens them; defaults change nothing.

    Raises ValueError for a value that a field cannot have.
    """

    #: camera axes of the poses: x right, y down, z forward; opengl: x right, y up, z back
    axes: CameraAxes = "opencv"
    poses: PoseDirection = "world_from_camera"  #: direction of the poses
    depth_scale: float = 1.0  #: factor on depth, such as 0.001 for mm
    pose_scale: float = 1.0  #: factor on camera positions
    up: Axis = "z"  #: axis of the scene's world that is up

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  #: where it is a field of a recipe

    def __post_init__(self) -> None:
        for name in ("depth_scale", "pose_scale"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive number")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)!r} is none of {', '.join(choices)}")

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are not the default."""
        return {name: value for name, value in vars(self).items() if value != getattr(Corrections, name)}

    @property
    def options(self) -> str:
        """Return the command's options that give these corrections: "--axes opengl --depth-scale 0.2"."""
        return " ".join(
            f"--{name.replace('_', '-')} {value if isinstance(value, str) else format(value, 'g')}"
            for name, value in self.given.items()
        )

    def then(self, later: Corrections) -> Corrections:
        """Return the corrections that do what these do, followed by ``later``."""
        up = invert_rigid(level_from_up(_direction(self.up)))[:3, :3] @ _direction(later.up)
        longest = int(np.abs(up).argmax())
        return Corrections(
            axes="opencv" if self.axes == later.axes else "opengl",
            poses="world_from_camera" if self.poses == later.poses else "camera_from_world",
            depth_scale=self.depth_scale * later.depth_scale,
            pose_scale=self.pose_scale * later.pose_scale,
            up=signed_axis(longest, up[longest] < 0),
        )

    def apply(self, scene: Scene) -> Scene:
        """Return the scene with corrected depth, poses and boxes, in a world with z up.

        Poses are corrected in the source's coordinates (``metadata["world_from_source"]``). Where the reader had to
        estimate what is up from the poses, it is estimated again. Boxes stay upright: where the up axis changes, each
        becomes the axis-aligned bounds of its corners.
        """
        if self == Corrections():
            return scene
        old_world = np.array(scene.metadata.get("world_from_source", np.eye(4)), dtype=np.float64)
        poses = [
            None if pose is None else self._source_pose(invert_rigid(old_world) @ pose)
            for pose in (view.world_from_camera for view in scene.views)
        ]
        known = [pose for pose in poses if pose is not None]
        world = level_from_up(estimate_up(known)) if scene.metadata.get("up_estimated") and known else old_world
        world = level_from_up(_direction(self.up)) @ world
        views = tuple(
            self._corrected(view, None if pose is None else world @ pose)
            for view, pose in zip(scene.views, poses, strict=True)
        )
        boxes = scene.boxes and tuple(_moved(box, world @ invert_rigid(old_world)) for box in scene.boxes)
        metadata = {**scene.metadata, "world_from_source": world.tolist()}
        return replace(scene, views=views, boxes=boxes, metadata=metadata)

    def _source_pose(self, pose: Array) -> Array:
        if self.poses == "camera_from_world":
            pose = invert_rigid(pose)
        if self.axes == "opengl":
            pose = pose @ OPENCV_FROM_OPENGL
        scaled = pose.copy()
        scaled[:3, 3] *= self.pose_scale
        return scaled

    def _corrected(self, view: View, pose: Array | None) -> View:
        open_depth = view.open_depth
        if open_depth is not None and self.depth_scale != 1.0:
            open_depth = partial(_read_scaled, open_depth, self.depth_scale)
        return replace(view, world_from_camera=pose, open_depth=open_depth)


def _read_scaled(open_depth: Callable[[], NDArray[np.float32]], factor: float) -> NDArray[np.float32]:
    return open_depth() * np.float32(factor)


def signed_axis(number: int, negative: bool) -> Axis:
    """Return the name of an axis: "-y" for number 1, negative."""
    return _AXES[number + 3 * bool(negative)]


def _direction(axis: Axis) -> Array:
    """Return the unit vector (3,) of a signed axis."""
    return np.eye(3)["xyz".index(axis[-1])] * (-1.0 if axis.startswith("-") else 1.0)


def _moved(box: Box, new_from_old: Array) -> Box:
    if abs(new_from_old[2, 2] - 1.0) < 1e-6:  # still upright
        return box.transformed(new_from_old)
    corners = transform_points(new_from_old, box.corners)
    low, high = corners.min(0), corners.max(0)
    return replace(box, center=0.5 * (low + high), size=high - low, yaw=0.0, has_front=False)
