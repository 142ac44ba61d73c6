"""A plain shipped name is the shipped student; a folder of that name needs a path."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dollhouse.deploy.benchmark import System
from dollhouse.errors import DollhouseError, ModelError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models import model_folder
from dollhouse.models.model_folder import SHIPPED, find_export, find_model
from dollhouse.runtime.certificate import CERTIFICATE
from dollhouse.system.checksums import HASHES, write_checksums
from dollhouse.training.recipes import check_recipe
from dollhouse.training.run_folder import same_recipe

pytestmark = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder nano that is no model, but holds a certificate."""
    monkeypatch.chdir(tmp_path)
    model_folder._note_once.cache_clear()
    (folder := Path("nano")).mkdir()
    (folder / CERTIFICATE).touch()
    return folder


def test_shipped_name_is_not_a_folder_here(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_model("nano") == SHIPPED
    assert find_export("nano") == SHIPPED / "onnx"
    assert capsys.readouterr().err == "nano is the student of the package; write ./nano for the folder nano here\n"


@pytest.mark.parametrize("name", ["./nano", "nano/", Path("nano")])
def test_folder_of_that_name_is_reached_by_a_path(
    other: Path, name: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_export(name) == other
    with pytest.raises(ModelError, match=r"nano lacks config\.json"):
        find_model(name)
    assert capsys.readouterr().err == ""


def test_nothing_is_printed_without_such_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("nano") == find_model(None) == SHIPPED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("find", [find_export, find_model])
def test_folder_without_rights_is_named(
    find: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))  # as root, a mode does not do it

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
            find(tmp_path)


def load_graphs(folder: Path) -> None:
    DollhousePipeline.from_pretrained(folder, engine="onnx")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the shipped model with its graphs, which load."""
    folder = shutil.copytree(SHIPPED, tmp_path / "copy", ignore=shutil.ignore_patterns("blind"))
    load_graphs(folder)
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_graphs_of_a_damaged_model_are_not_loaded(name: str, copied: Path) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(DollhouseError, match=rf"{name}: is "):
        load_graphs(copied)
    path.unlink()
    with pytest.raises(ModelError, match=rf"lacks {name}"):
        load_graphs(copied)
    load_graphs(copied / "onnx")  # graphs alone stand for themselves


def test_graphs_of_other_weights_are_not_loaded(copied: Path) -> None:
    with (copied / "model.safetensors").open("ab") as file:
        file.write(b" ")
    for change in (write_checksums, lambda folder: (folder / HASHES).unlink()):
        change(copied)
        with pytest.raises(ModelError, match=r"graphs are not those of .*model\.safetensors"):
            load_graphs(copied)


def test_recipe_keeps_the_path_as_written() -> None:
    """As text, so that a run whose recipe gave a Path can continue."""
    tree = {
        "name": "more",
        "data": {"scenes": "rooms:train/0-1"},
        "stages": {"s": {"train": ["trunk"], "losses": ["text"], "steps": 1}},
    }
    for written, meant in (("./nano", "./nano"), ("nano", "nano"), (Path("nano"), "./nano"), (Path("a/b"), "a/b")):
        assert check_recipe({**tree, "init_from": written}, "test").init_from == meant
    recipe = check_recipe({**tree, "init_from": Path("runs/a")}, "test")
    assert same_recipe(recipe.model_dump(mode="json"), recipe)


def test_models_of_one_folder_name_have_rows_of_their_own() -> None:
    names = {System(model, "torch").name for model in ("nano", "./nano", "runs/a/model", "runs/b/model")}
    assert len(names) == 4
