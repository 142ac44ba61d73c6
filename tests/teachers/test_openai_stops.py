"""Interrupted or given odd responses, a server is sent nothing more than needed, and no paid answer is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dollhouse.errors import TeacherError
from dollhouse.records.store import RecordStore
from dollhouse.teachers import chat_client, openai_server
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.chat_client import ServerError
from dollhouse.teachers.openai_server import OpenAITeacher, _data_url
from tests.records.small_scenes import questions_for, small_scene, small_scenes
from tests.teachers.chat_server import Talk, chat_server, echo, quick

ODD = [
    b'{"choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 1e400}}',
    b'{"choices": [{"message": {"content": "a\\ud800b"}}]}',
    b'{"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}]}',
    b"[" * 100_000,
    b'{"error": ' + b'{"message":' * 500 + b"1" + b"}" * 501,
    b'{"error": {"code": ' + b"9" * 5000 + b"}}",
    b'{"choices": [{"message": {"content": [{"type": "text", "text": 7}]}}]}',
    b"\xff\xfe\x00",
]


def test_interruption_sends_nothing_more_and_keeps_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "GRACE_SECONDS", 0.5)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs without
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def behave(talk: Talk, question: str, before: int) -> None:
        with lock:
            number = seen.total()
            seen[question] += 1
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # answered while the run is ending
        if number == 5:
            time.sleep(20)  # under way, and not answered in time
        talk.reply(f"re: {question}")

    scenes = small_scenes(2)
    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=2, timeout=30))
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            annotate_scenes(teacher, scenes, tmp_path, questions=lambda scene: questions_for(scene, 10))
        assert time.monotonic() - began < 15
        assert seen.total() <= 6  # the four answered, and the two under way
        annotate_scenes(teacher, scenes, tmp_path, questions=lambda scene: questions_for(scene, 10))
    signal.signal(signal.SIGINT, handler)
    assert seen.total() <= 21, "what was answered is not asked again"
    assert [len(record.answers) for record in RecordStore(tmp_path)] == [10, 10]


def test_stopping_while_waiting_for_another_attempt_sends_none() -> None:
    with chat_server(lambda talk, question, before: talk.send(429, b"{}", Retry_After="30")) as server:
        client = OpenAITeacher(server.url, quick(longest_wait=60)).client
        threading.Timer(0.5, client.stop).start()
        began = time.monotonic()
        body = {"messages": [{"content": [{"text": "a?"}]}]}
        for reason in ("after 1 attempts", "stopped"):
            with pytest.raises(ServerError, match=reason):
                client.complete(body)
        assert time.monotonic() - began < 15
    assert server.attempts.total() == 1


def test_photos_of_all_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = small_scene()
    settings = quick(concurrency=8)
    size = sum(len(_data_url(view, settings.image_size)) for view in scene.views)
    monkeypatch.setattr(openai_server, "MAX_REQUEST_BYTES", 2 * size)

    def slow(talk: Talk, question: str, before: int) -> None:
        time.sleep(0.05)
        echo(talk, question, before)

    with chat_server(slow) as server:
        OpenAITeacher(server.url, settings).answer(scene, questions_for(scene, 10))
        assert server.most_at_once <= 2
        monkeypatch.setattr(openai_server, "MAX_REQUEST_BYTES", size - 1)
        with pytest.raises(TeacherError, match="--views"):
            OpenAITeacher(server.url, settings).answer(scene, questions_for(scene, 1))


def test_odd_responses_lose_no_other_answer(tmp_path: Path) -> None:
    """Each is an answer, a failure or worth another attempt; none stops the run or reaches a record as it is."""
    odd = iter(ODD)

    def behave(talk: Talk, question: str, before: int) -> None:
        content = None if before else next(odd, None)
        echo(talk, question, before) if content is None else talk.send(200, content)

    with chat_server(behave) as server:
        run = annotate_scenes(
            OpenAITeacher(server.url, quick(concurrency=1, timeout=10)),
            small_scenes(2),
            tmp_path,
            questions=lambda scene: questions_for(scene, len(ODD)),
        )
    assert not run.failures
    assert server.attempts.total() <= 2 * len(ODD) + len(ODD) - 2
    texts = [answer.text for record in RecordStore(tmp_path) for answer in record.answers]
    assert "yes" in texts
    assert all(text.encode() is not None for text in texts)
    assert run.unanswered == {"refused": 1}
