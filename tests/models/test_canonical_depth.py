"""A student with an EfficientNet stem, whose depth is exactly proportional to a known focal length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import load_student, save_student
from tests.models.conftest import tiny_pipeline


def stem_student() -> DollhouseForConditionalGeneration:
    settings = tiny_pipeline().model.config.to_dict()
    vision = {**settings["vision_config"], "patch_embed": "efficientnet"}
    config = DollhouseConfig(**{**settings, "vision_config": vision, "depth_from": "stem", "canonical_depth": True})
    torch.manual_seed(4)
    return DollhouseForConditionalGeneration(config).eval()


@torch.no_grad()
def test_depth_is_proportional_to_a_known_focal_length() -> None:
    model, photos = stem_student(), torch.rand(1, 2, 3, 28, 42)
    given = torch.tensor([[0.5, torch.nan]])
    near, far = (model.encode_scene(photos, focal=focal) for focal in (given, 3 * given))
    assert torch.equal(near.predicted_focal, model.encode_scene(photos).cameras.focal)
    torch.testing.assert_close(near.cameras.focal[0], torch.stack([given[0, 0], near.predicted_focal[0, 1]]))
    depth, farther = (model.predict_log_depth(seen, photos).exp() for seen in (near, far))
    assert depth.shape == (1, 2, 28, 42)
    torch.testing.assert_close(farther[:, 0], 3 * depth[:, 0])
    assert torch.equal(farther[:, 1], depth[:, 1])
    votes, farther_votes = (seen.votes.log_depth.unflatten(1, (2, -1)).exp() for seen in (near, far))
    torch.testing.assert_close(farther_votes[:, 0], 3 * votes[:, 0])
    assert torch.equal(farther_votes[:, 1], votes[:, 1])


@torch.no_grad()
def test_focal_lengths_count_in_pixels() -> None:
    """The same camera gives a photo and its left half, whose width is half as many focal lengths."""
    model, photos = stem_student(), torch.rand(1, 1, 3, 28, 56)
    whole = model.encode_scene(photos, focal=torch.tensor([[0.5]]))
    half = model.encode_scene(photos[..., :28], focal=torch.tensor([[1.0]]))
    assert whole.depth_offset is not None
    assert torch.equal(whole.depth_offset, half.depth_offset)


@torch.no_grad()
def test_a_saved_student_predicts_the_same(tmp_path: Path) -> None:
    model, photos = stem_student().bfloat16().float(), torch.rand(1, 1, 3, 28, 28)
    save_student(model, tiny_pipeline().processor, tmp_path / "model")
    again, _, _ = load_student(tmp_path / "model")
    first, second = (student.encode_scene(photos) for student in (model, again.eval()))
    assert torch.equal(first.votes.center, second.votes.center)
    assert torch.equal(model.predict_log_depth(first, photos), again.predict_log_depth(second, photos))


def test_the_stem_depth_head_needs_its_stem() -> None:
    with pytest.raises(ValueError, match="patch_embed: efficientnet"):
        DollhouseConfig(depth_from="stem")
