"""The cells of the views in the prefix: their means, their place in a prompt, and what may not go with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.deploy.graphs import why_not_exportable
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import torch_session
from dollhouse.models.dollhouse.proposal_head import GridProjector
from dollhouse.models.dollhouse.serialization import save_student
from dollhouse.scenes.scene import Scene, View
from tests.models.conftest import tiny_pipeline

QUESTION = "is the lamp red?"


def scene_of(photos: list[np.ndarray]) -> Scene:
    return Scene("s", tuple(View(str(n), lambda photo=photo: photo) for n, photo in enumerate(photos)))


def test_cells_are_means_of_their_patches() -> None:
    grid = GridProjector(width=5, text_width=6, views=2, size=3)
    rows, columns = 9, 7
    patches = torch.randn(2, 4, rows * columns, 5, generator=torch.Generator().manual_seed(0))
    cells = grid.pool(patches, rows, columns).unflatten(2, (3, 3))
    maps = patches.unflatten(2, (rows, columns))
    for row in range(3):
        for column in range(3):
            left, right = column * columns // 3, -(-(column + 1) * columns // 3)
            area = maps[:, :, 3 * row : 3 * row + 3, left:right]
            torch.testing.assert_close(cells[:, :, row, column], area.mean((2, 3)))


def test_tokens_tell_their_place_and_view() -> None:
    grid = GridProjector(width=5, text_width=6, views=2, size=2)
    tokens = grid(torch.ones(1, 3, 4, 5)).unflatten(1, (3, 4))[0]
    assert len(torch.unique(tokens.flatten(0, 1).detach(), dim=0)) == 12
    torch.testing.assert_close(tokens[1] - tokens[0], (grid.view[1] - grid.view[0]).expand(4, -1))
    torch.testing.assert_close(tokens[2] - tokens[0], -grid.view[0].expand(4, -1))  # beyond the views with a name


def test_prompt_session_and_saved_folder_agree(photos: list[np.ndarray], tmp_path: Path) -> None:
    first = tiny_pipeline(grid_size=2)
    save_student(first.model, first.processor, tmp_path / "model")
    pipeline = DollhousePipeline.from_pretrained(tmp_path / "model")
    session = torch_session(pipeline.encode_scene(scene_of(photos)))
    assert session.prefix.shape[1] == 4 + 2 * 4
    inputs = pipeline.processor(images=photos, text=[QUESTION])
    assert int((inputs["input_ids"] == pipeline.model.config.scene_token_id).sum()) == 4 + 2 * 4
    plain = pipeline.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    cached = session.generate(torch.tensor([pipeline.processor.question_ids(QUESTION)]), 5)[0].token_ids
    assert plain[0, inputs["input_ids"].shape[1] :].tolist()[: len(cached)] == cached
    assert len(session.prefix[0]) != len(tiny_pipeline().model.get_image_features(inputs["pixel_values"])[0])


def test_cells_depend_on_photos_and_train_with_the_projector(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline(grid_size=2)
    session = torch_session(pipeline.encode_scene(scene_of(photos)))
    other = torch_session(pipeline.encode_scene(scene_of(photos[::-1])))
    assert not torch.allclose(session.prefix[:, 4:], other.prefix[:, 4:])
    perception = session.require_perception()
    objects = replace(perception.objects, present=torch.zeros_like(perception.objects.present))
    with torch.inference_mode():
        without = pipeline.model.embed_scene(replace(perception, objects=objects))
    assert torch.equal(without[:, 4:], session.prefix[:, 4:])
    pixels = session.pixel_values.clone()
    pipeline.model.get_image_features(pixels, refine_poses=False).square().sum().backward()
    grads = [value.grad for value in pipeline.model.multi_modal_projector.grid.parameters()]
    assert all(grad is not None and bool(grad.any()) for grad in grads)


def test_a_grid_is_not_exported() -> None:
    assert "grid_size" in (why_not_exportable(tiny_pipeline(grid_size=2).model) or "")
    with pytest.raises(ValueError, match="grid_size is -1"):
        tiny_pipeline(grid_size=-1)
