"""A tiny LLaVA-3D checkpoint in the official layout, and a small posed RGB-D scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.full_size_llava3d import config_of, write_checkpoint
from dollhouse.geometry import intrinsics_from_fov, look_at
from dollhouse.scenes.scene import Box, Scene, View


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a float32 checkpoint of several ``.bin`` shards."""
    folder = tmp_path_factory.mktemp("LLaVA-3D-tiny")
    write_checkpoint(folder, config_of("tiny"), torch.float32, shard=100_000)
    return folder


def posed_scene(views: int, width: int, height: int) -> Scene:
    """Build a scene of cameras around a point, with noise as photos and smooth depth with a hole."""
    rng = np.random.default_rng(0)

    def view(number: int) -> View:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        depth = 2 + 0.5 * np.sin(np.arange(height)[:, None] / 9 + number) * np.cos(np.arange(width) / 7)
        depth[: height // 3, : width // 3] = 0
        angle = 0.6 * number
        eye = np.array([2 * np.cos(angle), 2 * np.sin(angle), 1.5])
        return View(
            name=str(number),
            open_image=lambda: image,
            intrinsics=intrinsics_from_fov(1.2, width, height),
            world_from_camera=look_at(eye, np.array([0, 0, 1.0])),
            open_depth=lambda: depth.astype(np.float32),
        )

    box = Box(7, "chair", np.array([0.12345, -0.5, 0.4]), np.array([0.5, 0.5, 0.8]), 0.0)
    return Scene("made", tuple(view(number) for number in range(views)), boxes=(box,))
