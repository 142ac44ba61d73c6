"""Annotation on a Ray cluster of this machine gives the records of one process, though nodes come and go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dollhouse.cli.app import app
from dollhouse.errors import DollhouseError, TeacherError
from dollhouse.scenes.corrections import Corrections
from dollhouse.teachers.annotate import AnnotationRun, annotate
from dollhouse.teachers.ray_annotate import annotate_on_ray
from tests.conftest import LONG
from tests.teachers.test_annotate import files_of

SETTINGS: dict[str, Any] = {"limit": 4, "fp16": True, "corrections": Corrections()}


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TeacherError, match=r"pip install 'dollhouse\[ray\]'"):
        annotate_on_ray("local", "annotations", "rooms:train/0-1", tmp_path, **SETTINGS)


@pytest.mark.parametrize("other", [["--shard", "0/2"], ["--boxes", "--detector", "x:y"]])
def test_options_that_do_not_go_together(other: list[str], tmp_path: Path) -> None:
    words = ["annotate", "--scenes", "rooms:train/0-1", "--out", str(tmp_path), "--ray", "local"]
    teacher = [] if "--boxes" in other else ["--teacher", "annotations"]
    result = CliRunner().invoke(app, [*words, *teacher, *other])
    assert result.exit_code == 2
    assert "--ray" in result.output


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="pip install ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@LONG
def test_nodes_die_and_come(cluster: Any, tmp_path: Path) -> None:
    """Three nodes and 200 tasks; in the middle one node is killed and another one added."""
    scenes = "rooms:train/0-199"
    annotate("annotations", scenes, tmp_path / "one", **SETTINGS)
    second = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    counts: list[int] = []

    def change(run: AnnotationRun) -> None:
        counts.append(run.done)
        if len(counts) == 60:
            cluster.remove_node(second, allow_graceful=False)
        if len(counts) == 90:
            cluster.add_node(num_cpus=1)

    run = annotate_on_ray("auto", "annotations", scenes, tmp_path / "many", unit=1, on_scene=change, **SETTINGS)
    assert (run.total, run.done, run.failures) == (200, 200, [])
    assert counts == list(range(1, 201))
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")
    again = annotate_on_ray("auto", "annotations", scenes, tmp_path / "many", unit=40, **SETTINGS)
    assert (again.written, again.existing, again.record_ids) == (0, 200, run.record_ids)


@pytest.mark.slow
@LONG
def test_errors_of_a_task_are_those_of_annotate(cluster: Any, tmp_path: Path) -> None:
    settings = {**SETTINGS, "teacher_args": {"nonsense": "1"}}
    with pytest.raises(DollhouseError) as here:
        annotate("annotations", "rooms:train/0-3", tmp_path / "a", **settings)
    with pytest.raises(type(here.value)) as there:
        annotate_on_ray("auto", "annotations", "rooms:train/0-3", tmp_path / "b", **settings)
    assert str(there.value) == str(here.value)
