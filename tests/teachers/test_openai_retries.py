"""A server that fails for a while: annotation finishes, loses no answer and counts requests."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from dollhouse.records.store import RecordStore
from dollhouse.teachers import chat_client
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.openai_server import OpenAITeacher
from dollhouse.teachers.protocol import AnswersMissingError
from tests.records.small_scenes import questions_for, small_scene, small_scenes
from tests.teachers.chat_server import Talk, chat_server, quick


def fail_twice(talk: Talk, question: str, before: int) -> None:
    """Fail twice for every question, in two of six ways, then answer; and so on."""
    way = sum(question.encode()) + before
    if before % 3 == 2:
        talk.reply(f"re: {question}")
    elif way % 6 == 0:
        talk.send(500, b"<html>oh no</html>")
    elif way % 6 == 1:
        time.sleep(0.7)  # stalls beyond the time limit
        talk.reply("too late")
    elif way % 6 == 2:
        talk.send(200, bytes(range(256)))
    elif way % 6 == 3:
        talk.break_off()
    elif way % 6 == 4:
        talk.send(429, b"{}", Retry_After="0.01")
    else:
        talk.send(200, b'{"choices": []}')


def test_failing_server_loses_no_answer(tmp_path: Path) -> None:
    scenes = small_scenes(4)
    with chat_server(fail_twice) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=6, dollars_per_million_in=50))
        run = annotate_scenes(teacher, scenes, tmp_path, questions=lambda scene: questions_for(scene, 6))
        assert (run.written, run.answers, run.failures) == (4, 24, [])
        assert annotate_scenes(teacher, scenes, tmp_path, questions=lambda scene: questions_for(scene, 6)).existing == 4
    for record in RecordStore(tmp_path):
        for question, answer in zip(record.questions, record.answers, strict=True):
            assert answer.text == f"re: {question.text}"
    assert set(server.attempts.values()) == {12}  # the same six questions in four scenes, three attempts each


def test_failures_differ_between_questions(tmp_path: Path) -> None:
    """As above, with different words in every question, so that each fails in different ways from the start."""
    scene = small_scene()
    questions = tuple(
        replace(question, text=f"{'what' * (number + 1)}?") for number, question in enumerate(questions_for(scene, 6))
    )
    with chat_server(fail_twice) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=6, dollars_per_million_in=50))
        answers = teacher.answer(scene, questions)
    assert [answer.text for answer in answers] == [f"re: {question.text}" for question in questions]
    assert set(server.attempts.values()) == {3}
    assert teacher.client.requests == 18
    assert "18 requests (12 of them repeated), " in teacher.usage()
    assert teacher.client.tokens_out == 60
    assert "$0.03" in teacher.usage()


def test_missing_answers_alone_are_requested_again(tmp_path: Path) -> None:
    broken = threading.Event()
    broken.set()

    def behave(talk: Talk, question: str, before: int) -> None:
        if "(1)" in question and broken.is_set():
            talk.send(503, b"busy")
        else:
            talk.reply("yes")

    scenes = small_scenes(2)
    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(retries=1))
        run = annotate_scenes(teacher, scenes, tmp_path, questions=questions_for)
        assert run.written == 0
        assert len(run.failures) == 2
        assert "1 of 3 questions were not answered" in run.failures[0].reason
        assert "no answer after 2 attempts (status 503: busy)" in run.failures[0].reason
        assert len(RecordStore(tmp_path)) == 0
        broken.clear()
        server.attempts.clear()
        assert annotate_scenes(teacher, scenes, tmp_path, questions=questions_for).written == 2
        assert server.attempts == {questions_for(scenes[0])[1].text: 2}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no chat completion"),
        (b"null", "no chat completion"),
        (b"[1]", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [{"message": {"content": "half', "no chat completion"),
        (b"[" * 100_000, "no chat completion"),
    ],
)
def test_invalid_response_is_a_one_line_error(body: bytes, why: str) -> None:
    scene = small_scene()
    with chat_server(lambda talk, question, before: talk.send(200, body)) as server:
        teacher = OpenAITeacher(server.url, quick(retries=1))
        with pytest.raises(AnswersMissingError, match=why) as caught:
            teacher.answer(scene, questions_for(scene, 1))
    assert "\n" not in str(caught.value)
    assert caught.value.answers == {}
    assert sum(server.attempts.values()) == 2


def test_oversized_response_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "MAX_RESPONSE_BYTES", 1 << 20)
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.send(200, b"x" * (3 << 20))) as server,
        pytest.raises(AnswersMissingError, match="more than 1 MB"),
    ):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, questions_for(scene, 1))


def test_slow_response_is_stopped() -> None:
    def trickle(talk: Talk, question: str, before: int) -> None:
        talk.send_response(200)
        talk.send_header("Content-Length", "1000")
        talk.end_headers()
        for _ in range(20):
            talk.wfile.write(b" ")
            talk.wfile.flush()
            time.sleep(0.1)

    scene = small_scene()
    with chat_server(trickle) as server, pytest.raises(AnswersMissingError, match="not complete within"):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, questions_for(scene, 1))


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: a\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"extension=a;"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n", b"\x1f"),
        (b"", b""),
    ],
    ids=["headers", "hints", "chunk", "body", "silence"],
)
def test_whole_request_is_bounded(first: bytes, piece: bytes) -> None:
    """Bytes that trickle in may not keep a request alive, wherever they come."""

    def trickle(talk: Talk, question: str, before: int) -> None:
        talk.wfile.write(first)
        for _ in range(60):
            talk.wfile.write(piece)
            talk.wfile.flush()
            time.sleep(0.1)

    scene = small_scene()
    began = time.monotonic()
    with (
        chat_server(trickle) as server,
        pytest.raises(AnswersMissingError, match=r"not complete within 0.5 s|broke off"),
    ):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, questions_for(scene, 1))
    assert time.monotonic() - began < 5


def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    headers = ["3", date, "1000", "soon", "Mon, 01 Jan 99999 00:00:00 GMT", "nan"]

    def behave(talk: Talk, question: str, before: int) -> None:
        talk.send(429, b"", Retry_After=headers[before]) if before < len(headers) else talk.reply("yes")

    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(retries=6, first_wait=1, longest_wait=60))
        monkeypatch.setattr(teacher.client, "pause", waits.append)
        assert teacher.answer(small_scene(), questions_for(small_scene(), 1))[0].text == "yes"
    assert waits[0] == 3
    assert 25 < waits[1] <= 30
    assert waits[2] == 60
    assert 4 <= waits[3] <= 8  # an unreadable header: the fourth wait of the policy
    assert 8 <= waits[4] <= 16
    assert waits[5] <= 60
