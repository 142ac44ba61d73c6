"""What an OpenAI-compatible server is sent, by which settings, and which of them a record holds."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import TeacherError
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAISettings, OpenAITeacher
from dollhouse.teachers.registry import read_settings
from tests.records.small_scenes import questions_for, small_scene
from tests.teachers.chat_server import Talk, chat_server, echo, quick


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


def test_concurrency_is_limited() -> None:
    def slow(talk: Talk, question: str, before: int) -> None:
        time.sleep(0.05)
        talk.reply("yes")

    scene = small_scene()
    with chat_server(slow) as server:
        OpenAITeacher(server.url, quick(concurrency=2)).answer(scene, questions_for(scene, 8))
    assert server.most_at_once == 2


def test_request_handling_is_not_part_of_a_record() -> None:
    first = OpenAITeacher("http://localhost/v1/", quick(concurrency=1, retries=0)).provenance()
    other = OpenAITeacher("http://localhost/v1", quick(concurrency=9, timeout=9.0)).provenance()
    assert first == other
    assert OpenAITeacher("http://localhost/v1", quick(max_new_tokens=9)).provenance() != first


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
