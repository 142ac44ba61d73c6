"""The recipe of the paper without its files: shapes of every loss, and a line about each file that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dollhouse.cli.estimate import estimate
from dollhouse.data.record_dataset import RecordTargetSource
from dollhouse.records.store import RecordStore
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.estimate.stand_ins import with_stand_ins
from dollhouse.training.model_init import student_config
from dollhouse.training.recipes import read_recipe
from dollhouse.training.tokenizer import pretrained_tokenizer
from examples.paper_smoke import SMALL_STUDENT

SMALL = [*SMALL_STUDENT, "data.workers=0", "data.questions_per_scene=4", "student.image_size=126"]
PARTS = {"spatial/features", "spatial/views", "spatial/relations", "multiview/points", "multiview/labels"}


def small_recipe(*overrides: str) -> Recipe:
    return read_recipe("paper", [*SMALL, *overrides])


def test_every_loss_has_targets_without_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = small_recipe()
    with with_stand_ins(recipe) as complete:
        assert complete.stages == recipe.stages
        stages = dry_run(complete)
        folder = complete.data.records
        assert folder is not None
        record = RecordStore(folder).read(RecordStore(folder).ids()[0])
        assert record.features is not None
        assert record.features.features.shape[1] == 1024
        assert len(record.cameras) == 20
    assert not folder.exists()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "student.encoder_weights",
        "student.tokenizer",
        "data.records",
    ]
    for stage in stages:
        assert set(recipe.stages[stage.name].losses) <= set(stage.losses), stage.name
        assert set(stage.losses) >= PARTS
        assert not stage.without_gradient
        assert stage.photos == (1, 4, 3, 98, 126)


def test_stand_ins_that_are_kept_are_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        with_stand_ins(small_recipe(), tmp_path / "kept") as first,
        with_stand_ins(small_recipe(), tmp_path / "kept") as second,
    ):
        assert first == second
        assert first.data.records is not None
        source, tokenizer = RecordTargetSource(first.data, student_config(first)), pretrained_tokenizer(first)
        assert tokenizer is not None
        assert source.token_forms(tokenizer) == "1 records: one vocabulary"


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    recipe = read_recipe("rooms_nano")
    with with_stand_ins(recipe, tmp_path / "none") as same:
        assert same == recipe
    assert not (tmp_path / "none").exists()


def test_estimate_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    estimate("paper", SMALL, views=2, size="126x98")
    assert "text_kl" in capsys.readouterr().out
