"""Label maps of teachers: from photos to records, batches and losses, through crops and flips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dollhouse.data.augmentation import zoom_in
from dollhouse.data.collator import collate_batch
from dollhouse.data.config import DataConfig
from dollhouse.data.record_dataset import RecordTargetSource
from dollhouse.data.targets import SceneTargets
from dollhouse.data.teacher_patches import resample_cells
from dollhouse.data.view_transforms import flip_horizontally
from dollhouse.errors import TeacherError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.records.store import RecordStore
from dollhouse.teachers.annotate import annotate
from dollhouse.teachers.label_maps import LabelMaps
from dollhouse.training.losses.feature import label_kl

VISION = {"image_size": 56, "heads": []}
CONFIG = DollhouseConfig(image_size=56, labels=("chair", "table"), vision_config=VISION, pad_token_id=0)
NAMES = ("couch", "dining table", "wall", "chair")


def predict(image: np.ndarray, confidence: str = "1") -> LabelMaps:
    """Return chairs on the left, tables on the right, unknown labels in the lower half's left quarter."""
    probs = np.zeros((4, 8, 5), dtype=np.float32)
    probs[:, :4, 3] = probs[:, 4:, 1] = 0.75
    probs[..., 2] = 0.25
    probs[2:, :2] = 0
    depth = np.linspace(1, 3, 8, dtype=np.float32)[None].repeat(4, 0)
    return LabelMaps(NAMES, probs * float(confidence), depth)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, shape in (("first", (84, 112, 3)), ("second", (112, 84, 3))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / "photos" / name / "photo.png")
    return tmp_path / "photos"


def annotated(photos: Path, **settings: str) -> RecordTargetSource:
    maps = f"maps:{__name__}:predict"
    args = {f"maps.{key}": value for key, value in settings.items()}
    run = annotate(
        "annotations", str(photos), photos.parent / "records", questions="none", geometry_teachers=[maps],
        teacher_args=args, fp16=True,
    )  # fmt: skip
    assert not run.failures
    return RecordTargetSource(DataConfig(records=photos.parent / "records", views=1), CONFIG)


def test_photos_without_boxes_give_labels_and_relative_depth(photos: Path) -> None:
    source = annotated(photos, confidence="0.5")
    record = RecordStore(photos.parent / "records").for_scene("first")[0]
    assert record.geometry is not None
    assert record.geometry.labels == NAMES
    assert not record.geometry.metric
    index = next(index for index in range(2) if source.targets(index).name == "first")
    targets = source.targets(index)
    assert targets.objects is None
    assert not targets.metric
    assert targets.depth is not None
    batch = collate_batch([targets], [[]], CONFIG)
    assert batch.teacher is not None
    labels = batch.teacher.labels.reshape(3, 4, 3)
    torch.testing.assert_close(labels[0], torch.tensor([[0.375, 0, 0.125]] * 2 + [[0, 0.375, 0.125]] * 2))
    assert labels[2, 0].sum() == 0, "unknown"
    loss = label_kl(torch.zeros(1, 12, 3), batch.teacher.labels)
    assert loss is not None
    assert float(loss) == pytest.approx(np.log(3) - 0.5623351, abs=1e-5)
    mixed = collate_batch([targets, replace(targets, label_cells=None)], [[], []], CONFIG).teacher
    assert mixed is not None
    assert mixed.labels[1].sum() == 0
    assert collate_batch([replace(targets, label_cells=None)], [[]], CONFIG).teacher is None


def test_labels_follow_crops_and_flips_of_upright_photos(photos: Path) -> None:
    source = annotated(photos)
    targets = next(targets for index in range(2) if (targets := source.targets(index)).name == "second")
    assert targets.images.shape[1:3] == (56, 42)

    def labels(targets: SceneTargets) -> list[list[int]]:
        teacher = collate_batch([targets], [[]], CONFIG).teacher
        assert teacher is not None
        found = torch.where(teacher.labels.sum(-1) > 0.5, teacher.labels.argmax(-1), -1)
        return found.reshape(4, 3).tolist()  # type: ignore[no-any-return]

    whole = targets.label_cells
    assert whole is not None
    assert labels(targets) == [[0, 0, 1]] * 2 + [[-1, 0, 1]] * 2  # the middle column has both
    assert labels(flip_horizontally(targets)) == [[1, 0, 0]] * 2 + [[1, 0, -1]] * 2
    near = zoom_in(targets, 2.0).label_cells
    assert near is not None
    np.testing.assert_allclose(near[:, 0, :4], np.repeat(whole[:, 1, 2:4], 2, axis=1), atol=1e-3)


def test_cells_are_averaged_over_the_area() -> None:
    cells = np.random.default_rng(0).random((2, 6, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(resample_cells(cells, (6, 8)), cells, atol=1e-6)
    halves = resample_cells(cells, (3, 4))
    np.testing.assert_allclose(halves[:, 1, 2], cells[:, 2:4, 4:6].mean((1, 2)), atol=1e-6)
    quarter = resample_cells(cells, (3, 4), (0.5, 0.5, 1.0, 1.0))
    np.testing.assert_allclose(quarter, cells[:, 3:, 4:], atol=1e-6)


def test_confident_patches_weigh_more() -> None:
    logits = torch.tensor([[[4.0, 0, 0], [0, 0, 4.0]]])
    certain, doubtful = torch.tensor([[[1.0, 0, 0], [0.5, 0, 0]]]), torch.tensor([[[0.5, 0, 0], [1.0, 0, 0]]])
    first, second = label_kl(logits, certain), label_kl(logits, doubtful)
    assert first is not None
    assert second is not None
    assert first < second


@pytest.mark.parametrize("probs", [np.ones((2, 2, 2)), np.full((2, 2, 3), np.nan), np.ones((2, 2, 3))])
def test_label_maps_must_be_probabilities(probs: np.ndarray) -> None:
    with pytest.raises(TeacherError):
        LabelMaps(["chair", "table"], probs)
