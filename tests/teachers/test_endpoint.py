"""An OpenAI-compatible server as a teacher: whatever it does, labelling finishes, loses nothing and counts."""

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
from tests.teachers.chat_server import Talk, chat_server
from tests.teachers.small_scenes import asked_of, small_scene, small_scenes


def quick(**others: Any) -> OpenAISettings:
    return OpenAISettings(
        **{"model": "made", "timeout": 0.5, "retries": 3, "first_wait": 0.01, "longest_wait": 0.05, **others}
    )


def echo(talk: Talk, question: str, before: int) -> None:
    talk.say(f"re: {question}")


def trouble(talk: Talk, question: str, before: int) -> None:
    """Every question fails twice, in two of six ways, then is answered; and so on."""
    way = sum(question.encode()) + before
    if before % 3 == 2:
        talk.say(f"re: {question}")
    elif way % 6 == 0:
        talk.send(500, b"<html>oh no</html>")
    elif way % 6 == 1:
        time.sleep(0.7)  # stalls beyond the time limit
        talk.say("too late")
    elif way % 6 == 2:
        talk.send(200, bytes(range(256)))
    elif way % 6 == 3:
        talk.break_off()
    elif way % 6 == 4:
        talk.send(429, b"{}", Retry_After="0.01")
    else:
        talk.send(200, b'{"choices": []}')


def test_a_question_with_all_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame")
    scene = small_scene(size=40)
    with chat_server(echo) as server:
        teacher = OpenAITeacher(server.url, quick(instruction="Be short.", image_size=28, max_new_tokens=9))
        answers = teacher.answer(scene, asked_of(scene))
    assert [answer.text for answer in answers] == [f"re: {one.text} Be short." for one in asked_of(scene)]
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


def test_a_troubled_server_loses_nothing(tmp_path: Path) -> None:
    scenes = small_scenes(4)
    with chat_server(trouble) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=6, dollars_per_million_in=50))
        run = annotate_scenes(teacher, scenes, tmp_path, asking=lambda scene: asked_of(scene, 6))
        assert (run.made, run.answers, run.failures) == (4, 24, [])
        assert annotate_scenes(teacher, scenes, tmp_path, asking=lambda scene: asked_of(scene, 6)).kept == 4
    for record in RecordStore(tmp_path):
        for question, answer in zip(record.questions, record.answers, strict=True):
            assert answer.text == f"re: {question.text}"
    assert set(server.asked.values()) == {12}  # six questions with the same words in four scenes, three attempts each


def test_trouble_in_other_words_for_each_question(tmp_path: Path) -> None:
    """As above, with words of its own for every question, so that each meets its own troubles from the start."""
    scene = small_scene()
    asked = tuple(replace(one, text=f"{'what' * (number + 1)}?") for number, one in enumerate(asked_of(scene, 6)))
    with chat_server(trouble) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=6, dollars_per_million_in=50))
        answers = teacher.answer(scene, asked)
    assert [answer.text for answer in answers] == [f"re: {one.text}" for one in asked]
    assert set(server.asked.values()) == {3}
    assert teacher.client.requests == 18
    assert "18 requests (12 of them repeated), " in teacher.bill()
    assert teacher.client.tokens_out == 60
    assert "$0.03" in teacher.bill()


def test_no_more_at_once_than_allowed() -> None:
    def slow(talk: Talk, question: str, before: int) -> None:
        time.sleep(0.05)
        talk.say("yes")

    scene = small_scene()
    with chat_server(slow) as server:
        OpenAITeacher(server.url, quick(concurrency=2)).answer(scene, asked_of(scene, 8))
    assert server.most_at_once == 2


def test_what_fails_for_good_is_counted_and_the_rest_is_not_asked_again(tmp_path: Path) -> None:
    broken = threading.Event()
    broken.set()

    def behave(talk: Talk, question: str, before: int) -> None:
        if "(1)" in question and broken.is_set():
            talk.send(503, b"busy")
        else:
            talk.say("yes")

    scenes = small_scenes(2)
    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(retries=1))
        run = annotate_scenes(teacher, scenes, tmp_path, asking=asked_of)
        assert run.made == 0
        assert len(run.failures) == 2
        assert "1 of 3 questions were not answered" in run.failures[0].why
        assert "no answer after 2 attempts (status 503)" in run.failures[0].why
        assert len(RecordStore(tmp_path)) == 0
        broken.clear()
        server.asked.clear()
        assert annotate_scenes(teacher, scenes, tmp_path, asking=asked_of).made == 2
        assert server.asked == {asked_of(scenes[0])[1].text: 2}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "garbage"),
        (b"null", "garbage"),
        (b"[1]", "garbage"),
        (b'{"choices": [{"message": {"content": null}}]}', "empty"),
        (b'{"choices": [{"message": {"content": "  "}}]}', "empty"),
        (b'{"choices": [{"message": {"content": ["a"]}}]}', "empty"),
        (b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "many"}}', "garbage"),
        (b'{"choices": [{"message": {"content": "half', "garbage"),
    ],
)
def test_garbage_is_told_in_one_line(body: bytes, why: str) -> None:
    scene = small_scene()
    with chat_server(lambda talk, question, before: talk.send(200, body)) as server:
        teacher = OpenAITeacher(server.url, quick(retries=1))
        with pytest.raises(AnswersMissingError, match=why) as caught:
            teacher.answer(scene, asked_of(scene, 1))
    assert "\n" not in str(caught.value)
    assert caught.value.answers == {}
    assert sum(server.asked.values()) == 2


def test_a_flood_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "LARGEST_ANSWER", 1 << 20)
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.send(200, b"x" * (3 << 20))) as server,
        pytest.raises(AnswersMissingError, match="more than 1 MB came"),
    ):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, asked_of(scene, 1))


def test_a_trickle_is_stopped() -> None:
    def trickle(talk: Talk, question: str, before: int) -> None:
        talk.send_response(200)
        talk.send_header("Content-Length", "1000")
        talk.end_headers()
        for _ in range(20):
            talk.wfile.write(b" ")
            talk.wfile.flush()
            time.sleep(0.1)

    scene = small_scene()
    with chat_server(trickle) as server, pytest.raises(AnswersMissingError, match="not all came within"):
        OpenAITeacher(server.url, quick(retries=0)).answer(scene, asked_of(scene, 1))


def test_an_answer_that_was_cut_off_is_none() -> None:
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.say("and then the", "length")) as server,
        pytest.raises(AnswersMissingError, match="set max_new_tokens higher"),
    ):
        OpenAITeacher(server.url, quick()).answer(scene, asked_of(scene, 1))
    assert sum(server.asked.values()) == 1


def test_a_bad_request_is_not_repeated() -> None:
    scene = small_scene()
    with (
        chat_server(lambda talk, question, before: talk.send(400, b'{"error": "too many images"}')) as server,
        pytest.raises(AnswersMissingError, match=r"status 400.*too many images"),
    ):
        OpenAITeacher(server.url, quick()).answer(scene, asked_of(scene, 2))
    assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_without_hope_the_run_stops(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame")

    def behave(talk: Talk, question: str, before: int) -> None:
        if "(0)" in question:
            talk.say("yes")
        else:
            time.sleep(0.05)
            talk.send(status, b"no")

    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(concurrency=2))
        with pytest.raises(TeacherUnavailableError, match=f"status {status}") as caught:
            annotate_scenes(teacher, small_scenes(3), tmp_path, asking=lambda scene: asked_of(scene, 8))
        assert "sesame" not in str(caught.value)
        assert sum(server.asked.values()) <= 8  # of 24
    assert len(list((tmp_path / ".parts").iterdir())) == 1


def test_nobody_there_stops_the_run(tmp_path: Path) -> None:
    with chat_server(echo) as server:
        pass
    teacher = OpenAITeacher(server.url, quick(retries=1))
    with pytest.raises(TeacherUnavailableError, match="start the server and run the same command again"):
        annotate_scenes(teacher, small_scenes(3), tmp_path, asking=asked_of)


def test_the_server_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dollhouse.teachers.chat_client.time.sleep", waits.append)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    headers = ["3", date, "1000", "soon"]

    def behave(talk: Talk, question: str, before: int) -> None:
        talk.send(429, b"", Retry_After=headers[before]) if before < len(headers) else talk.say("yes")

    with chat_server(behave) as server:
        teacher = OpenAITeacher(server.url, quick(retries=4, first_wait=1, longest_wait=60))
        assert teacher.answer(small_scene(), asked_of(small_scene(), 1))[0].text == "yes"
    assert waits[0] == 3
    assert 25 < waits[1] <= 30
    assert waits[2] == 60
    assert 4 <= waits[3] <= 8  # nothing that can be understood: the fourth wait of its own


def test_the_key_is_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sesame")
    teacher = OpenAITeacher("https://example.org/v1", quick(key_variable="OTHER_KEY"))
    assert "sesame" not in str(teacher.provenance())
    for address in ("https://user:sesame@example.org/v1", "https://example.org/v1?key=sesame", "example.org", "file:x"):
        with pytest.raises(TeacherError):
            OpenAITeacher(address, quick())


def test_how_it_is_asked_is_no_part_of_a_record() -> None:
    one = OpenAITeacher("http://localhost/v1/", quick(concurrency=1, retries=0)).provenance()
    other = OpenAITeacher("http://localhost/v1", quick(concurrency=9, timeout=9.0)).provenance()
    assert one == other
    assert OpenAITeacher("http://localhost/v1", quick(max_new_tokens=9)).provenance() != one
