"""Annotate scenes on a Ray cluster: units of scenes as tasks, which any node can take over from one that dies."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dollhouse.errors import DollhouseError, TeacherError
from dollhouse.scenes.open import open_scenes
from dollhouse.teachers.annotate import AnnotationRun, annotate

UNIT = 8  #: scenes of a task at least; a task opens the teacher anew
MOST_UNITS = 10_000
RETRIES = 20  #: of a task whose node dies


def annotate_on_ray(
    address: str,
    teacher: str,
    scenes: str,
    out: str | Path,
    *,
    unit: int = UNIT,
    on_scene: Callable[[AnnotationRun], None] | None = None,
    **settings: Any,
) -> AnnotationRun:
    """Annotate as :func:`dollhouse.teachers.annotate.annotate` does, on the nodes of a Ray cluster.

    Each task annotates one shard. Records that are there already are not made again, so a task that is repeated on
    another node goes on where the first one was killed, and the records are those of a run in one process. All nodes
    need Dollhouse, this working folder and the scenes, and write to ``out``: a file system that they share.

    Args:
        address: of the cluster, such as ``auto`` or ``ray://HOST:10001``; ``local`` starts one on this machine.
        unit: scenes of a task at least.
        on_scene: called after every task.
        settings: as of ``annotate``, without ``shard``.

    Raises:
        TeacherError: Ray is not installed, the cluster does not answer, or a task was lost too often.
        DollhouseError: what ``annotate`` raises, of the first task that fails so; tasks that run are cancelled.
    """
    count = len(open_scenes(scenes, skip_bad=settings.get("skip_bad", False), corrections=settings["corrections"]))
    shards = min(max(1, math.ceil(count / unit)), MOST_UNITS)
    arguments = {**settings, "teacher": teacher, "scenes": scenes, "out": str(out)}
    joined = AnnotationRun(count)
    ids: list[list[str]] = [[] for _ in range(shards)]
    with _connected(address) as ray:
        task = ray.remote(max_retries=RETRIES)(_annotate_shard)
        number_of = {task.remote(os.getcwd(), arguments, (number, shards)): number for number in range(shards)}
        open_tasks = list(number_of)
        try:
            while open_tasks:
                (done,), open_tasks = ray.wait(open_tasks, num_returns=1)
                run = _result(ray, done)
                ids[number_of[done]] = run.record_ids
                _add(joined, run)
                if on_scene is not None:
                    on_scene(joined)
        finally:
            for each in open_tasks:
                ray.cancel(each, force=False)
    joined.record_ids = [id for row in range(max(map(len, ids))) for each in ids for id in each[row : row + 1]]
    return joined


def _annotate_shard(folder: str, arguments: dict[str, Any], shard: tuple[int, int]) -> AnnotationRun:
    """Annotate one shard, in a process of a node."""
    if not Path(folder).is_dir():
        raise TeacherError(f"a node of the cluster has no folder {folder}: start in one that all nodes share")
    os.chdir(folder)
    return annotate(**arguments, shard=shard)


def _result(ray: Any, task: Any) -> AnnotationRun:
    try:
        run = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DollhouseError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise TeacherError(f"the cluster lost a task: {' '.join(str(error).split())[:200]}") from error
    assert isinstance(run, AnnotationRun)
    return run


def _add(joined: AnnotationRun, run: AnnotationRun) -> None:
    joined.written += run.written
    joined.existing += run.existing
    joined.answers += run.answers
    joined.failures += run.failures
    joined.unanswered.update(run.unanswered)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this process is connected already; yield the module ``ray``."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise TeacherError("--ray needs Ray, which is not installed: pip install 'dollhouse[ray]'") from None
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            fault = " ".join(str(error).split())[:200]
            raise TeacherError(f"no Ray cluster answers at {address} ({fault})") from error
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
