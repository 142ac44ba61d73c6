"""OpenAI-compatible routes: models, and chat completions about photos or a stored scene."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from dollhouse.serve.bodies import read_body
from dollhouse.serve.limits import RequestError, check_fields
from dollhouse.serve.scene_files import answer_fields, event
from dollhouse.serve.scene_memory import EncodedScene
from dollhouse.serve.service import SceneService, SceneSettings
from dollhouse.serve.uploads import Upload, data_upload

#: parameters that would change the answer, so that a request with them is refused; and values that change nothing
_REFUSED: dict[str, tuple[Any, ...]] = {
    "tools": (None, []),
    "functions": (None, []),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "logprobs": (None, False),
    "response_format": (None, {"type": "text"}),
    "web_search_options": (None,),
}
#: parameters that would change its words; ignored, with a notice
_IGNORED = (
    "seed",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "verbosity",
    "prediction",
)
#: parameters of OpenAI's accounts, and of what is refused above; they change no answer
_WITHOUT_EFFECT = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "top_logprobs",
)


class ImageUrl(BaseModel):
    """A photo as a data URL."""

    url: str


class Part(BaseModel):
    """A part of a message."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None


class Message(BaseModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @property
    def parts(self) -> list[Part]:
        """Return the content as parts."""
        if isinstance(self.content, str):
            return [Part(type="text", text=self.content)]
        return self.content or []


class ChatRequest(BaseModel):
    """What is read of a request for a chat completion; other fields are kept as extras."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[Message] = Field(min_length=1, max_length=1000)
    scene: str | None = None
    n: int | None = 1
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None


def openai_router(service: SceneService) -> APIRouter:
    """Return the routes ``/v1/models`` and ``/v1/chat/completions``."""
    routes = APIRouter(prefix="/v1", tags=["openai"])
    created = int(time.time())
    model = {"id": service.name, "object": "model", "created": created, "owned_by": "dollhouse"}
    limits = {name: getattr(service.limits, name) for name in ("body", "photos", "deadline")}
    limits["views"] = service.pipeline.num_views
    names = (service.name, service.pipeline.model_id)

    def check_model(name: str) -> None:
        if name not in names:
            raise RequestError(404, f"no model {name[:60]}: this server has {service.name}", "model_not_found", "model")

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        """List the model, and what an upload may hold."""
        return {"object": "list", "data": [model], "limits": limits}

    @routes.get("/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        """Describe the model."""
        check_model(name)
        return model

    @routes.post("/chat/completions")
    async def chat(request: Request) -> Response:
        """Answer the last user message about the photos of all messages, or about ``scene``."""
        asked = await read_body(request, ChatRequest)
        check_model(asked.model)
        notices = _check(asked)
        question = _question(asked, notices)
        start, misses = time.perf_counter(), service.encoded
        scene = await _scene(service, asked)
        (answer,) = await service.ask(scene, [question])
        if service.encoded > misses:
            service.metrics.first.observe(time.perf_counter() - start)
        fields = answer_fields(scene, answer)
        usage = {"prompt_tokens": len(question.split()), "completion_tokens": len(answer.shown.split())}  # words
        usage["total_tokens"] = sum(usage.values())
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": asked.model,
            "system_fingerprint": service.pipeline.model_id,
        }
        own = {name: fields[name] for name in ("scene", "confidence", "unsure", "scale", "boxes")}
        own["notices"] = [*notices, *scene.notices]
        if asked.stream:
            wanted = bool((asked.stream_options or {}).get("include_usage"))
            chunks = _chunks(head, fields["text"], own, usage if wanted else None)
            return StreamingResponse(chunks, media_type="text/event-stream")
        message = {"role": "assistant", "content": fields["text"], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return JSONResponse(
            {**head, "object": "chat.completion", "choices": [choice], "usage": usage, "dollhouse": own}
        )

    return routes


def _check(asked: ChatRequest) -> list[str]:
    """Refuse what cannot be done, and return what is ignored, in words."""
    if asked.n not in (None, 1):
        raise RequestError(400, "n: answers are deterministic, ask for one", "unsupported", "n")
    extras = asked.model_extra or {}
    check_fields(extras, ChatRequest.model_fields, accepted=(*_REFUSED, *_IGNORED, *_WITHOUT_EFFECT))
    for name, harmless in _REFUSED.items():
        if extras.get(name) not in harmless:
            raise RequestError(400, f"{name}: is not supported", "unsupported", name)
    ignored = [name for name in _IGNORED if extras.get(name) is not None]
    return [f"ignored: {', '.join(ignored)}; answers are deterministic and short"] if ignored else []


def _question(asked: ChatRequest, notices: list[str]) -> str:
    """Return the text of the last user message."""
    texts: dict[str, list[str]] = {"user": [], "other": []}
    for message in asked.messages:
        text = " ".join(part.text for part in message.parts if part.type == "text" and part.text).strip()
        if text:
            texts["user" if message.role == "user" else "other"].append(text)
    if not texts["user"]:
        raise RequestError(400, "no question: put text into a user message", "no_question", "messages")
    if len(texts["user"]) > 1 or texts["other"]:
        notices.append("ignored: all text but the last user message; each question is answered by itself")
    return texts["user"][-1]


async def _scene(service: SceneService, asked: ChatRequest) -> EncodedScene:
    uploads = list(_photos(asked))
    if asked.scene is not None:
        if uploads:
            raise RequestError(400, "give photos or a scene, not both", "photos_and_scene", "scene")
        return await service.open(asked.scene)
    if not uploads:
        raise RequestError(400, "no photos: add image_url parts, or scene (extra_body)", "no_photos", "messages")
    return await service.add(uploads, SceneSettings(), keep=False)


def _photos(asked: ChatRequest) -> Iterator[Upload]:
    number = 0
    for message in asked.messages:
        for part in message.parts:
            if part.type == "image_url":
                number += 1
                if part.image_url is None:
                    raise RequestError(400, f"photo {number}: has no image_url", "bad_part", "messages")
                yield data_upload(part.image_url.url, number)


def _chunks(head: dict[str, Any], text: str, own: dict[str, Any], usage: dict[str, int] | None) -> Iterator[bytes]:
    """Yield the events of a stream; the answer is complete before its first word is sent."""
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, str], finish: str | None = None, **extra: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], **extra})

    yield chunk({"role": "assistant", "content": ""})
    words = text.split(" ")
    for number, word in enumerate(words):
        yield chunk({"content": word if number == 0 else f" {word}"})
    yield chunk({}, "stop", dollhouse=own)
    if usage is not None:
        yield event({**head, "choices": [], "usage": usage})
    yield event("[DONE]")
