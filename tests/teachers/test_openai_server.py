"""An OpenAI-compatible server as a teacher: whatever fails, annotation finishes, loses nothing and counts requests."""

from __future__ import annotations

import base64
import io
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import TeacherError
from dollhouse.records.store import RecordStore
from dollhouse.teachers import chat_client
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAISettings, OpenAITeacher
from dollhouse.teachers.protocol import AnswersMissingError, TeacherUnavailableError
from tests.records.small_scenes import questions_for, small_scene, small_scenes
from tests.teachers.chat_server import Talk, chat_server


def quick(**others: Any) -> OpenAISettings:
    return OpenAISettings(
        **{"model": "made", "timeout": 0.5, "retries": 3, "first_wait": 0.01, "longest_wait": 0.05, **others}
    )


def echo(talk: Talk, question: str, before: int) -> None:
    talk.reply(f"re: {question}")


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


def test_request_holds_the_question_and_all_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame")
    scene = small_scene(size=40)
    with chat_server(echo) as server:
        teacher = OpenAITeacher(server.url, quick(instruction="Be short.", image_size=28, max_new_tokens=9))
        answers = teacher.answer(scene, questions_for(scene))
    assert [answer.text for answer in answers] == [
        f"re: {question.text} Be short." for question in questions_for(scene)
    ]
    assert answers[0].token_ids is None
    assert server.keys == ["Bearer sesame"] * 3
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("made", 0, 9, 0)
    *photos, text = body["messages"][0]["content"]
    assert text["type"] == "text"
    assert len(photos) == len(scene.views)
    sent = Image.open(io.BytesIO(base64.b64decode(photos[0]["image_url"]["url"].partition(",")[2])))
    expected = Image.fromarray(scene.views[0].image)
    expected.thumbnail((28, 28))
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(expected))


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
    assert set(server.attempts.values()) == {
        12
    }  # six questions with the same words in four scenes, three attempts each


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


def test_concurrency_is_limited() -> None:
    lock, open_requests, most = threading.Lock(), [0], [0]

    def slow(talk: Talk, question: str, before: int) -> None:
        with lock:
            open_requests[0] += 1
            most[0] = max(most[0], open_requests[0])
        time.sleep(0.05)
        with lock:  # before the reply, after which the client may send its next request
            open_requests[0] -= 1
        talk.reply("yes")

    scene = small_scene()
    with chat_server(slow) as server:
        OpenAITeacher(server.url, quick(concurrency=2)).answer(scene, questions_for(scene, 8))
    assert most[0] == 2


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
        assert "no answer after 2 attempts (status 503)" in run.failures[0].reason
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
        (b'{"choices": [{"message": {"content": null}}]}', "empty"),
        (b'{"choices": [{"message": {"content": "  "}}]}', "empty"),
        (b'{"choices": [{"message": {"content": ["a"]}}]}', "empty"),
        (b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "many"}}', "no chat completion"),
        (b'{"choices": [{"message": {"content": "half', "no chat completion"),
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


def test_truncated_answer_is_refused() -> None:
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.reply("and then the", "length")) as server,
        pytest.raises(AnswersMissingError, match="set max_new_tokens higher"),
    ):
        OpenAITeacher(server.url, quick()).answer(scene, questions_for(scene, 1))
    assert sum(server.attempts.values()) == 1


def test_a_bad_request_is_not_repeated() -> None:
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.send(400, b'{"error": "too many images"}')) as server,
        pytest.raises(AnswersMissingError, match=r"status 400.*too many images"),
    ):
        OpenAITeacher(server.url, quick()).answer(scene, questions_for(scene, 2))
    assert set(server.attempts.values()) == {1}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_fatal_status_stops_the_run(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame")

    def behave(talk: Talk, question: str, before: int) -> None:
        if "(0)" in question:
            talk.reply("yes")
        else:
            time.sleep(0.05)
            talk.send(status, b"no")

    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=2))
        with pytest.raises(TeacherUnavailableError, match=f"status {status}") as caught:
            annotate_scenes(teacher, small_scenes(3), tmp_path, questions=lambda scene: questions_for(scene, 8))
        assert "sesame" not in str(caught.value)
        assert sum(server.attempts.values()) <= 8  # of 24
    assert len(list((tmp_path / ".parts").iterdir())) == 1


def test_unreachable_server_stops_the_run(tmp_path: Path) -> None:
    with chat_server(echo) as server:
        pass
    teacher = OpenAITeacher(server.url, quick(retries=1))
    with pytest.raises(TeacherUnavailableError, match="start the server and run the same command again"):
        annotate_scenes(teacher, small_scenes(3), tmp_path, questions=questions_for)


def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dollhouse.teachers.chat_client.time.sleep", waits.append)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    headers = ["3", date, "1000", "soon"]

    def behave(talk: Talk, question: str, before: int) -> None:
        talk.send(429, b"", Retry_After=headers[before]) if before < len(headers) else talk.reply("yes")

    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(retries=4, first_wait=1, longest_wait=60))
        assert teacher.answer(small_scene(), questions_for(small_scene(), 1))[0].text == "yes"
    assert waits[0] == 3
    assert 25 < waits[1] <= 30
    assert waits[2] == 60
    assert 4 <= waits[3] <= 8  # an unreadable header: the fourth wait of the policy


def test_key_is_not_stored_or_accepted_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sesame")
    teacher = OpenAITeacher("https://example.org/v1", quick(key_variable="OTHER_KEY"))
    assert "sesame" not in str(teacher.provenance())
    for address in ("https://user:sesame@example.org/v1", "https://example.org/v1?key=sesame", "example.org", "file:x"):
        with pytest.raises(TeacherError):
            OpenAITeacher(address, quick())


def test_request_handling_is_not_part_of_a_record() -> None:
    first = OpenAITeacher("http://localhost/v1/", quick(concurrency=1, retries=0)).provenance()
    other = OpenAITeacher("http://localhost/v1", quick(concurrency=9, timeout=9.0)).provenance()
    assert first == other
    assert OpenAITeacher("http://localhost/v1", quick(max_new_tokens=9)).provenance() != first
