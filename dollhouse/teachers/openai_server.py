"""Any OpenAI-compatible server as a teacher: vLLM, llama.cpp, Ollama, or a paid service.

Knows how a scene's photos and a question become a chat, and what it cost; the asking is
:mod:`dollhouse.teachers.chat_client`'s business. The key comes from an environment variable and from nowhere else. A
server shows no token ids that could be compared with a student's, so records have words only.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.chat_client import ChatClient, RetryPolicy, ServerError
from dollhouse.teachers.protocol import AnswersMissingError, TeacherUnavailableError

KEY_VARIABLE = "DOLLHOUSE_API_KEY"


@dataclass(frozen=True)
class OpenAISettings:
    """The upper ones say what is asked and are part of every record; the lower ones say how, and are not."""

    model: str = ""  #: as the server names it
    instruction: str = ""  #: put after each question: "Answer in one word or one phrase."
    max_new_tokens: int = 256
    image_size: int = 768  #: pixels of the longer side at most
    seed: int = 0  #: for servers that heed it; the temperature is 0
    licence: str = ""

    key_variable: str = KEY_VARIABLE  #: name of the environment variable that holds the key
    concurrency: int = 4  #: questions under way at a time
    timeout: float = 120.0  #: seconds for one answer
    retries: int = 6
    first_wait: float = 1.0  #: seconds before the second attempt; doubled each time
    longest_wait: float = 60.0
    dollars_per_million_in: float = 0.0
    dollars_per_million_out: float = 0.0

    def __post_init__(self) -> None:
        if not self.model:
            raise TeacherError("settings of endpoint: model is missing; name it as the server does: --set model=NAME")
        for name, least in (("max_new_tokens", 1), ("image_size", 28), ("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise TeacherError(f"settings of endpoint: {name} is {getattr(self, name)}, must be at least {least}")
        for name in ("timeout", "first_wait", "longest_wait"):
            if not 0 < getattr(self, name) < math.inf:
                raise TeacherError(f"settings of endpoint: {name} is {getattr(self, name)}, must be positive")


class OpenAITeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def __init__(self, url: str, settings: OpenAISettings) -> None:
        """``url`` such as ``http://localhost:8000/v1``. Raises TeacherError where it is none, or holds a password."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TeacherError(f"{url}: is no address of a server; write http://HOST:PORT/v1")
        if parts.username or parts.password or parts.query:
            raise TeacherError(f"leave the password out of the server's address; put the key into {KEY_VARIABLE}")
        self.settings = settings
        patience = RetryPolicy(settings.timeout, settings.retries, settings.first_wait, settings.longest_wait)
        key = os.environ.get(settings.key_variable)
        self.client = ChatClient(url, key, patience, settings.key_variable, settings.concurrency)

    def provenance(self) -> dict[str, Any]:
        """Weights are unknown: a server tells only the name it gives them."""
        settings = self.settings
        return {
            "teacher": "endpoint",
            "name": settings.model,
            "weights": "unknown",
            "licence": settings.licence or "as the server's operator says",
            "settings": {
                "url": self.client.url,
                "instruction": settings.instruction,
                "max_new_tokens": settings.max_new_tokens,
                "image_size": settings.image_size,
                "seed": settings.seed,
                "temperature": 0,
            },
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """One answer a question, several asked at a time.

        Raises AnswersMissingError where some could not be had, with those that could; TeacherUnavailableError where the
        server cannot be reached.
        """
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos to look at")
        photos = [self._photo(view) for view in scene.views]
        with ThreadPoolExecutor(max_workers=self.settings.concurrency) as pool:
            asked = [pool.submit(self._ask, photos, question) for question in questions]
            for unasked in wait(asked, return_when=FIRST_EXCEPTION).not_done:
                unasked.cancel()  # nobody would answer
        told: dict[int, TeacherAnswer | TeacherError] = {}
        gone: TeacherUnavailableError | None = None
        for place, one in enumerate(asked):
            if one.cancelled():
                continue
            try:
                told[place] = one.result()
            except TeacherUnavailableError as error:
                gone = gone or error
        answered = {place: one for place, one in told.items() if isinstance(one, TeacherAnswer)}
        failed = [one for one in told.values() if isinstance(one, TeacherError)]
        if gone is not None:
            raise TeacherUnavailableError(str(gone), answered)
        if failed and not answered and all(isinstance(one, ServerError) and one.unreachable for one in failed):
            raise TeacherUnavailableError(f"{failed[0]}; start the server and run the same command again")
        if failed:
            raise AnswersMissingError(
                f"scene {scene.name}: {len(failed)} of {len(questions)} questions were not answered: {failed[0]}",
                answered,
            )
        return list(answered.values())

    def features(self, scene: Scene) -> None:
        return None

    def geometry(self, scene: Scene) -> None:
        return None

    def bill(self) -> str:
        """What this run cost so far, in one line."""
        client, settings = self.client, self.settings
        dollars = (
            client.tokens_in * settings.dollars_per_million_in + client.tokens_out * settings.dollars_per_million_out
        ) / 1e6
        price = f", ${dollars:.2f}" if dollars else ""
        return (
            f"{client.requests} requests ({client.repeated} of them repeated), "
            f"{client.tokens_in} tokens in, {client.tokens_out} out{price}"
        )

    def _ask(self, photos: Sequence[str], question: Question) -> TeacherAnswer | TeacherError:
        if not question.text.strip():
            raise QuestionError(f"question {question.id} is empty: ask in words")
        text = f"{question.text} {self.settings.instruction}".strip()
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": photo}} for photo in photos]
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": text}]}],
            "temperature": 0,
            "seed": self.settings.seed,
            "max_tokens": self.settings.max_new_tokens,
        }
        try:
            told = self.client.complete(body)
        except ServerError as error:
            return error
        if told.finish_reason == "length":
            return TeacherError(f"{question.text!r}: the answer was cut off; set max_new_tokens higher")
        return TeacherAnswer(told.text)

    def _photo(self, view: View) -> str:
        """A view as a data address: PNG, without loss, so that the same scene is always the same request."""
        image = Image.fromarray(view.image)
        image.thumbnail((self.settings.image_size, self.settings.image_size))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
