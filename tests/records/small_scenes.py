"""Small deterministic annotated scenes and questions about them; needs neither torch nor files."""

from __future__ import annotations

import numpy as np

from dollhouse.geometry import intrinsics_from_fov, look_at
from dollhouse.questions.generate import Question
from dollhouse.scenes.scene import Box, Scene, View


def small_scene(number: int = 0, views: int = 2, size: int = 28, posed: bool = True) -> Scene:
    rng = np.random.default_rng(number)
    boxes = tuple(
        Box(
            id=place + 1,
            label=label,
            center=np.array([*rng.uniform(-1, 1, 2), 0.5]),
            size=rng.uniform(0.2, 1.0, 3),
            yaw=float(rng.uniform(-3, 3)),
            has_front=label == "chair",
            colour="red",
        )
        for place, label in enumerate(("chair", "table", "lamp"))
    )

    def view(index: int) -> View:
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        depth = rng.uniform(1, 4, (size, size)).astype(np.float32)
        depth[0, 0] = 0
        instances = rng.integers(0, 4, (size, size)).astype(np.int32)
        return View(
            name=f"{index:02d}",
            open_image=lambda: image,
            intrinsics=intrinsics_from_fov(1.2, size, size),
            world_from_camera=look_at(np.array([2.0, index, 1.5]), np.zeros(3)) if posed else None,
            open_depth=lambda: depth,
            open_instances=lambda: instances,
        )

    made = tuple(view(index) for index in range(views))
    metadata = {"licence": "CC0", "source": "rooms"}  # as of rooms, its poses are not checked: the depth is random
    return Scene(f"small/{number}", made, boxes, metadata=metadata)


def small_scenes(count: int) -> list[Scene]:
    return [small_scene(number) for number in range(count)]


def questions_for(scene: Scene, count: int = 3) -> tuple[Question, ...]:
    """Return questions that carry answers."""
    return tuple(
        Question(
            id=f"{scene.name}#size.larger#{number}",
            scene=scene.name,
            family="size",
            form="size.larger",
            text=f"which is larger, the chair or the table? ({number})",
            answer="the chair" if number % 2 else "the table",
            choices=("the chair", "the table"),
            objects=(1, 2),
            view=None if number % 2 else number,
        )
        for number in range(count)
    )
