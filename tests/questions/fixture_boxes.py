"""Scenes of boxes alone, rendered as rectangles of instance ids."""

import numpy as np

from dollhouse.geometry import intrinsics_from_fov, invert_rigid, look_at, project, transform_points
from dollhouse.scenes.scene import Box, Scene, View

SIZE = 126
LABELS = ("chair", "table", "lamp", "box", "bed", "cabinet")
COLOURS = ("red", "green", "blue")


def make_box(id: int, label: str, x: float, y: float, size: tuple, bottom: float = 0.0, **more: object) -> Box:
    center = np.array([x, y, bottom + 0.5 * size[2]])
    return Box(id, label, center, np.array(size, dtype=float), float(more.pop("yaw", 0.0)), **more)  # type: ignore[arg-type]


def make_view(name: str, boxes: tuple[Box, ...], eye: tuple, target: tuple) -> View:
    """A view whose instances are the boxes' projected rectangles, a little enlarged, the nearest in front."""
    pose = look_at(np.array(eye, dtype=float), np.array(target, dtype=float))
    intrinsics = intrinsics_from_fov(np.deg2rad(80), SIZE, SIZE)

    def paint() -> np.ndarray:
        instances = np.zeros((SIZE, SIZE), dtype=np.int32)
        for box in sorted(boxes, key=lambda box: -np.linalg.norm(box.center - eye)):
            points = transform_points(invert_rigid(pose), np.array([box.center]))
            (centre,), (depth,) = project(points, intrinsics)
            if depth > 0.2:
                reach = 0.6 * intrinsics[0, 0] * np.array([box.size[:2].max(), box.size[2]]) / depth
                left, top = np.clip(np.rint(centre - reach), 0, SIZE).astype(int)
                right, bottom = np.clip(np.rint(centre + reach), 0, SIZE).astype(int)
                instances[top:bottom, left:right] = box.id
        return instances

    return View(name, lambda: np.zeros((SIZE, SIZE, 3), np.uint8), intrinsics, pose, open_instances=paint)


def make_scene(boxes: tuple[Box, ...], name: str = "made", views: int = 2) -> Scene:
    eyes = [(-3.0, -3.0, 1.6), (3.0, -3.5, 1.5), (0.0, 4.0, 1.6)]
    return Scene(name, tuple(make_view(f"v{i}", boxes, eyes[i], (0.2, 0.1, 0.4)) for i in range(views)), boxes)


def random_scene(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    boxes: list[Box] = []
    for id in range(1, rng.integers(6, 11)):
        label = str(rng.choice(LABELS))
        size = tuple(rng.uniform(0.25, 1.3, 3))
        below = boxes[int(rng.integers(len(boxes)))] if boxes and rng.random() < 0.5 else None
        spot = below.center if below is not None else rng.uniform(-2, 2, 3)
        boxes.append(
            make_box(
                id,
                label,
                float(spot[0]),
                float(spot[1]),
                size,
                bottom=below.top if below is not None and below.top < 1 else 0.0,
                yaw=rng.uniform(-3, 3),
                has_front=label in ("chair", "bed", "cabinet"),
                colour=str(rng.choice(COLOURS)),
            )
        )
    return make_scene(tuple(boxes), f"random-{seed}")
