"""``data.cache`` changes nothing but time: with, without, emptied, moved and damaged, samples are equal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dollhouse.data import target_cache
from dollhouse.data.config import DataConfig
from dollhouse.data.object_cache import ObjectCache
from dollhouse.data.target_cache import pack
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS

ROOMS = 8


@pytest.fixture(autouse=True)
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_cache, "_reported", False)


def samples(size: int, cache: Path | None, targets_first: bool = True, count: int = ROOMS) -> list[Any]:
    """Targets and questions of rooms; in either order, since either may be cached alone."""
    config = DollhouseConfig(image_size=size, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)
    source = SceneTargetSource(DataConfig(scenes=f"rooms:train/0-{count - 1}", cache=cache), config)
    if targets_first:
        targets = [source.targets(index) for index in range(count)]
        return [(targets[index], source.questions(index)) for index in range(count)]
    questions = [source.questions(index) for index in range(count)]
    return [(source.targets(index), questions[index]) for index in range(count)]


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    for (targets, questions), (others, other_questions) in zip(found, expected, strict=True):
        assert questions == other_questions
        arrays, other_arrays = pack(targets), pack(others)
        assert arrays.keys() == other_arrays.keys()
        assert all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


@pytest.mark.parametrize("size", [56, 112])
def test_samples_are_equal_whatever_is_cached(size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = samples(size, None, targets_first=False)
    cache = tmp_path / "cache"
    assert_equal(samples(size, cache), expected)  # filled: targets first, as a stage without text does
    for path in cache.rglob("*.json"):  # questions emptied, targets kept
        path.unlink()
    assert_equal(samples(size, cache), expected)
    shutil.move(cache, tmp_path / "moved")
    assert_equal(samples(size, tmp_path / "moved"), expected)
    assert capsys.readouterr().err == ""
    for number, path in enumerate(sorted(path for path in (tmp_path / "moved").rglob("*") if path.is_file())):
        content = bytearray(path.read_bytes())
        content[len(content) * (number + 1) // 20] ^= 2
        path.write_bytes([content, content[: len(content) // 2], b""][number % 3])
    assert_equal(samples(size, tmp_path / "moved"), expected)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert str(tmp_path / "moved") in errors[0]
    assert "is computed again" in errors[0]
    assert_equal(samples(size, tmp_path / "moved"), expected)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_every_bit_of_an_entry_is_covered(suffix: str, tmp_path: Path) -> None:
    expected = samples(28, tmp_path, count=1)
    (path,) = tmp_path.rglob(f"*.{suffix}")
    content = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(content), 60, replace=False):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        assert_equal(samples(28, tmp_path, count=1), expected)


def test_a_damaged_object_file_is_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ProposalOutput.__dataclass_fields__
    rng = torch.Generator().manual_seed(0)
    objects = ProposalOutput(**{name: torch.randn(1, 3, 2, generator=rng) for name in names})
    cache, encoded = ObjectCache(tmp_path), []

    def encode(row: int) -> ProposalOutput:
        encoded.append(row)
        return objects

    for damaged in (False, False, True, False):
        if damaged:
            (path,) = tmp_path.rglob("*.safetensors")
            content = bytearray(path.read_bytes())
            content[-2] ^= 1
            path.write_bytes(content)
        found = cache.objects([5], encode)
        assert all(torch.equal(getattr(found, name), getattr(objects, name)) for name in names)
    assert len(encoded) == 2
    assert capsys.readouterr().err.count("is computed again") == 1
