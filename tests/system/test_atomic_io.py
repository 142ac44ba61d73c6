"""Atomic writing leaves the old file or the new file and nothing else, wherever it stops."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from dollhouse.errors import StorageError
from dollhouse.system import atomic_io
from dollhouse.system.atomic_io import atomic_folder, atomic_path, remove_unfinished, write_text, write_texts


def test_new_file_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for text in ("first", "seconde né"):
        with atomic_path(path) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_text(text, encoding="utf-8")
            assert not path.exists() if text == "first" else path.read_text() == "first"
        assert path.read_text(encoding="utf-8") == text
    write_text(path, "third")
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("stop", "raised"),
    [
        (OSError(28, "No space left on device"), StorageError),
        (SafetensorError("I/O error: No space left on device"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("something else"), ValueError),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else "",
)
def test_error_leaves_the_old_file(stop: BaseException, raised: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path, "make room") as temporary:
            temporary.write_text("ne")
            raise stop

    with pytest.raises(raised) as caught:
        write()
    if raised is StorageError:
        assert str(caught.value).startswith(f"cannot write {path} (")
        assert "No space left on device" in str(caught.value)
        assert str(caught.value).endswith("); make room")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file", "text")
    with pytest.raises(StorageError, match="free some space or choose another folder"):
        write_text(tmp_path / "a" / "b" / "file" / "below a file", "text")


def test_temporary_names_are_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that someone laid under the name of the temporary file is not followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".unfinished-{'0' * 16}").symlink_to(victim)
    with pytest.raises(StorageError, match="File exists"):
        write_text(tmp_path / "file", "text")
    assert victim.read_text() == "precious"


def test_processes_of_one_id_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Containers on one volume have equal process ids: 4 writers of one file leave it whole at every moment."""
    code = (
        "import os, sys\nfrom pathlib import Path\nos.getpid = lambda: 1\n"
        "from dollhouse.system.atomic_io import write_text\n"
        "for n in range(60): write_text(Path(sys.argv[1]), sys.argv[2] * 30000)\n"
    )
    path = tmp_path / "file"
    commands = [[sys.executable, "-c", code, str(path), letter] for letter in "abcd"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [subprocess.Popen(command, env=environment) for command in commands]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 30000
            assert len(set(text)) == 1
    assert [writer.returncode for writer in writers] == [0] * 4
    assert list(tmp_path.iterdir()) == [path]


def test_the_users_mask_of_permissions_is_kept(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "file", "text")
        with atomic_folder(tmp_path / "folder") as unfinished:
            (unfinished / "file").touch()
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"file": 0o600, "folder": 0o700, "folder/file": 0o600}


def test_everything_is_flushed_before_and_after_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    rename, replace = Path.rename, Path.replace
    monkeypatch.setattr(atomic_io, "sync", lambda path: steps.append(path.name))
    monkeypatch.setattr(Path, "replace", lambda path, target: steps.append("rename") or replace(path, target))
    monkeypatch.setattr(Path, "rename", lambda path, target: steps.append("rename") or rename(path, target))
    write_text(tmp_path / "file", "text")
    assert [step.partition("-")[0] for step in steps] == [".unfinished", "rename", tmp_path.name]
    steps.clear()
    with atomic_folder(tmp_path / "folder") as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "file").write_text("text")
    assert sorted(steps[:3]) == ["file", "folder", "inner"]
    assert steps[3:] == ["rename", tmp_path.name]


def test_a_folder_of_a_user_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Writing a model again leaves an equal one, renames another, and touches nothing beside it."""
    folder = tmp_path / "model"
    others = [tmp_path / name / "file" for name in ("model.old", "model.partial", "model.bak", "model.old-1")]
    for path in others:
        path.parent.mkdir()
        path.write_text("of the user")

    def write(text: str) -> None:
        with atomic_folder(folder, replace=True) as unfinished:
            (unfinished / "weights").write_text(text)

    write("first")
    (folder / "notes").write_text("of the user")
    write("first")
    assert capsys.readouterr().err == ""
    write("second")
    assert str(tmp_path / "model.old-2") in capsys.readouterr().err
    assert (tmp_path / "model.old-2" / "weights").read_text() == "first"
    assert (tmp_path / "model.old-2" / "notes").read_text() == "of the user"
    assert [path.name for path in folder.iterdir()] == ["weights"]
    assert all(path.read_text() == "of the user" for path in others)
    with pytest.raises(StorageError, match="not empty"), atomic_folder(folder):
        pass
    assert not list(tmp_path.glob(".*"))


def test_files_that_belong_together_are_never_of_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever writing stops, a last file (the mark of a complete folder) stands beside files of its own version."""
    names = ("rows", "page", "mark")
    replace, left = Path.replace, 0

    def stops(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return replace(path, target)

    write_texts(tmp_path, dict.fromkeys(names, "old"))
    monkeypatch.setattr(Path, "replace", stops)
    for stop in range(3):
        left = 9
        write_texts(tmp_path, dict.fromkeys(names, "old"))
        left = stop
        with pytest.raises(KeyboardInterrupt):
            write_texts(tmp_path, dict.fromkeys(names, "new"))
        texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert texts.pop("mark", None) is None or len(set(texts.values())) == 1
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: exec("raise OSError(28, 'No space left on device')"))
    with pytest.raises(StorageError, match="No space left"):
        write_texts(tmp_path, dict.fromkeys(names, "new"))
    assert {path.name for path in tmp_path.iterdir()} <= set(names)


def test_texts_that_are_none_are_removed_with_the_last_one_absent(tmp_path: Path) -> None:
    write_texts(tmp_path, {"page": "old", "mark": "old"})
    with pytest.raises(StorageError):
        write_texts(tmp_path, {"page": None, "page/name": "new", "mark": "new"})
    assert (tmp_path / "page").read_text() == (tmp_path / "mark").read_text() == "old"
    write_texts(tmp_path, {"page": None, "mark": "new"})
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".unfinished-mine", "unfinished", ".unfinished-0123456789abcdeg", ".hidden"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / f".unfinished-{'a' * 16}").mkdir()
    (tmp_path / f".unfinished-{'b' * 16}").symlink_to(tmp_path)
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    """Where several processes may write, so that none may remove what is new."""
    names = [f".unfinished-{number:016x}" for number in range(4)]
    for number, name in enumerate(names):
        path = tmp_path / name
        path.touch() if number % 2 else path.mkdir()
        os.utime(path, (time.time() - (90000 if number < 2 else 80000),) * 2)
    write_text(tmp_path / "file", "text")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", *names[2:]}
