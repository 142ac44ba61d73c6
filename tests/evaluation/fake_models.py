"""Generated scenes with exact truth, and fake models: one with the true answers, one that guesses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dollhouse.geometry import (
    camera_rays,
    intrinsics_from_fov,
    invert_rigid,
    level_from_world,
    look_at,
    transform_points,
)
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.questions.sources import balance_scenes
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.view_preprocessing import preprocess_view

WIDTH = 126
QUESTIONS = 20
LABELS = ("chair", "table", "sofa", "lamp", "bed", "cabinet")
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 200), "white": (235, 235, 235)}


def cast(boxes: Sequence[Box], world_from_camera: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W), up to a ball of 8 m around the camera, and instance ids (H, W), of boxes on a floor at z = 0."""
    rays = camera_rays(intrinsics, WIDTH, WIDTH)
    turned, eye = rays @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
    depth = 8.0 / np.linalg.norm(rays, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = -eye[2] / turned[..., 2]
        depth = np.where((floor > 0) & (floor < depth), floor, depth)
        ids = np.zeros(depth.shape, dtype=np.int32)
        for box in boxes:
            own = np.eye(4)
            cos, sin = np.cos(box.yaw), np.sin(box.yaw)
            own[:3, :3] = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]
            own[:3, 3] = box.center
            box_from_world = invert_rigid(own)
            start, along = transform_points(box_from_world, eye), turned @ box_from_world[:3, :3].T
            ends = np.stack([(side * 0.5 * np.asarray(box.size) - start) / along for side in (-1, 1)])
            enter, leave = ends.min(0).max(-1), ends.max(0).min(-1)
            hit = (enter > 0) & (enter < leave) & (enter < depth)
            depth, ids = np.where(hit, enter, depth), np.where(hit, box.id, ids)
    return depth.astype(np.float32), ids.astype(np.int32)


def made_scene(number: int, views: int = 3) -> Scene:
    """A few boxes on a floor, seen from one standpoint, turning; a pure function of ``number``."""
    generator = np.random.default_rng(number)
    boxes = []
    for id in range(1, 8):
        size = generator.uniform(0.4, 1.6, 3)
        x, y = -3.0 + 1.5 * ((id - 1) % 4) + generator.uniform(0, 0.4), 2.0 + 1.8 * ((id - 1) // 4)
        boxes.append(
            Box(
                id,
                LABELS[int(generator.integers(len(LABELS)))],
                np.array([x, y, 0.5 * size[2]]),
                size,
                float(generator.uniform(-3, 3)),
                has_front=bool(generator.integers(2)),
                colour=list(COLOURS)[int(generator.integers(len(COLOURS)))],
            )
        )
    return pictured(f"made:{number}", boxes, views)


def pictured(name: str, boxes: Sequence[Box], views: int = 3) -> Scene:
    """Boxes on a floor as a scene, with pictures, depth and instance ids."""
    intrinsics = intrinsics_from_fov(np.radians(70.0), WIDTH, WIDTH)
    eye = np.array([0.3, -1.5, 1.5])
    pictures = []
    for index, across in enumerate(np.linspace(-1.5, 1.5, views)):
        pose = look_at(eye, np.array([across, 2.5, 0.6]))
        depth, ids = cast(boxes, pose, intrinsics)
        shade = np.full((*ids.shape, 3), 120, np.uint8)
        for box in boxes:
            shade[ids == box.id] = COLOURS[box.colour or "white"]
        pictures.append(
            View(
                f"{index}",
                lambda shade=shade: shade,
                intrinsics,
                pose,
                open_depth=lambda depth=depth: depth,
                open_instances=lambda ids=ids: ids,
            )
        )
    return Scene(name, tuple(pictures), tuple(boxes), metadata={"source": "made"})


@dataclass
class FakeSession:
    scene: Scene
    images: np.ndarray
    depth: np.ndarray
    boxes: tuple[Box, ...]
    level_from_camera: np.ndarray
    answers: list[str]

    def ask(self, questions: Sequence[str]) -> list[str]:
        assert len(questions) == len(self.answers)
        return self.answers


class Oracle:
    """A fake model with the true answers; ``depth_factor`` scales its depth, ``guess`` draws its answers."""

    image_size = WIDTH

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        model_id: str = "oracle",
        guess: random.Random | None = None,
        depth_factor: float = 1.0,
    ) -> None:
        self.model_id, self.guess, self.depth_factor = model_id, guess, depth_factor
        self.balance = (
            balance_scenes(scenes) if any(scene.boxes is not None and scene.metric for scene in scenes) else None
        )
        self.seen: list[str] = []

    def encode_scene(self, scene: Scene) -> FakeSession:
        self.seen.append(scene.name)
        frames = [preprocess_view(view, WIDTH) for view in scene.views]
        depths = [frame.depth if frame.depth is not None else np.ones((WIDTH, WIDTH)) for frame in frames]
        level = level_from_world(scene.views[0].world_from_camera) if scene.posed else np.eye(4)
        boxes = tuple(replace(box.transformed(level), score=0.9) for box in scene.boxes or ())
        asked: Sequence[Question] = ()
        if scene.boxes is not None and scene.metric:
            asked = generate_questions(scene, balance=self.balance, limit=QUESTIONS, seed=0)
        return FakeSession(
            scene,
            np.stack([frame.image for frame in frames]),
            np.stack(depths) * self.depth_factor,
            boxes,
            np.stack(
                [level @ (np.eye(4) if v.world_from_camera is None else v.world_from_camera) for v in scene.views]
            ),
            [self._answer(question) for question in asked],
        )

    def _answer(self, question: Question) -> str:
        if self.guess is None or not question.choices:
            return f"{question.answer.capitalize()}."
        return self.guess.choice(question.choices)
