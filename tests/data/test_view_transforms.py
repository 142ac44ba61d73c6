"""Fewer views of a sample, and batches of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import SceneTargets, scene_targets
from dollhouse.data.view_transforms import take_views
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.tokenization import train_tokenizer
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene


@pytest.mark.parametrize("views", [[2], [3, 1]])
def test_some_views_have_the_targets_of_a_scene_with_these_views(views: list[int]) -> None:
    room, sizes = room_scene("train", 3), (84, CATEGORIES, list(COLOURS))
    taken = take_views(scene_targets(room, *sizes), views)
    alone = scene_targets(replace(room, views=tuple(room.views[view] for view in views)), *sizes)
    for name in ("images", "depth", "level_from_camera", "up", "focal", "instances"):
        np.testing.assert_allclose(getattr(taken, name), getattr(alone, name), atol=1e-6)
    assert taken.objects is not None
    assert alone.objects is not None
    centres = [tuple(centre) for centre in np.round(alone.objects.center, 4)]
    rows = [centres.index(tuple(centre)) for centre in np.round(taken.objects.center, 4)]
    for name in ("label", "colour", "size", "has_front"):
        np.testing.assert_array_equal(getattr(taken.objects, name), getattr(alone.objects, name)[rows])
    turn = taken.objects.yaw - alone.objects.yaw[rows]
    np.testing.assert_allclose(np.cos(turn), 1, atol=1e-5)
    # an object that covers little of every patch gets one patch, in any of a scene's views
    shown = np.append(rows, -1)[taken.objects.patch_object]  # -1, the background, is last
    assert (shown == alone.objects.patch_object).mean() > 0.95
    assert np.isclose(taken.objects.patch_depth, alone.objects.patch_depth, atol=1e-6).mean() > 0.95


def steps(sampling: SamplingConfig, seed: int = 0) -> StepDataset:
    config = DollhouseConfig(image_size=28, num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)
    source = SceneTargetSource(DataConfig(scenes="rooms:train/0-5", views=4), config)
    return StepDataset(source, sampling, seed, train_tokenizer(["a"], [], 300, 0), config)


def test_every_step_has_as_many_photos() -> None:
    dataset = steps(SamplingConfig(6, 1, views=(1, 2, 4), known_focal_prob=0.5))
    batches = [dataset[step] for step in (3, 0, 1, 2, 4, 5)]
    shapes = [tuple(batch.pixel_values.shape[:2]) for batch in batches]
    assert {scenes * views for scenes, views in shapes} == {4}
    assert len(set(shapes)) > 1
    again = steps(SamplingConfig(6, 1, views=(1, 2, 4), known_focal_prob=0.5))[3]
    assert torch.equal(again.pixel_values, batches[0].pixel_values)
    given = torch.cat([batch.known_focal.flatten() for batch in batches if batch.known_focal is not None])
    focal = torch.cat([batch.focal.flatten() for batch in batches])
    known = given.isfinite()
    assert 0 < known.float().mean() < 1
    assert torch.equal(given[known], focal[known])


def test_a_batch_has_photos_of_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = steps(SamplingConfig(2, 3))
    whole = dataset.source.targets

    def cropped(index: int, objects_only: bool = False) -> SceneTargets:
        targets = whole(index)
        return replace(targets, images=targets.images[:, :14], depth=None, objects=None) if index % 2 else targets

    monkeypatch.setattr(dataset.source, "targets", cropped)
    for step in range(2):
        assert len({index % 2 for index in dataset[step].sample_indices}) == 1
    few = steps(SamplingConfig(1, 3, views=(2,)))
    assert few[0].pixel_values.shape[:2] == (6, 2)


def test_a_batch_repeats_photos_whose_shape_no_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = steps(SamplingConfig(2, 3))
    whole, first = dataset.source.targets, dataset[0].sample_indices[0]

    def narrow(index: int, objects_only: bool = False) -> SceneTargets:
        targets = whole(index)
        return replace(targets, images=targets.images[:, :14], depth=None, objects=None) if index == first else targets

    monkeypatch.setattr(dataset.source, "targets", narrow)
    monkeypatch.setattr("dollhouse.data.dataset.MAX_DRAWS", 3)
    assert {*dataset[0].sample_indices} == {first}
