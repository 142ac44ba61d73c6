"""A server that refuses: which errors stop a scene or the run, and what their messages hold."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dollhouse.errors import TeacherError
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAITeacher
from dollhouse.teachers.protocol import TeacherUnavailableError
from tests.records.small_scenes import questions_for, small_scene, small_scenes
from tests.teachers.chat_server import Talk, chat_server, echo, quick


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
