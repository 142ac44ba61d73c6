"""The store: what is read is what was written, whole, wherever writing stops."""

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
from dollhouse.records import store as store
from dollhouse.records.record import Record, cast_fp16
from dollhouse.records.schema import arrays_of
from dollhouse.records.store import (
    ANSWERS,
    ARRAYS,
    HASHES,
    SCENE,
    UNFINISHED,
    RecordStore,
    RecordWriter,
    count_families,
)
from dollhouse.records.types import SceneGeometry, SpatialFeatures
from tests.teachers.made_records import assert_same, made, written
from tests.teachers.small_scenes import small_scene


@pytest.mark.parametrize(("features", "geometry"), [(True, True), (False, True), (True, False), (False, False)])
def test_what_is_read_is_what_was_written(tmp_path: Path, features: bool, geometry: bool) -> None:
    record = made(features=features, geometry=geometry)
    with RecordWriter(tmp_path / "records") as writer:
        writer.write(record)
        assert record.id in writer
    records = RecordStore(tmp_path / "records")
    assert_same(records.read(record.id), record)
    assert records.check() == []
    assert [one.id for one in records.for_scene("small/0")] == [record.id]
    assert records.for_scene("small/1") == ()


def test_licences_of_teacher_and_scene_are_told() -> None:
    assert made().licence == "teacher: MIT; scene: CC0"


def test_the_same_record_has_the_same_bytes_and_is_written_once(tmp_path: Path) -> None:
    (first,) = written(tmp_path / "one")
    written(tmp_path / "two")
    for name in (ANSWERS, SCENE, ARRAYS, HASHES):
        assert (tmp_path / "one" / first.id / name).read_bytes() == (tmp_path / "two" / first.id / name).read_bytes()
    before = (tmp_path / "one" / first.id / SCENE).stat().st_mtime_ns
    written(tmp_path / "one")
    assert (tmp_path / "one" / first.id / SCENE).stat().st_mtime_ns == before


def test_all_answers_are_one_table(tmp_path: Path) -> None:
    kept = written(tmp_path, 3)
    files = sorted(map(str, tmp_path.glob(f"*/{ANSWERS}")))
    table = ds.dataset(files).to_table(columns=["record", "scene", "question", "answer", "top_log_probs"])
    assert table.num_rows == 9
    assert set(table["record"].to_pylist()) == {record.id for record in kept}
    assert count_families(RecordStore(tmp_path)) == {"size": 9}


def test_label_probs_are_kept_with_their_names_and_checked(tmp_path: Path) -> None:
    plain = made()
    chances = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    seen = replace(plain.features, label_probs=chances, labels=("chair", "lampadaire à pied"))
    record = replace(plain, features=seen)
    assert set(arrays_of(record)) - set(arrays_of(plain)) == {"label_chances", "labels"}, (
        "older records lack just these"
    )
    with RecordWriter(tmp_path) as writer:
        writer.write(record)
    assert_same(RecordStore(tmp_path).read(record.id), record)
    half, _ = cast_fp16(seen, None)
    assert half.label_probs.dtype == np.float16
    assert half.labels == seen.labels
    with pytest.raises(TeacherError, match=r"must be \(4, 2\), no object last"):
        replace(seen, labels=("chair",))


def test_half_precision_halves_depth_and_features_and_refuses_what_does_not_fit() -> None:
    record = made()
    features, geometry = cast_fp16(record.features, record.geometry)
    assert features.features.dtype == np.float16
    assert all(depth.dtype == np.float16 for depth in geometry.depth)
    huge = SpatialFeatures(np.array([[1e6]], dtype=np.float32), np.zeros((1, 3)))
    with pytest.raises(TeacherError, match="half precision"):
        cast_fp16(huge, None)


def test_a_box_that_is_not_finite_is_refused() -> None:
    scene = small_scene()
    assert scene.boxes is not None
    scene.boxes[0].center[0] = np.nan
    with pytest.raises(TeacherError, match="chair is not finite"):
        Record.create("0" * 32, scene, "", "", (), (), {"teacher": {}}, None, SceneGeometry(boxes=scene.boxes))


def steps_of_writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> list[int]:
    """Call ``act`` with a running number before each step of writing: every file, every settling, the renaming."""
    count = [0]
    write, settle, rename = store._write_synced, store._sync_folder, Path.rename

    def before(step: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object) -> object:
            act(count[0])
            count[0] += 1
            return step(*arguments)

        return stepped

    monkeypatch.setattr(store, "_write_synced", before(write))
    monkeypatch.setattr(store, "_sync_folder", before(settle))
    monkeypatch.setattr(Path, "rename", before(rename))
    return count


def test_whole_or_absent_wherever_writing_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in the middle of writing runs no clean-up: it is as if the process had been killed there."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    stop = [0]

    def act(number: int) -> None:
        if number == stop[0]:
            raise KeyboardInterrupt

    count = steps_of_writing(monkeypatch, act)
    for stop[0] in range(1, 8):  # 0 is the card
        folder = tmp_path / str(stop[0])
        count[0] = 0
        with pytest.raises(KeyboardInterrupt):
            written(folder)
        assert list((folder / UNFINISHED).iterdir()) or len(RecordStore(folder)) == 1
        assert RecordStore(folder).check() == []
    monkeypatch.undo()
    for number in range(1, 8):
        written(tmp_path / str(number))
        assert len(RecordStore(tmp_path / str(number))) == 1
        assert not list((tmp_path / str(number) / UNFINISHED).iterdir())


def test_leftovers_stay_while_another_run_is_at_work(tmp_path: Path) -> None:
    with RecordWriter(tmp_path):
        left = tmp_path / UNFINISHED / "record.1"
        left.mkdir()
        with RecordWriter(tmp_path):
            assert left.exists()
    with RecordWriter(tmp_path):
        assert not left.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = made()
    with RecordWriter(tmp_path) as writer:
        for full in range(6):

            def act(number: int, full: int = full) -> None:
                if number == full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                steps_of_writing(patch, act)
                with pytest.raises(StorageError, match=r"No space left on device.*; free some space") as caught:
                    writer.write(record)
            assert "\n" not in str(caught.value)
            assert list(tmp_path.glob("*/*.parquet")) == []
            assert list((tmp_path / UNFINISHED).iterdir()) == []
        writer.write(record)
    assert_same(RecordStore(tmp_path).read(record.id), record)


def test_a_file_that_the_system_cuts_off(tmp_path: Path) -> None:
    """The operating system itself refuses to write on, in the middle of a file."""
    code = (
        "import resource, signal, sys\n"
        "from dollhouse.errors import StorageError\n"
        "from dollhouse.records.store import RecordWriter\n"
        "from tests.teachers.made_records import made\n"
        "record = made()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with RecordWriter(sys.argv[1]) as writer:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "    try:\n        writer.write(record)\n"
        "    except StorageError as error:\n        print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be written (File too large)" in told.stdout
    assert told.stdout.count("\n") == 1
    assert RecordStore(tmp_path).ids() == ()
    assert list((tmp_path / UNFINISHED).iterdir()) == []
