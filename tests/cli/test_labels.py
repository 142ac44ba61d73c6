"""``dollhouse labels``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dollhouse import cli
from dollhouse.inference.vocabulary import model_vocabulary
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.scenes.labels import default_labels, oriented_labels
from dollhouse.scenes.synthetic.furniture import COLOURS


def run_labels(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dollhouse", "labels", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_shipped_student(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_labels(monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].removesuffix(" (has a front)") for line in lines[:-1]] == list(default_labels())
    (sofa,) = (line for line in lines if line.startswith("sofa (has a front): "))
    assert "couch" in sofa
    (chair,) = (line for line in lines if line.startswith("chair "))
    assert "rocking chair" in chair, "what it has no label for, by what it is a kind of"
    assert lines[-1] == f"{len(default_labels())} labels; colours: {', '.join(COLOURS)}"
    assert run_labels(monkeypatch, "nano", "--json") == 0
    parsed = json.loads(capsys.readouterr().out)
    assert [entry["label"] for entry in parsed["labels"]] == list(default_labels())
    assert {"label": "ball", "aliases": parsed["labels"][1]["aliases"], "has_front": False} == parsed["labels"][1]


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_labels(monkeypatch, str(tmp_path / "none")) == 2
    assert "no model folder" in " ".join(capsys.readouterr().err.split())


def test_every_alias_has_one_label() -> None:
    labels = default_labels()
    vocabulary = model_vocabulary(DollhouseConfig(labels=labels, oriented_labels=oriented_labels(labels)))
    words = [word for entry in vocabulary.labels for word in (entry.label, *entry.aliases)]
    assert len(words) == len(set(words)) > 400
    assert {entry.label for entry in vocabulary.labels if entry.has_front} == set(oriented_labels(labels))
