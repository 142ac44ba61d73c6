"""A server of a small stand-in for a student, whose answers show which scene they are about."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="pip install 'dollhouse[serve]'")
pytest.importorskip("multipart", reason="pip install 'dollhouse[serve]'")

from starlette.testclient import TestClient

from dollhouse.errors import QuestionError
from dollhouse.inference.session import Answer, SceneSession
from dollhouse.scenes.scale import ESTIMATED
from dollhouse.scenes.scene import Box, Scene
from dollhouse.serve.app import create_app
from dollhouse.serve.limits import Limits
from dollhouse.serve.service import SceneService

SIDE = 28


@dataclass
class StubSession:
    """Answers with the mean colour of its photos."""

    pipeline: Any
    scene: Scene
    images: np.ndarray
    scale: Any = ESTIMATED
    blind: bool = False
    batches: list[int] = field(default_factory=list)

    @property
    def depth(self) -> np.ndarray:
        return np.full(self.images.shape[:3], 2.0, np.float32)

    @property
    def level_from_camera(self) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
        return np.tile(pose, (len(self.images), 1, 1))

    @property
    def focal(self) -> np.ndarray:
        return np.full(len(self.images), 0.8)

    @property
    def points(self) -> np.ndarray:
        rows, columns = np.mgrid[: self.images.shape[1], : self.images.shape[2]] / SIDE
        wall = np.stack([2 * columns - 1, 2 + 0 * rows, 0.5 - 1.5 * rows], -1)
        return np.stack([wall] * len(self.images))

    @property
    def boxes(self) -> tuple[Box, ...]:
        size = np.array([0.5, 0.5, 1.0])
        return (
            Box(1, "lamp", np.array([0.0, 2.0, 0.0]), size, 0.3, False, colour="red", score=0.9),
            Box(2, "chair", np.array([1.0, 2.0, -0.5]), size, 0.0, True, colour="blue", score=0.8),
            Box(3, "chair", np.array([-1.0, 2.0, -0.5]), size, 0.0, True, colour="white", score=0.7),
            Box(4, "rug", np.array([0.0, 1.0, -1.0]), size, 0.0, False, score=0.1),
        )

    shown_boxes = SceneSession.shown_boxes

    def answer(self, questions: Sequence[str]) -> list[Answer]:
        self.batches.append(len(questions))
        if any("fail" in question for question in questions):
            raise QuestionError("this question cannot be answered")
        mean = self.images.reshape(-1, 3).mean(0).round().astype(int).tolist()
        return [Answer(q, f"{q.lower()} {len(self.images)} {mean}", 0.75, ESTIMATED, "?" not in q) for q in questions]


class StubPipeline:
    """Encodes photos to their pixels."""

    model_id = "stub-0123"
    num_views = 4

    def __init__(self) -> None:
        self.encoded = 0
        self.sessions: list[weakref.ref[StubSession]] = []

    def word_batch(self) -> None:
        """Answer scene by scene."""

    def encode_scene(self, scene: Scene, views: Any = None, skip_bad: bool = False, known: Any = None) -> StubSession:
        self.encoded += 1
        scene, images = scene.read_sample(views or 4, skip_bad)
        small = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE))) for image in images]
        session = StubSession(self, scene, np.stack(small))
        self.sessions.append(weakref.ref(session))
        return session


def jpeg(colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a photo of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def files(*contents: bytes, suffix: str = ".jpg") -> list[tuple[str, tuple[str, bytes]]]:
    """Return a form's photos."""
    return [("files", (f"{number}{suffix}", content)) for number, content in enumerate(contents, 1)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a server: its client, service, pipeline."""
    running = []

    def start(keys: Sequence[str] = (), hosts: Sequence[str] = ("testserver",), **limits: Any) -> Any:
        pipeline = StubPipeline()
        service = SceneService(pipeline, "stub", tmp_path / "store", Limits(**limits))  # type: ignore[arg-type]
        app = create_app(service, keys, hosts)
        client = TestClient(app, raise_server_exceptions=False)
        running.append(client.__enter__())
        return SimpleNamespace(client=client, service=service, pipeline=pipeline, app=app)

    yield start
    for client in running:
        client.__exit__(None, None, None)
