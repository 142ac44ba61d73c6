"""A server that behaves like six public ones, and fails as they fail.

Each question goes to one behaviour, by a number in its text: ``question 17``. The right answer is ``answer 17``.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.teachers.chat_server import ChatServer, Talk, chat_server

#: how many of a hundred questions each fault hits, at their first attempt
RATE_LIMITED, OVERLOADED, BROKEN_OFF, BAD_GATEWAY = range(20), range(20, 25), range(25, 28), range(28, 31)
REFUSED, FILTERED, FILTERED_PROMPT, CUT_WHILE_THINKING = 40, 41, 42, 43  #: of a hundred, for good


@dataclass
class PublicServers:
    """What the server has charged for."""

    server: ChatServer
    paid: Counter[int] = field(default_factory=Counter)  #: completions sent, by the number of the question


def expected_failure(number: int) -> str | None:
    """Return the beginning of the reason for which a question has no answer."""
    return {
        REFUSED: "refused: I can't help with that",
        FILTERED: "refused",
        FILTERED_PROMPT: "refused: The prompt was filtered",
        CUT_WHILE_THINKING: "cut off while thinking",
    }.get(number % 100)


@contextmanager
def public_servers(key: str) -> Iterator[PublicServers]:
    """Run the server; it accepts ``key`` alone and knows neither max_tokens nor temperature."""
    lock = threading.Lock()

    def behave(talk: Talk, question: str, before: int) -> None:
        body = log.server.bodies[-1]
        number = int(re.search(r"question (\d+)", question)[1])  # type: ignore[index]
        if talk.headers["Authorization"] != f"Bearer {key}":
            return _error(talk, 401, f"Incorrect API key provided: {talk.headers['Authorization']}", "invalid_api_key")
        for name in ("max_tokens", "temperature", "seed"):
            if name in body:
                return _error(talk, 400, f"Unsupported parameter: '{name}'", "unsupported_parameter")
        if before == 0 and number % 100 in RATE_LIMITED:
            talk.send(429, b'{"error": {"message": "Rate limit reached"}}', Retry_After="0.02")
            return None
        if before == 0 and number % 100 in OVERLOADED:
            return _error(talk, 529, f"Overloaded, request by {key}", "overloaded_error")
        if before == 0 and number % 100 in BROKEN_OFF:
            return talk.break_off()
        if before == 0 and number % 100 in BAD_GATEWAY:
            talk.send(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>")
            return None
        if number % 100 == FILTERED_PROMPT:
            return _error(talk, 400, "The prompt was filtered", "content_filter")
        with lock:
            log.paid[number] += 1
        _complete(talk, number)
        return None

    with chat_server(behave) as server:
        log = PublicServers(server)
        yield log


def _complete(talk: Talk, number: int) -> None:
    """Answer as OpenAI, DeepSeek, Ollama, Mistral, Azure or OpenRouter do."""
    text = f"answer {number}"
    if number % 100 == REFUSED:
        talk.reply_message({"content": None, "refusal": "I can't help with that."})
    elif number % 100 == FILTERED:
        talk.reply_message({"content": ""}, "content_filter")
    elif number % 100 == CUT_WHILE_THINKING:
        talk.reply_message({"content": "<think>The room has"}, "length")
    elif number % 6 == 0:
        talk.reply_message({"content": text, "refusal": None, "annotations": []})
    elif number % 6 == 1:
        talk.reply_message({"content": text, "reasoning_content": "The room has"})
    elif number % 6 == 2:
        talk.reply_message({"content": f"<think>\nThe room has\n</think>\n\n{text}"})
    elif number % 6 == 3:
        parts: list[dict[str, Any]] = [{"type": "thinking", "thinking": [{"type": "text", "text": "The room has"}]}]
        talk.reply_message({"content": [*parts, {"type": "text", "text": text}]})
    elif number % 6 == 4:
        talk.reply_message({"content": [{"type": "text", "text": text}]}, None)
    else:
        talk.reply_message({"content": f"The room has</think>{text}", "reasoning": None})


def _error(talk: Talk, status: int, message: str, code: str) -> None:
    talk.send(status, json.dumps({"error": {"message": message, "code": code, "param": None}}).encode())
