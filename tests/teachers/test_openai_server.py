"""An OpenAI-compatible server as a teacher: whatever fails, annotation finishes, loses nothing and counts requests."""

from __future__ import annotations

import base64
import io
import json
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
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.store import RecordStore
from dollhouse.teachers import chat_client
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAISettings, OpenAITeacher
from dollhouse.teachers.protocol import AnswersMissingError, TeacherUnavailableError
from dollhouse.teachers.registry import read_settings
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


def test_rejected_requests_stop_the_run_after_three(tmp_path: Path) -> None:
    """A 400 that every question gets: three requests, whatever the concurrency, and the server's words."""
    with chat_server(lambda talk, question, before: talk.send(400, b'{"error": "no such thing"}')) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=8))
        with pytest.raises(TeacherUnavailableError, match=r"last 3 questions were rejected.*status 400: no such thing"):
            annotate_scenes(teacher, small_scenes(5), tmp_path, questions=lambda scene: questions_for(scene, 8))
    assert sum(server.attempts.values()) == 3


def test_rejected_scene_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its photos may be too many; the scenes before and after it are answered."""

    def behave(talk: Talk, question: str, before: int) -> None:
        if "scene 1" in question:
            talk.send(400, b'{"error": {"message": "At most 1 image(s) may be provided"}}')
        else:
            talk.reply("yes")

    def questions(scene: Any) -> Any:
        number = scene.name[-1]
        return [replace(question, text=f"scene {number}: {question.text}") for question in questions_for(scene, 20)]

    with chat_server(behave) as server:
        run = annotate_scenes(OpenAITeacher(server.url, quick()), small_scenes(3), tmp_path, questions=questions)
    assert run.written == 2
    assert "20 of 20 questions were not answered" in run.failures[0].reason
    assert "fewer photos (--views)" in run.failures[0].reason
    assert 3 <= sum(count for text, count in server.attempts.items() if "scene 1" in text) <= 3 + quick().concurrency
    assert server.most_at_once <= quick().concurrency


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b'{"error": {"message": "Unsupported parameter: max_tokens"}}', "token_parameter=max_completion_tokens"),
        (400, b'{"error": {"message": "temperature does not support 0"}}', "--teacher-arg temperature=none"),
        (422, b'{"detail": [{"msg": "Extra inputs: seed"}]}', "--teacher-arg seed=none"),
        (413, b"<html><body>Payload <b>too large</b></body></html>", "Payload too large; give fewer photos"),
        (400, b'{"message": "This model has a maximum context length of 8192 tokens"}', "image_size=448"),
        (401, b'{"error": {"message": "Incorrect API key"}}', "Incorrect API key; the key is not accepted"),
        (402, b'{"error": {"message": "no credit"}}', "no credit; the account cannot pay"),
        (404, b'{"error": {"message": "no model made"}}', "no model made; there is no such address or model"),
        (429, b'{"error": {"message": "plan used up", "code": "insufficient_quota"}}', "plan used up; the account"),
        (429, b'{"error": {"message": "slow down"}}', "after 1 attempts (status 429: slow down)"),
        (502, b"<html><head><style>a</style></head><h1>Bad gateway</h1></html>", "status 502: Bad gateway"),
        (200, b'{"error": {"message": "upstream is down", "code": 502}}', "status 502: upstream is down"),
    ],
)
def test_errors_repeat_the_servers_words(status: int, body: bytes, words: str) -> None:
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.send(status, body)) as server,
        pytest.raises(TeacherError) as caught,
    ):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, questions_for(scene, 3))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_redirect_names_its_target() -> None:
    scene = small_scene()
    location = "https://other.example/v1/chat/completions?secret=1"
    with (
        chat_server(lambda talk, question, before: talk.send(307, b"", Location=location)) as server,
        pytest.raises(TeacherUnavailableError, match=r"redirects to https://other.example/v1/chat/completions; give"),
    ):
        OpenAITeacher(server.url, quick()).answer(scene, questions_for(scene, 3))
    assert sum(server.attempts.values()) == 1


def test_request_is_bounded_while_headers_arrive() -> None:
    """Bytes that trickle in may not keep a request alive, wherever they come."""

    def trickle(talk: Talk, question: str, before: int) -> None:
        talk.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(30):
            talk.wfile.write(f"X-Header-{number}: a\r\n".encode())
            talk.wfile.flush()
            time.sleep(0.1)

    scene = small_scene()
    began = time.monotonic()
    with chat_server(trickle) as server, pytest.raises(AnswersMissingError, match=r"not complete within 0.5 s"):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, questions_for(scene, 1))
    assert time.monotonic() - began < 2.5


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
    (part,) = (tmp_path / ".parts").iterdir()
    assert len(PartialAnswers(tmp_path).read(part.stem)) == 1


def test_unreachable_server_stops_the_run(tmp_path: Path) -> None:
    with chat_server(echo) as server:
        pass
    teacher = OpenAITeacher(server.url, quick(retries=1))
    with pytest.raises(TeacherUnavailableError, match="start the server and run the same command again"):
        annotate_scenes(teacher, small_scenes(3), tmp_path, questions=questions_for)


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


def test_request_handling_is_not_part_of_a_record() -> None:
    first = OpenAITeacher("http://localhost/v1/", quick(concurrency=1, retries=0)).provenance()
    other = OpenAITeacher("http://localhost/v1", quick(concurrency=9, timeout=9.0)).provenance()
    assert first == other
    assert OpenAITeacher("http://localhost/v1", quick(max_new_tokens=9)).provenance() != first


def test_request_is_settable() -> None:
    """Other parameters, headers and query; the address may come with its last part, once or twice."""
    scene, keys = small_scene(), {"extra_body": '{"reasoning_effort": "low", "n": 1, "model": null}'}
    settings = read_settings(
        "endpoint",
        OpenAISettings,
        {"model": "made", "token_parameter": "max_completion_tokens", "temperature": "none", "seed": "none"}
        | {"extra_headers": "X-Title=dollhouse", "extra_query": '{"api-version": "2024-10-21"}', **keys},
    )
    with chat_server(echo) as server:
        teacher = OpenAITeacher(f"{server.url}/chat/completions/chat/completions?deployment=a%20b", settings)
        teacher.answer(scene, questions_for(scene, 1))
    body = server.bodies[0]
    del body["messages"]
    assert body == {"max_completion_tokens": 256, "reasoning_effort": "low", "n": 1}
    path, _, query = server.paths[0].partition("?")
    assert path == "/v1/chat/completions"
    assert sorted(query.replace("+", "%20").split("&")) == ["api-version=2024-10-21", "deployment=a%20b"]
    assert server.headers[0]["X-Title"] == "dollhouse"
    recorded = teacher.provenance()["settings"]
    assert recorded["url"] == server.url
    assert recorded["temperature"] is None
    assert recorded["extra_body"]["reasoning_effort"] == "low"
    with pytest.raises(TeacherError, match=r"extra_body of endpoint.*JSON object"):
        read_settings("endpoint", OpenAISettings, {"model": "made", "extra_body": "{low"})


def test_default_settings_keep_the_ids_of_records() -> None:
    """The defaults of settings that came later are no part of a record."""
    assert OpenAITeacher("http://localhost/v1", OpenAISettings(model="made")).provenance() == {
        "teacher": "endpoint",
        "name": "made",
        "weights": "unknown",
        "licence": "as the server's operator says",
        "settings": {"url": "http://localhost/v1", "temperature": 0, "seed": 0}
        | {"instruction": "", "max_new_tokens": 256, "image_size": 768},
    }
    given = read_settings("endpoint", OpenAISettings, {"model": "made", "temperature": "0"})
    assert json.dumps(OpenAITeacher("http://localhost/v1", given).provenance()["settings"]["temperature"]) == "0"
