"""Queues between requests and the model: scenes to encode, questions to answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from dollhouse.serve.limits import RequestError
from dollhouse.serve.metrics import Metrics

if TYPE_CHECKING:
    from dollhouse.inference.session import Answer, SceneSession
    from dollhouse.runtime.word_batch import WordBatch

T = TypeVar("T")
BATCH = 64  #: questions that are answered at once


@dataclass(eq=False)
class Asked:
    """A question about a scene, and its answer to come."""

    session: SceneSession
    question: str
    future: Future[Answer] = field(default_factory=Future)


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

        Raises RequestError (429) where the queue is full.
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

    Their words are decoded in one continuous batch: a question joins it between two tokens, and leaves with its answer.
    At most ``waiting`` questions wait. ``new_batch`` returns an empty batch, or None for models without one, whose
    scenes are answered one by one.
    """

    def __init__(self, waiting: int, metrics: Metrics, new_batch: Callable[[], WordBatch[Any] | None]) -> None:
        self._most, self._metrics, self._new_batch = waiting, metrics, new_batch
        self._waiting: deque[Asked] = deque()
        self._open: list[Asked] = []  # in the batch
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
        asked = [Asked(session, question) for question in questions]
        with self._changed:
            if self._closed or len(self._waiting) + len(questions) > self._most:
                raise _busy("questions", len(self._waiting) * self._mean)
            self._waiting.extend(asked)
            self._changed.notify()
        self._metrics.gauges["queue_answering"].set(len(self._waiting))
        return list(await asyncio.gather(*(asyncio.wrap_future(each.future) for each in asked)))

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        batch = self._new_batch()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._open or self._closed)
                if not (self._waiting or self._open):
                    return
                taken = [self._waiting.popleft() for _ in range(min(BATCH - len(self._open), len(self._waiting)))]
            self._metrics.gauges["queue_answering"].set(len(self._waiting) + len(self._open))
            start, before = time.perf_counter(), len(self._open)
            new = [asked for asked in taken if asked.future.set_running_or_notify_cancel()]
            if batch is None:
                _answer_by_scene(new)
            else:
                try:
                    self._decode(batch, new)
                except Exception as error:
                    for asked in self._open:
                        asked.future.set_exception(error)
                    self._open, batch = [], self._new_batch()
            ended = before + len(new) - len(self._open)
            if ended:
                self._mean += 0.2 * ((time.perf_counter() - start) / ended - self._mean)

    def _decode(self, batch: WordBatch[Any], new: list[Asked]) -> None:
        """Let new questions join the batch, and decode a word of all."""
        rows = []
        for asked in new:
            try:
                prepared = asked.session.prepare(asked.question)
            except Exception as error:
                asked.future.set_exception(error)
                continue
            if isinstance(prepared, list):
                rows.append((asked, asked.session.words_cache, prepared))
            else:
                asked.future.set_result(prepared)
        self._open += [asked for asked, _, _ in rows]
        ended = batch.add(rows) if rows else []
        self._metrics.rows.observe(len(self._open))
        if batch:
            ended += batch.step()
        for asked, text in ended:
            decoded = asked.session.pipeline.decode(text.token_ids)
            answer = asked.session.finish(asked.question, decoded, text.confidence)
            self._open.remove(asked)  # only now: whatever fails before is reported to all that are open
            asked.future.set_result(answer)


def _answer_by_scene(questions: Sequence[Asked]) -> None:
    by_scene: dict[int, list[Asked]] = {}
    for asked in questions:
        by_scene.setdefault(id(asked.session), []).append(asked)
    for group in by_scene.values():
        _answer(group)


def _answer(group: list[Asked]) -> None:
    """Answer questions about one scene in a batch; where one of them fails, each alone."""
    try:
        answers = group[0].session.answer([asked.question for asked in group])
    except Exception as error:
        if len(group) == 1:
            group[0].future.set_exception(error)
        else:
            for asked in group:
                _answer([asked])
        return
    for asked, answer in zip(group, answers, strict=True):
        asked.future.set_result(answer)


def _busy(what: str, seconds: float) -> RequestError:
    return RequestError(429, f"too many {what} wait; try again later", "queue_full", retry_after=max(1, round(seconds)))
