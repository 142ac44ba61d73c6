"""The store returns what was written, and a record is complete or absent wherever writing stops."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from dollhouse.errors import StorageError, TeacherError
from dollhouse.records import writer
from dollhouse.records.record import Record, cast_fp16
from dollhouse.records.schema import arrays_of
from dollhouse.records.store import ANSWERS, ARRAYS, HASHES, SCENE, RecordStore
from dollhouse.records.types import SceneGeometry, SpatialFeatures
from dollhouse.records.writer import UNFINISHED, RecordWriter, merge_records
from tests.records.record_fixtures import assert_same_record, make_record, write_records
from tests.records.small_scenes import small_scene


@pytest.mark.parametrize(("features", "geometry"), [(True, True), (False, True), (True, False), (False, False)])
def test_read_returns_what_was_written(tmp_path: Path, features: bool, geometry: bool) -> None:
    record = make_record(features=features, geometry=geometry)
    with RecordWriter(tmp_path / "records") as writer:
        writer.write(record)
        assert record.id in writer
    records = RecordStore(tmp_path / "records")
    assert_same_record(records.read(record.id), record)
    assert records.check() == []
    assert [found.id for found in records.for_scene("small/0")] == [record.id]
    assert records.for_scene("small/1") == ()


def test_licence_names_teacher_and_scene() -> None:
    assert make_record().licence == "teacher: MIT; scene: CC0"


def test_equal_records_have_equal_bytes_and_are_written_once(tmp_path: Path) -> None:
    (first,) = write_records(tmp_path / "one")
    write_records(tmp_path / "two")
    for name in (ANSWERS, SCENE, ARRAYS, HASHES):
        assert (tmp_path / "one" / first.id / name).read_bytes() == (tmp_path / "two" / first.id / name).read_bytes()
    before = (tmp_path / "one" / first.id / SCENE).stat().st_mtime_ns
    write_records(tmp_path / "one")
    assert (tmp_path / "one" / first.id / SCENE).stat().st_mtime_ns == before


def test_answers_of_all_records_form_one_table(tmp_path: Path) -> None:
    records = write_records(tmp_path, 3)
    files = sorted(map(str, tmp_path.glob(f"*/{ANSWERS}")))
    table = ds.dataset(files).to_table(columns=["record", "scene", "question", "answer", "top_log_probs"])
    assert table.num_rows == 9
    assert set(table["record"].to_pylist()) == {record.id for record in records}
    summary = RecordStore(tmp_path).summary()
    assert (summary.records, summary.families) == (3, {"size": 9})
    assert summary.size_bytes > sum(path.stat().st_size for path in tmp_path.glob(f"*/{ANSWERS}"))


def test_label_probs_are_stored_with_their_labels(tmp_path: Path) -> None:
    plain = make_record()
    probs = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    features = replace(plain.features, label_probs=probs, labels=("chair", "lampadaire à pied"))
    record = replace(plain, features=features)
    assert set(arrays_of(record)) - set(arrays_of(plain)) == {"label_chances", "labels"}, (
        "older records lack just these"
    )
    with RecordWriter(tmp_path) as writer:
        writer.write(record)
    assert_same_record(RecordStore(tmp_path).read(record.id), record)
    half, _ = cast_fp16(features, None)
    assert half.label_probs.dtype == np.float16
    assert half.labels == features.labels
    with pytest.raises(TeacherError, match=r"must be \(4, 2\), no object last"):
        replace(features, labels=("chair",))


def test_cast_fp16_refuses_features_that_overflow() -> None:
    record = make_record()
    features, geometry = cast_fp16(record.features, record.geometry)
    assert features.features.dtype == np.float16
    assert all(depth.dtype == np.float16 for depth in geometry.depth)
    huge = SpatialFeatures(np.array([[1e6]], dtype=np.float32), np.zeros((1, 3)))
    with pytest.raises(TeacherError, match="half precision"):
        cast_fp16(huge, None)


def test_boxes_must_be_finite() -> None:
    scene = small_scene()
    assert scene.boxes is not None
    scene.boxes[0].center[0] = np.nan
    with pytest.raises(TeacherError, match="chair is not finite"):
        Record.create("0" * 32, scene, "", "", (), (), {"teacher": {}}, None, SceneGeometry(boxes=scene.boxes))


def steps_of_writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> list[int]:
    """Call ``act`` with a running number before each step of writing: every file, every sync, the renaming."""
    count = [0]
    write, sync, rename = Path.write_bytes, writer.sync, Path.rename

    def before(step: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object) -> object:
            act(count[0])
            count[0] += 1
            return step(*arguments)

        return stepped

    monkeypatch.setattr(Path, "write_bytes", before(write))
    monkeypatch.setattr(writer, "sync", before(sync))
    monkeypatch.setattr(Path, "rename", before(rename))
    return count


def test_record_is_complete_or_absent_wherever_writing_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without clean-up, an exception in the middle of writing leaves what a killed process leaves."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    stop = [0]

    def act(number: int) -> None:
        if number == stop[0]:
            raise KeyboardInterrupt

    count = steps_of_writing(monkeypatch, act)
    for stop[0] in range(11):
        folder = tmp_path / str(stop[0])
        count[0] = 0
        with pytest.raises(KeyboardInterrupt):
            write_records(folder)
        assert list((folder / UNFINISHED).iterdir()) or len(RecordStore(folder)) == 1
        assert RecordStore(folder).check() == []
    monkeypatch.undo()
    for number in range(11):
        write_records(tmp_path / str(number))
        assert len(RecordStore(tmp_path / str(number))) == 1
        assert not list((tmp_path / str(number) / UNFINISHED).iterdir())


def test_unfinished_files_stay_while_their_writer_lives(tmp_path: Path) -> None:
    record, unfinished = make_record(), tmp_path / UNFINISHED
    with RecordWriter(tmp_path) as first:
        (own,) = (path for path in unfinished.iterdir() if path.is_dir())
        left = unfinished / "left by a killed writer"
        left.mkdir()
        with RecordWriter(tmp_path):
            assert own.exists()
            assert not left.exists()
        first.write(record)
    assert list(unfinished.iterdir()) == []
    assert RecordStore(tmp_path).ids() == (record.id,)


def test_a_killed_writers_files_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom dollhouse.records.writer import RecordWriter\n"
        "RecordWriter(sys.argv[1]).__enter__()\nos.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False).returncode == -9
    assert any((tmp_path / UNFINISHED).iterdir())
    (tmp_path / UNFINISHED / "killed between two removals.lock").touch()
    write_records(tmp_path)
    assert list((tmp_path / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize("name", [UNFINISHED, ".parts"])
def test_links_are_not_followed_out_of_the_folder(name: str, tmp_path: Path) -> None:
    precious = tmp_path / "home" / "precious"
    precious.mkdir(parents=True)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / name).symlink_to(tmp_path / "home")
    with pytest.raises(StorageError, match="links to"):
        write_records(tmp_path / "records")
    assert precious.is_dir()


def test_records_are_written_without_fcntl(tmp_path: Path) -> None:
    """Windows has no such module."""
    code = (
        "import sys\nsys.modules['fcntl'] = None\n"
        "from tests.records.record_fixtures import write_records\n"
        "from dollhouse.records.store import RecordStore\n"
        "import dollhouse.cli\n"
        "write_records(sys.argv[1], 2)\nassert len(RecordStore(sys.argv[1])) == 2\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)


def test_a_folder_without_records_is_not_merged(tmp_path: Path) -> None:
    write_records(tmp_path / "shard")
    (tmp_path / "photos").mkdir()
    with pytest.raises(StorageError, match="photos: holds no records"):
        merge_records([tmp_path / "shard", tmp_path / "photos"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_merged_shards_are_the_records_of_one_run(tmp_path: Path) -> None:
    records = write_records(tmp_path / "all", 4)
    for shard in range(2):
        with RecordWriter(tmp_path / f"shard{shard}") as writer:
            for record in records[shard * 2 : shard * 2 + 3]:  # the third record is in both
                writer.write(record)
    assert merge_records([tmp_path / "shard0", tmp_path / "shard1"], tmp_path / "merged") == (4, 1)
    assert merge_records([tmp_path / "shard0"], tmp_path / "merged") == (0, 3)

    def files(folder: str) -> dict[str, bytes]:
        paths = (path for path in (tmp_path / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in paths}

    assert files("merged") == files("all")
    (tmp_path / "shard1" / records[3].id / ARRAYS).write_bytes(b"")
    with pytest.raises(StorageError, match="is damaged"):
        merge_records([tmp_path / "shard1"], tmp_path / "other")


def test_full_disk_is_a_one_line_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record()
    with RecordWriter(tmp_path) as writer:
        for full in range(10):

            def act(number: int, full: int = full) -> None:
                if number == full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                steps_of_writing(patch, act)
                with pytest.raises(StorageError, match=r"No space left on device.*; free some space") as caught:
                    writer.write(record)
            assert "\n" not in str(caught.value)
            assert list(tmp_path.glob("*/*.parquet")) == []
            assert [list(path.iterdir()) for path in (tmp_path / UNFINISHED).iterdir() if path.is_dir()] == [[]]
        writer.write(record)
    assert_same_record(RecordStore(tmp_path).read(record.id), record)


def test_file_size_limit_of_the_system(tmp_path: Path) -> None:
    """The operating system refuses to write on, in the middle of a file."""
    code = (
        "import resource, signal, sys\n"
        "from dollhouse.errors import StorageError\n"
        "from dollhouse.records.writer import RecordWriter\n"
        "from tests.records.record_fixtures import make_record\n"
        "record = make_record()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with RecordWriter(sys.argv[1]) as writer:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "    try:\n        writer.write(record)\n"
        "    except StorageError as error:\n        print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be written (File too large)" in process.stdout
    assert process.stdout.count("\n") == 1
    assert RecordStore(tmp_path).ids() == ()
    assert list((tmp_path / UNFINISHED).iterdir()) == []
