"""Batches drawn from several sources: shares, order, and targets that one of them lacks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.tensors import IGNORE
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from dollhouse.training.model_init import student_config
from dollhouse.training.recipes import check_recipe
from tests.data.test_label_cells import CONFIG, annotated, photos
from tests.fixtures.recipes import tiny_tree

__all__ = ["photos"]
STEPS = 200


@pytest.fixture
def source(photos: Path) -> TargetSource:
    annotated(photos)
    homes = {"scenes": "rooms:train/0-4", "views": 4}
    sources = {"homes": homes, "photos": {"records": photos.parent / "records"}}
    data = {"sources": sources, "views": 1, "cache": photos.parent / "cache"}
    return open_target_source(DataConfig.model_validate(data), CONFIG)


def steps_of(source: TargetSource, shares: dict[str, float] | None, seed: int = 0) -> StepDataset:
    sampling = SamplingConfig(steps=STEPS, batch_size=1, sources=shares)
    return StepDataset(source, sampling, seed, None, CONFIG)  # type: ignore[arg-type]


def names(dataset: StepDataset, steps: range) -> list[str]:
    return [dataset.source.parts[dataset.part[step]].name for step in steps]


def test_steps_are_shared_by_weight_and_repeat_exactly(source: TargetSource) -> None:
    first = steps_of(source, {"homes": 3, "photos": 1})
    drawn = names(first, range(STEPS))
    assert Counter(drawn)["photos"] == pytest.approx(STEPS / 4, abs=20)
    again = steps_of(source, {"homes": 3, "photos": 1})
    middle = [again[step].sample_indices for step in (7, 120)]  # as after a resumption, without the steps before
    assert middle == [first[step].sample_indices for step in (7, 120)]
    assert names(steps_of(source, {"homes": 3, "photos": 1}, seed=1), range(STEPS)) != drawn
    assert set(names(steps_of(source, {"homes": 1}), range(STEPS))) == {"homes"}
    assert Counter(names(steps_of(source, None), range(STEPS)))["homes"] == pytest.approx(STEPS * 5 / 7, abs=20)


def test_every_sample_of_a_source_comes_once_an_epoch(source: TargetSource) -> None:
    dataset = steps_of(source, {"homes": 1, "photos": 1})
    drawn = {"homes": [], "photos": []}  # type: ignore[var-annotated]
    for step, name in enumerate(names(dataset, range(40))):
        drawn[name] += dataset[step].sample_indices
    for name, first, count in (("homes", 0, 5), ("photos", 5, 2)):
        for start in range(0, len(drawn[name]) - count, count):
            assert sorted(drawn[name][start : start + count]) == list(range(first, first + count))


def test_targets_that_a_source_lacks_are_absent(source: TargetSource) -> None:
    dataset = steps_of(source, {"homes": 1, "photos": 1})
    kinds = names(dataset, range(STEPS))
    home, photo = dataset[kinds.index("homes")], dataset[kinds.index("photos")]
    assert home.pixel_values.shape[1] == 4
    assert home.teacher is None
    assert bool((home.patches.label != IGNORE).any())
    assert photo.pixel_values.shape[1] == 1
    assert photo.boxes == [None]
    assert not bool((photo.patches.label != IGNORE).any())
    assert not bool(photo.posed.any() | photo.metric.any())
    assert photo.teacher is not None
    losses = ["depth_reg", "camera", "voting", "detection", "feature"]
    tree = tiny_tree()
    tree["student"] |= {"image_size": 56, "labels": list(CONFIG.labels)}
    model = DollhouseForConditionalGeneration(student_config(check_recipe(tree, "tiny")))
    module = LossModule(model, StaticWeighting(dict.fromkeys(losses, 1.0)), losses)
    named = {"depth_reg", "camera", "voting", "detection"}
    assert set(module(home)) == {"loss", *named}
    assert set(module(photo)) == {"loss", "depth_reg", "feature", "feature/labels"}
    np.testing.assert_allclose(photo.teacher.labels.sum(-1).max(), 1, atol=1e-3)


def recipe(sources: Any, shares: Any) -> dict[str, Any]:
    stage = {"steps": 1, "losses": ["voting"], "train": ["trunk"], "sources": shares}
    return {"name": "mixed", "data": {"views": 3, "sources": sources}, "stages": {"first": stage}}


def test_sources_inherit_settings_and_are_checked() -> None:
    sources = {"homes": {"scenes": "rooms:train/0-4"}, "photos": {"records": "somewhere", "views": 1}}
    read = check_recipe(recipe(sources, {"homes": 1}), "recipe")
    assert [each.views for each in read.data.sources.values()] == [3, 1]
    assert check_recipe(read.model_dump(mode="json"), "again") == read
    for wrong, message in (
        (recipe(sources, {"scans": 1}), "data.sources has no scans"),
        (recipe(sources, {"homes": 0}), "share above 0"),
        (recipe({"homes": {"scenes": "rooms:train/0", "view": 2}}, None), "unknown key data.sources.homes.view"),
    ):
        with pytest.raises(RecipeError, match=message):
            check_recipe(wrong, "recipe")
