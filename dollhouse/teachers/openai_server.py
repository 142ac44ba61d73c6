"""OpenAI-compatible servers as teachers: vLLM, llama.cpp, Ollama, or a paid service.

The key comes from an environment variable only. Servers return no token ids that could be compared with a student's,
so records hold text only.
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

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.chat_client import ChatClient, RetryPolicy, ServerError
from dollhouse.teachers.protocol import AnswersMissingError, Teacher, TeacherUnavailableError, prompt_text

KEY_VARIABLE = "DOLLHOUSE_API_KEY"


@dataclass(frozen=True)
class OpenAISettings(RetryPolicy):
    """What is requested, which is part of a record, and how, which is not."""

    model: str = ""  #: as the server names it
    instruction: str = ""  #: appended to each question: "Answer in one word or one phrase."
    max_new_tokens: int = 256
    image_size: int = 768  #: pixels of the longer side at most
    seed: int = 0  #: ignored by some servers; the temperature is 0
    licence: str = ""

    # not part of a record from here on
    key_variable: str = KEY_VARIABLE  #: name of the environment variable that holds the key
    concurrency: int = 4  #: requests at a time
    dollars_per_million_in: float = 0.0
    dollars_per_million_out: float = 0.0

    def __post_init__(self) -> None:
        if not self.model:
            raise TeacherError(
                "settings of endpoint: model is missing; name it as the server does: --teacher-arg model=NAME"
            )
        for name, minimum in (("max_new_tokens", 1), ("image_size", 28), ("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < minimum:
                raise TeacherError(f"settings of endpoint: {name} is {getattr(self, name)}, must be at least {minimum}")
        for name in ("timeout", "first_wait", "longest_wait"):
            if not 0 < getattr(self, name) < math.inf:
                raise TeacherError(f"settings of endpoint: {name} is {getattr(self, name)}, must be positive")


class OpenAITeacher(Teacher):
    """Answer through a chat completions server, with several requests at a time."""

    def __init__(self, url: str, settings: OpenAISettings) -> None:
        """``url`` such as ``http://localhost:8000/v1``. Raises TeacherError for no such URL, or one with a password."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TeacherError(f"{url}: is no address of a server; write http://HOST:PORT/v1")
        if parts.username or parts.password or parts.query:
            raise TeacherError(f"leave the password out of the server's address; put the key into {KEY_VARIABLE}")
        self.settings = settings
        key = os.environ.get(settings.key_variable)
        self.client = ChatClient(url, key, settings, settings.key_variable, settings.concurrency)

    def provenance(self) -> dict[str, Any]:
        """Return what produces the answers; the weights behind a server's model name are unknown."""
        recorded = ("instruction", "max_new_tokens", "image_size", "seed")
        return {
            "teacher": "endpoint",
            "name": self.settings.model,
            "weights": "unknown",
            "licence": self.settings.licence or "as the server's operator says",
            "settings": {"url": self.client.url, "temperature": 0}
            | {name: getattr(self.settings, name) for name in recorded},
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return one answer per question.

        Raises AnswersMissingError with the answers that could be had where some could not, TeacherUnavailableError
        where the server cannot be reached.
        """
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos")
        urls = [_data_url(view, self.settings.image_size) for view in scene.views]
        photos = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        texts = [prompt_text(question, self.settings.instruction).strip() for question in questions]
        with ThreadPoolExecutor(max_workers=self.settings.concurrency) as pool:
            requests = [pool.submit(self._request, [*photos, {"type": "text", "text": text}]) for text in texts]
            for pending in wait(requests, return_when=FIRST_EXCEPTION).not_done:
                pending.cancel()  # the server would refuse it as well
        results = [None if request.cancelled() else request.exception() or request.result() for request in requests]
        answers = {index: result for index, result in enumerate(results) if isinstance(result, TeacherAnswer)}
        failures = [result for result in results if isinstance(result, BaseException)]
        for error in failures:
            if isinstance(error, TeacherUnavailableError):
                raise TeacherUnavailableError(str(error), answers)
            if not isinstance(error, TeacherError):
                raise error
        if failures and not answers and all(isinstance(error, ServerError) and error.unreachable for error in failures):
            raise TeacherUnavailableError(f"{failures[0]}; start the server and run the same command again")
        if failures:
            raise AnswersMissingError(
                f"scene {scene.name}: {len(failures)} of {len(questions)} questions were not answered: {failures[0]}",
                answers,
            )
        return list(answers.values())

    def usage(self) -> str:
        """Return requests, tokens and cost so far, in one line."""
        client, settings = self.client, self.settings
        dollars = client.tokens_in / 1e6 * settings.dollars_per_million_in
        dollars += client.tokens_out / 1e6 * settings.dollars_per_million_out
        return (
            f"{client.requests} requests ({client.repeated} of them repeated), {client.tokens_in} tokens in, "
            f"{client.tokens_out} out" + (f", ${dollars:.2f}" if dollars else "")
        )

    def _request(self, content: list[dict[str, Any]]) -> TeacherAnswer | TeacherError:
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": self.settings.seed,
            "max_tokens": self.settings.max_new_tokens,
        }
        try:
            completion = self.client.complete(body)
        except ServerError as error:
            return error
        if completion.finish_reason == "length":
            return TeacherError(f"{content[-1]['text']!r}: the answer was cut off; set max_new_tokens higher")
        return TeacherAnswer(completion.text)


def _data_url(view: View, size: int) -> str:
    """Encode a view as a PNG data URL: lossless, so that the same scene is always the same request."""
    image = Image.fromarray(view.image)
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
