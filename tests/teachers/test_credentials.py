"""A key is checked once, and stands in no message, log, file or chained exception."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from dollhouse.errors import TeacherError
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.credentials import read_key
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAITeacher
from tests.records.small_scenes import questions_for, small_scene, small_scenes
from tests.teachers.chat_server import Talk, chat_server, echo, quick

KEY = "sk-SESAME+123/abc"


@pytest.mark.parametrize("written", [f"{KEY}\r\n", f" {KEY}\n", f"\ufeff{KEY}", f"Bearer {KEY}\r", KEY])
def test_surrounding_white_space_is_no_part_of_a_key(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, written)
    with chat_server(echo) as server:
        OpenAITeacher(server.url, quick()).answer(small_scene(), questions_for(small_scene(), 1))
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("written", ["", "\n", f"{KEY[:4]}\r\n{KEY[4:]}", f"{KEY}é", f"{KEY} {KEY}", f"{KEY}\x1b"])
def test_keys_that_cannot_be_sent_are_refused_at_the_start(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, written)
    with pytest.raises(TeacherError, match=f"^the key in {KEY_VARIABLE} (is empty|holds a space)") as caught:
        OpenAITeacher("http://localhost/v1", quick())
    assert KEY[:4] not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)


def test_without_a_key_no_header_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(KEY_VARIABLE) is None
    with chat_server(echo) as server:
        OpenAITeacher(server.url, quick()).answer(small_scene(), questions_for(small_scene(), 1))
    assert server.keys == [None]


def repeat_the_key(talk: Talk, question: str, before: int) -> None:
    """Put the key into every place that a client may print."""
    text = f"the key {talk.headers['Authorization']} {talk.headers['X-Proxy']} {talk.path}"
    if "(0)" in question:
        talk.reply(text)
    elif "(1)" in question:
        talk.reply_message({"content": None, "refusal": "x" * 230 + text})
    elif "(2)" in question:
        talk.send(503, ("x" * 230 + text).encode(), X_Header=text)
    else:
        talk.send(400, text.replace('"', "").encode(), X_Header=text)


@pytest.mark.parametrize("broken", ["", "http://127.0.0.1:9/v1", "http://[::1/v1", "http://exa mple/v1"])
def test_key_is_in_no_message_log_or_file(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("PROXY_KEY", "sesame-two")
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    settings = quick(retries=1, extra_headers={"X-Proxy": "$PROXY_KEY"}, extra_query={"key": "$PROXY_KEY"})
    with chat_server(repeat_the_key) as server:
        try:
            teacher = OpenAITeacher(broken or server.url, settings)
            texts += [repr(teacher.client), str(teacher.provenance()), repr(settings)]
            run = annotate_scenes(
                teacher,
                small_scenes(2),
                tmp_path,
                questions=lambda scene: questions_for(scene, 3 + (scene.name[-1] > "0")),
            )
            assert not broken
            texts += [str(run), teacher.usage()]
        except TeacherError as error:
            assert broken
            chain: BaseException | None = error
            while chain is not None:
                texts += [repr(vars(chain)), *traceback.format_exception(chain)]
                assert not hasattr(chain, "request")  # of the transport: it holds the headers
                chain = chain.__cause__ or chain.__context__
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    output = "\n".join([*texts, caplog.text, *(str(content) for content in files)])
    assert "SESAME" not in output
    assert "sesame-two" not in output
    assert "***" in output or broken
    if not broken:
        assert "sesame-two" in server.paths[0]


def test_keys_are_accepted_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sesame")
    with chat_server(echo) as server:
        teacher = OpenAITeacher(server.url, quick(key_variable="OTHER_KEY", key_header="api-key"))
        teacher.answer(small_scene(), questions_for(small_scene(), 1))
    assert server.headers[0]["api-key"] == "sesame"
    assert "sesame" not in str(teacher.provenance())
    for address in ("https://user:sesame@example.org/v1", "https://example.org/v1?key=sesame", "example.org", "file:x"):
        with pytest.raises(TeacherError) as caught:
            OpenAITeacher(address, quick())
        assert "sesame" not in str(caught.value)
    for setting in ({"extra_headers": {"Authorization": "sesame"}}, {"extra_query": {"api_key": "sesame"}}):
        with pytest.raises(TeacherError, match="keys come from the environment only"):
            OpenAITeacher("http://localhost/v1", quick(**setting))
    with pytest.raises(TeacherError, match="keys come from the environment only"):
        quick(extra_body={"api_key": "sesame"})
    with pytest.raises(TeacherError, match="ABSENT is not set"):
        OpenAITeacher("http://localhost/v1", quick(extra_headers={"X-A": "$ABSENT"}))
