"""OpenAI-compatible servers as teachers: vLLM, llama.cpp, Ollama, Azure, or a paid service.

The key comes from an environment variable only. Servers return no token ids that could be compared with a student's,
so records hold text only.
"""

from __future__ import annotations

import base64
import io
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from PIL import Image
from pydantic import BeforeValidator

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene, View
from dollhouse.system.read_files import decode_json
from dollhouse.system.secrets import SECRET_NAMES
from dollhouse.teachers.chat_client import ChatClient, RejectedError, RetryPolicy, ServerError
from dollhouse.teachers.credentials import Redactor, read_key, resolve_variables
from dollhouse.teachers.protocol import (
    AnswersMissingError,
    StreamingTeacher,
    TeacherUnavailableError,
    check_minimums,
    prompt_text,
)

KEY_VARIABLE = "DOLLHOUSE_API_KEY"
MAX_REQUEST_BYTES = 128 << 20  #: photos of all requests under way, which are held in memory about three times
MAX_REJECTIONS = 3  #: questions rejected in a row, none answered, after which a scene or the run stops


def _mapping(value: Any) -> Any:
    """Parse a JSON object, or one NAME=VALUE."""
    if not isinstance(value, str):
        return value
    name, equals, rest = value.partition("=")
    if equals and not value.lstrip().startswith("{"):
        return {name.strip(): rest.strip()}
    try:
        return decode_json(value)
    except ValueError:
        raise ValueError('write a JSON object such as {"name": "value"}, or NAME=VALUE') from None


def _optional(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("none", "null", "") else value


Texts = Annotated[dict[str, str], BeforeValidator(_mapping)]


@dataclass(frozen=True)
class OpenAISettings(RetryPolicy):
    """What is requested, which is part of a record, and how, which is not."""

    model: str = ""  #: as the server names it
    instruction: str = ""  #: appended to each question: "Answer in one word or one phrase."
    max_new_tokens: int = 256  #: thoughts included
    image_size: int = 768  #: pixels of the longer side at most
    temperature: Annotated[float | None, BeforeValidator(_optional)] = 0  #: "none" leaves the parameter out
    seed: Annotated[int | None, BeforeValidator(_optional)] = 0  #: ignored by some servers; "none" leaves it out
    #: further parameters of the request as JSON, such as {"reasoning_effort": "low"}; null leaves one out
    extra_body: Annotated[dict[str, Any], BeforeValidator(_mapping)] = field(default_factory=dict)
    licence: str = ""

    # not part of a record from here on
    token_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  #: name of the token limit
    extra_headers: Texts = field(default_factory=dict)  #: JSON, or NAME=VALUE; $VARIABLE reads the environment
    extra_query: Texts = field(default_factory=dict)  #: likewise, such as api-version=2024-10-21
    key_variable: str = KEY_VARIABLE  #: name of the environment variable that holds the key
    key_header: str = "Authorization"  #: Azure: api-key
    concurrency: int = 4  #: requests at a time
    dollars_per_million_in: float = 0.0
    dollars_per_million_out: float = 0.0

    def __post_init__(self) -> None:
        if not self.model:
            raise TeacherError(
                "settings of endpoint: model is missing; name it as the server does: --teacher-arg model=NAME"
            )
        check_minimums("endpoint", self, max_new_tokens=1, image_size=28, concurrency=1, retries=0)
        for name in ("timeout", "first_wait", "longest_wait"):
            if not 0 < getattr(self, name) < math.inf:
                raise TeacherError(f"settings of endpoint: {name} is {getattr(self, name)}, must be positive")
        if secret := next((name for name in self.extra_body if SECRET_NAMES.fullmatch(name)), None):
            raise TeacherError(f"settings of endpoint: extra_body.{secret}: keys come from the environment only")


class OpenAITeacher(StreamingTeacher):
    """Answer through a chat completions server, with several requests at a time."""

    def __init__(self, url: str, settings: OpenAISettings) -> None:
        """``url`` such as ``http://localhost:8000/v1``, with or without ``/chat/completions`` and a query string.

        Raises TeacherError for no such URL, one with a password or key, or a key that cannot be sent.
        """
        base, query = _split_url(url, settings.key_variable)
        key = read_key(settings.key_variable)
        headers, secrets = resolve_variables(settings.extra_headers, "extra_headers")
        values, more = resolve_variables(query | settings.extra_query, "extra_query")
        if key is not None:
            headers[settings.key_header] = f"Bearer {key}" if settings.key_header == "Authorization" else key
            secrets.append(key)
        self.settings = settings
        self.client = ChatClient(
            base,
            settings,
            headers=headers,
            query=values,
            redactor=Redactor([*secrets, *more]),
            key_variable=settings.key_variable,
            connections=settings.concurrency,
        )
        self._answered = False  # whether the server has answered any question
        self._rejections = 0  # in a row

    def provenance(self) -> dict[str, Any]:
        """Return what produces the answers; the weights behind a server's model name are unknown."""
        recorded = ("instruction", "max_new_tokens", "image_size", "seed")
        temperature = self.settings.temperature
        settings: dict[str, Any] = {"url": self.client.url, "temperature": 0 if temperature == 0 else temperature}
        settings |= {name: getattr(self.settings, name) for name in recorded}
        if self.settings.extra_body:
            settings["extra_body"] = self.settings.extra_body
        return {
            "teacher": "endpoint",
            "name": self.settings.model,
            "weights": "unknown",
            "licence": self.settings.licence or "as the server's operator says",
            "settings": settings,
        }

    def answer_each(
        self, scene: Scene, questions: Sequence[Question], on_answer: Callable[[int, TeacherAnswer], None]
    ) -> None:
        """Pass every answer on as it arrives, from several threads; after Ctrl-C nothing more is sent.

        Questions are sent alone until the server has answered one. Raises AnswersMissingError where some were not
        answered, TeacherUnavailableError where the server cannot be reached or accepts none.
        """
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos")
        urls: list[str] = []
        for view in scene.views:
            urls.append(_data_url(view, self.settings.image_size))
            if (size := sum(map(len, urls))) > MAX_REQUEST_BYTES:
                raise TeacherError(
                    f"scene {scene.name}: its {len(scene.views)} photos are more than {MAX_REQUEST_BYTES >> 20} MB, "
                    "too much for a request; give fewer (--views) or smaller ones (--teacher-arg image_size=448)"
                )
        concurrency = max(1, min(self.settings.concurrency, MAX_REQUEST_BYTES // size))
        photos = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        texts = [prompt_text(question, self.settings.instruction).strip() for question in questions]

        def request(index: int) -> None:
            on_answer(index, self._request([*photos, {"type": "text", "text": texts[index]}]))

        self.client.stopped.clear()
        waiting = deque(range(len(texts)))
        running: set[Future[None]] = set()
        errors: list[ServerError] = []
        answered = 0
        with ThreadPoolExecutor(max_workers=concurrency) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < (concurrency if self._answered else 1):
                        running.add(pool.submit(request, waiting.popleft()))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for error in [future.exception() for future in done]:
                        if error is None:
                            answered, self._answered, self._rejections = answered + 1, True, 0
                        elif not isinstance(error, ServerError):
                            raise error  # no answer can be had, or stored
                        else:
                            errors.append(error)
                            self._rejections += isinstance(error, RejectedError)
                    if errors and not answered and self._is_hopeless(errors):
                        waiting.clear()
            except BaseException:
                self.client.stop()
                raise
        if errors:
            raise AnswersMissingError(
                f"scene {scene.name}: {len(questions) - answered} of {len(questions)} questions were not answered: "
                f"{errors[0]}",
                {},
            )

    def usage(self) -> str:
        """Return requests, tokens and cost so far, in one line."""
        client, settings = self.client, self.settings
        dollars = client.tokens_in / 1e6 * settings.dollars_per_million_in
        dollars += client.tokens_out / 1e6 * settings.dollars_per_million_out
        return (
            f"{client.requests} requests ({client.repeated} of them repeated), {client.tokens_in} tokens in, "
            f"{client.tokens_out} out" + (f", ${dollars:.2f}" if dollars else "")
        )

    def _is_hopeless(self, errors: Sequence[ServerError]) -> bool:
        """Return whether a scene with these errors and no answer gets none; raise where no scene does."""
        if errors[-1].unreachable:
            raise TeacherUnavailableError(f"{errors[-1]}; start the server and run the same command again")
        limit = MAX_REJECTIONS * (3 if self._answered else 1)  # earlier scenes were answered: this one may be too large
        if self._rejections >= limit:
            raise TeacherUnavailableError(f"the last {self._rejections} questions were rejected: {errors[-1]}")
        return sum(isinstance(error, RejectedError) for error in errors) >= MAX_REJECTIONS

    def _request(self, content: list[dict[str, Any]]) -> TeacherAnswer:
        settings = self.settings
        body = {
            "model": settings.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": settings.temperature,
            "seed": settings.seed,
            settings.token_parameter: settings.max_new_tokens,
        }
        completion = self.client.complete(
            {name: value for name, value in (body | settings.extra_body).items() if value is not None}
        )
        return TeacherAnswer(completion.text, failure=completion.failure)


def _split_url(url: str, key_variable: str) -> tuple[str, dict[str, str]]:
    """Return the part of a URL before ``/chat/completions``, and its query."""
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise TeacherError("the server's address is not valid; write http://HOST:PORT/v1")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.username or parts.password or any(SECRET_NAMES.fullmatch(name) for name in query):
        raise TeacherError(f"leave the password out of the server's address; put the key into {key_variable}")
    path = parts.path.rstrip("/")
    while path.endswith("/chat/completions"):
        path = path.removesuffix("/chat/completions").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}", query


def _data_url(view: View, size: int) -> str:
    """Encode a view as a PNG data URL: lossless, so that the same scene is always the same request."""
    image = Image.fromarray(view.image)
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
