"""Exports without a fitting certificate are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from dollhouse.errors import ModelError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.model_folder import find_export
from dollhouse.runtime.certificate import CERTIFICATE, COMMON, GRAPHS, certified_files, check_certificate


def write_export(folder: Path, contents: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Write files of an export, with their names as content but for ``contents``, and their certificate."""
    names = [*COMMON, *(f"{precision}/{graph}.onnx" for precision in ("int8", "float32") for graph in GRAPHS)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents.get(name, name.encode()))
    entries = {
        precision: {"passed": precision == "float32", "files": certified_files(folder, precision)}
        for precision in ("int8", "float32")
    }
    (folder / CERTIFICATE).write_text(json.dumps({"model": "small@0", "precisions": entries}))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    write_export(tmp_path / "onnx")
    return tmp_path / "onnx"


def test_the_first_precision_that_passed_is_chosen(export: Path) -> None:
    assert check_certificate(export) == "float32"
    assert find_export(export) == find_export(export.parent) == export
    with pytest.raises(ModelError, match="not certified in precision int8"):
        check_certificate(export, "int8")


@pytest.mark.parametrize(
    "change",
    [
        {"precisions": []},
        {"precisions": {"float32": True}},
        {"precisions": {"float32": {"passed": True}}},
        {"precisions": {"float32": {"passed": True, "files": 7}}},
        {"precisions": {"../onnx/float32": {"passed": True, "files": {}}}},
        {"model": None},
    ],
)
def test_damaged_certificates_are_refused(change: dict[str, Any], export: Path) -> None:
    certificate = json.loads((export / CERTIFICATE).read_text())
    (export / CERTIFICATE).write_text(json.dumps(certificate | change))
    with pytest.raises(ModelError, match=r"certificate|not certified"):
        check_certificate(export)


def test_changed_files_are_refused(export: Path) -> None:
    (export / "float32" / "objects.onnx").write_text("other")
    with pytest.raises(ModelError, match="is not the file that was certified"):
        check_certificate(export)


def test_a_folder_without_certificate_is_refused(export: Path) -> None:
    (export / CERTIFICATE).unlink()
    with pytest.raises(ModelError, match="has no certificate"):
        check_certificate(export)
    with pytest.raises(ModelError, match="holds no certified export"):
        DollhousePipeline.from_pretrained(export, engine="onnx")
