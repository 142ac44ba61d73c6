"""Many small jobs in several processes of one thread each."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_jobs(
    function: Callable[..., R], jobs: Mapping[K, tuple[Any, ...]], minimum: int, workers: int | None = None
) -> Iterator[tuple[K, R]]:
    """Call ``function(*job)`` for every job; yield key and result, in the order in which jobs are finished.

    Args:
        function: of a module, as are the arguments of its jobs: they are sent to other processes.
        minimum: jobs from which on processes are worth their start.
        workers: processes; by default one a core.

    Raises what ``function`` raises; jobs that wait are cancelled then.
    """
    left = dict(jobs)
    workers = min(len(jobs), workers or len(os.sched_getaffinity(0)))
    if len(jobs) >= minimum and workers > 1:
        try:
            with _one_thread_each(), ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                futures = {pool.submit(function, *job): key for key, job in jobs.items()}
                try:
                    for future in as_completed(futures):
                        result = future.result()
                        key = futures.pop(future)
                        del left[key]
                        yield key, result
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BrokenProcessPool:  # a script without `if __name__ == "__main__"`, or too little memory
            logging.getLogger(__name__).warning("work goes on in one process, since another ended too early")
    for key, job in left.items():
        yield key, function(*job)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give every new process one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
