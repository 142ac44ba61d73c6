"""Killed with SIGKILL at random moments and repeated, annotation gives the records of an undisturbed run.

``DOLLHOUSE_KILLS=20 pytest tests/teachers/test_annotate_killed.py`` kills twenty times.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from dollhouse.records.store import UNFINISHED, RecordStore
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.geometry import TeacherGeometry
from tests.records.small_scenes import questions_for, small_scenes

KILLS = int(os.environ.get("DOLLHOUSE_KILLS", "5"))
SCENES = 30


def annotate_all(folder: Path) -> None:
    teacher = AnnotationsTeacher()
    annotate_scenes(teacher, small_scenes(SCENES), folder, questions=questions_for, geometry=[TeacherGeometry(teacher)])


def record_files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["tests.teachers.test_annotate_killed"])
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    began = time.monotonic()
    annotate_all(undisturbed)
    took = time.monotonic() - began
    draw = random.Random()
    kills = interrupted = 0
    while kills < KILLS:
        run = start.Process(target=annotate_all, args=(disturbed,))
        before = len(RecordStore(disturbed)) if disturbed.exists() else 0
        run.start()
        while run.is_alive() and not _more_than(disturbed, before):
            time.sleep(0.001)  # until it writes: a kill before that tests nothing
        time.sleep(draw.uniform(0, 2 * took / KILLS))
        run.kill()
        run.join()
        if run.exitcode == 0:  # it finished first: remove some of its work
            _remove_some(disturbed, draw)
            continue
        kills += 1
        assert run.exitcode == -9
        interrupted += bool(list((disturbed / UNFINISHED).iterdir()))
        assert RecordStore(disturbed).check() == []
        if len(RecordStore(disturbed)) > SCENES * 0.7:
            _remove_some(disturbed, draw)
    print(f"{kills} kills, {interrupted} of them in the middle of a record")
    annotate_all(disturbed)
    assert record_files(disturbed) == record_files(undisturbed)
    assert len(RecordStore(disturbed)) == SCENES


def _more_than(folder: Path, count: int) -> bool:
    return folder.exists() and len(RecordStore(folder)) > count


def _remove_some(folder: Path, draw: random.Random) -> None:
    """Remove whole records, so that there is work left."""
    records = RecordStore(folder)
    for id in draw.sample(records.ids(), len(records) // 2):
        for path in (folder / id).iterdir():
            path.unlink()
        (folder / id).rmdir()
