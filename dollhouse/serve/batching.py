"""Queues between requests and the model: scenes to encode, questions to answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dollhouse.serve.limits import RequestError
from dollhouse.serve.metrics import Metrics

if TYPE_CHECKING:
    from dollhouse.inference.session import Answer, SceneSession

T = TypeVar("T")
BATCH = 64  #: questions that are answered at once


class Workers:
    """A few threads that run blocking functions in order; a full queue refuses at once."""

    def __init__(self, threads: int, waiting: int, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self._threads, self._most = threads, waiting
        self._metrics = metrics
        self._mean = 0.5  # seconds of a run
        self.open = 0

    async def run(self, function: Callable[[], T], started: Callable[[], None] = lambda: None) -> T:
        """Run a function and return what it returns; ``started`` is called when its turn comes.

        Raises:
            RequestError: 429, the queue is full.
        """
        self.check()
        loop = asyncio.get_running_loop()

        def timed() -> T:
            loop.call_soon_threadsafe(started)
            start = time.perf_counter()
            try:
                return function()
            finally:
                self._mean += 0.2 * (time.perf_counter() - start - self._mean)

        self._count(1)
        future = self._pool.submit(timed)
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._count, -1))
        return await asyncio.wrap_future(future)

    def check(self) -> None:
        """Raise RequestError (429) where the queue is full."""
        if self.open >= self._most + self._threads:
            raise _busy("scenes", self.open * self._mean / self._threads)

    def close(self) -> None:
        """Let running functions end, and run no other."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, change: int) -> None:
        self.open += change
        self._metrics.gauges["queue_encoding"].set(self.open)


class QuestionQueue:
    """One thread that answers questions of many requests and scenes.

    It takes all that wait at once; those of a scene are decoded in one batch. Questions that come meanwhile are next.
    """

    def __init__(self, waiting: int, metrics: Metrics) -> None:
        self._most, self._metrics = waiting, metrics
        self._waiting: deque[tuple[SceneSession, str, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._mean = 0.01  # seconds of a question
        self._thread = threading.Thread(target=self._work, name="answer", daemon=True)
        self._thread.start()

    async def answer(self, session: SceneSession, questions: Sequence[str]) -> list[Answer]:
        """Return the answers to questions about a scene.

        Raises:
            RequestError: 429, the queue is full.
            QuestionError: a question cannot be answered.
        """
        futures: list[Future[Answer]] = [Future() for _ in questions]
        with self._changed:
            if self._closed or len(self._waiting) + len(questions) > self._most:
                raise _busy("questions", len(self._waiting) * self._mean)
            self._waiting.extend((session, *pair) for pair in zip(questions, futures, strict=True))
            self._changed.notify()
        self._metrics.gauges["queue_answering"].set(len(self._waiting))
        return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._metrics.gauges["queue_answering"].set(len(self._waiting))
            batch = [entry for entry in taken if entry[2].set_running_or_notify_cancel()]
            self._metrics.rows.observe(len(batch))
            start = time.perf_counter()
            by_scene: dict[int, list[tuple[SceneSession, str, Future[Answer]]]] = {}
            for entry in batch:
                by_scene.setdefault(id(entry[0]), []).append(entry)
            for entries in by_scene.values():
                _answer(entries)
            if batch:
                self._mean += 0.2 * ((time.perf_counter() - start) / len(batch) - self._mean)


def _answer(entries: list[tuple[SceneSession, str, Future[Answer]]]) -> None:
    """Answer questions about one scene in a batch; where one of them fails, each alone."""
    try:
        answers = entries[0][0].answer([question for _, question, _ in entries])
    except Exception as error:
        if len(entries) == 1:
            entries[0][2].set_exception(error)
        else:
            for entry in entries:
                _answer([entry])
        return
    for (_, _, future), answer in zip(entries, answers, strict=True):
        future.set_result(answer)


def _busy(what: str, seconds: float) -> RequestError:
    return RequestError(429, f"too many {what} wait; try again later", "queue_full", retry_after=max(1, round(seconds)))
