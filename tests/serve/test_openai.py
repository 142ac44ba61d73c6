"""OpenAI's chat API, by plain requests and by the official client."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.serve.conftest import files, jpeg


def photo(colour: tuple[int, int, int]) -> dict[str, Any]:
    data = base64.b64encode(jpeg(colour)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def messages(question: str, *colours: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*map(photo, colours), {"type": "text", "text": question}]}]


@pytest.fixture
def client(server: Any) -> Any:
    openai = pytest.importorskip("openai", reason="the official client")
    room = server()
    return room, openai.OpenAI(api_key="none", base_url="http://testserver/v1", http_client=room.client, max_retries=0)


def test_official_client_several_images(client: Any) -> None:
    room, official = client
    assert [model.id for model in official.models.list()] == ["stub"]
    asked = messages("How many lamps?", (10, 0, 0), (30, 0, 0))
    answer = official.chat.completions.create(model="stub", messages=asked, seed=3)
    text = answer.choices[0].message.content
    assert text.startswith("how many lamps? 2 [20")
    assert answer.dollhouse["boxes"] == [1]
    assert "seed" in answer.dollhouse["notices"][0]
    official.chat.completions.create(model="stub", messages=messages("And now?", (10, 0, 0), (30, 0, 0)))
    assert room.pipeline.encoded == 1  # photos sent again are found in memory
    assert not list(room.service.store.incoming.parent.rglob("*.jpg"))  # and photos of chats are not stored


def test_official_client_streams(client: Any) -> None:
    _, official = client
    asked = messages("What is it?", (10, 0, 0))
    whole = official.chat.completions.create(model="stub", messages=asked).choices[0].message.content
    chunks = list(
        official.chat.completions.create(
            model="stub", messages=asked, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_official_client_scene(client: Any) -> None:
    room, official = client
    id = room.client.post("/v1/scenes", files=files(jpeg((90, 0, 0)))).json()["id"]
    asked = messages("What is it?")
    answer = official.chat.completions.create(model="stub", messages=asked, extra_body={"scene": id})
    assert "1 [9" in answer.choices[0].message.content
    assert answer.dollhouse["scene"] == id


def test_official_client_errors(client: Any) -> None:
    import openai

    _, official = client
    create = official.chat.completions.create
    good = {"model": "stub", "messages": messages("What?", (1, 1, 1))}
    url = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.jpg"}}, {"type": "text", "text": "What?"}]
    for kind, change in (
        (openai.NotFoundError, {"model": "gpt"}),
        (openai.BadRequestError, {"n": 2}),
        (openai.BadRequestError, {"messages": messages("What?")}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": url}]}),
        (openai.BadRequestError, {"messages": messages("", (1, 1, 1))}),
        (openai.BadRequestError, {"extra_body": {"scene": "scene-1"}}),
        (openai.BadRequestError, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ):
        with pytest.raises(kind) as raised:
            create(**{**good, **change})
        assert raised.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        create(model="stub", messages=messages("What?"), extra_body={"scene": "scene-1"})


def test_only_fields_of_openai_are_ignored(client: Any) -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    room, _ = client
    fields = {"model": "stub", "messages": messages("What?", (1, 1, 1))}
    post = lambda **more: room.client.post("/v1/chat/completions", json={**fields, **more})  # noqa: E731
    for name in CompletionCreateParamsBase.__annotations__:
        assert post(**{name: fields.get(name)}).status_code == 200, name
    sent = {"temperature": 0, "top_p": 1, "n": 1, "max_tokens": 9, "user": "u", "stream": False, "store": False}
    assert post(**sent).json()["dollhouse"]["notices"][0].startswith("ignored: temperature, top_p, max_tokens;")
    for name in ("camera_height", "foo"):
        refused = post(**{name: 1.5})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == name
        assert "scene" in refused.json()["error"]["message"]
