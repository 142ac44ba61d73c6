"""One question to an OpenAI-compatible server, asked again until it is answered or there is no hope.

Knows HTTP and the shape of a chat completion; nothing of scenes or of what is asked. Safe to use from many threads.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from dollhouse.errors import TeacherError
from dollhouse.teachers.protocol import TeacherUnavailableError

LARGEST_ANSWER = 8 << 20  #: bytes; a server that sends more sends garbage
_GONE = {
    401: "the key is not accepted; set it in the environment variable {variable}",
    403: "the key may not use this model",
    404: "there is no such address or model; is /v1 missing, or the model's name another?",
}
_LATER = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait and how often to ask again; no part of what a record is."""

    timeout: float = 120.0  #: seconds for one whole answer
    retries: int = 6
    first_wait: float = 1.0  #: seconds; doubled each time, a random part of it left out
    longest_wait: float = 60.0  #: also of what the server asks for with Retry-After


@dataclass(frozen=True)
class Completion:
    """What the server said, and why it stopped there."""

    text: str
    finish_reason: str | None  #: "length": it was not done yet


class ServerError(TeacherError):
    """One request failed for good. ``unreachable``: nobody was there to answer."""

    def __init__(self, message: str, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.unreachable = unreachable


class ChatClient:
    """A server's ``chat/completions``, and a count of what it cost."""

    def __init__(self, url: str, key: str | None, patience: RetryPolicy, key_variable: str, connections: int) -> None:
        """``url`` ends where ``/chat/completions`` begins. ``key`` is sent as a bearer token and never told."""
        self.url = url.rstrip("/")
        self.patience = patience
        self.key_variable = key_variable
        self.tokens_in = self.tokens_out = self.requests = self.repeated = 0
        self._count = threading.Lock()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(patience.timeout),
            limits=httpx2.Limits(max_connections=connections),
            follow_redirects=False,
        )

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """The first choice of the completion.

        Raises ServerError where it could not be had, TeacherUnavailableError where no request can succeed.
        """
        wait = self.patience.first_wait
        for attempt in range(self.patience.retries + 1):
            try:
                return self._attempt(body)
            except _TryAgainError as error:
                if attempt == self.patience.retries:
                    raise ServerError(
                        f"{self.url}: no answer after {attempt + 1} attempts ({error})", error.unreachable
                    ) from error
                asked = error.wait
            with self._count:
                self.repeated += 1
            time.sleep(min(self.patience.longest_wait, asked if asked is not None else wait * random.uniform(0.5, 1)))
            wait *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, body: Mapping[str, Any]) -> Completion:
        with self._count:
            self.requests += 1
        try:
            status, headers, content = self._send(body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _TryAgainError(f"nobody answers: {error}", unreachable=True) from error
        except httpx2.TimeoutException as error:
            raise _TryAgainError(f"nothing came within {self.patience.timeout:g} s") from error
        except httpx2.InvalidURL as error:
            raise TeacherUnavailableError(f"{self.url}: is no address of a server ({error})") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _TryAgainError(f"the answer broke off: {error}") from error
        if status in _LATER:
            raise _TryAgainError(f"status {status}", _retry_after(headers.get("retry-after")))
        if status in _GONE:
            why = _GONE[status].format(variable=self.key_variable)
            raise TeacherUnavailableError(f"{self.url}: status {status}: {why} ({_told(content)})")
        if status != 200:
            raise ServerError(f"{self.url}: status {status} ({_told(content)})")
        return self._read(content)

    def _send(self, body: Mapping[str, Any]) -> tuple[int, httpx2.Headers, bytes]:
        """Status, headers and body. The time limit holds for all of it, so that a trickle does not hold us up."""
        deadline = time.monotonic() + self.patience.timeout
        content = bytearray()
        with self._client.stream("POST", f"{self.url}/chat/completions", json=dict(body)) as response:
            for block in response.iter_bytes():
                content += block
                if len(content) > LARGEST_ANSWER:
                    raise _TryAgainError(f"more than {LARGEST_ANSWER >> 20} MB came")
                if time.monotonic() > deadline:
                    raise _TryAgainError(f"not all came within {self.patience.timeout:g} s")
            return response.status_code, response.headers, bytes(content)

    def _read(self, content: bytes) -> Completion:
        try:
            told = json.loads(content)
            self._charge(told.get("usage") or {})  # first: what is charged for is counted, whatever else came
            choice = told["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _TryAgainError(f"garbage came instead of an answer: {_told(content)!r}") from error
        if not isinstance(text, str) or not text.strip():
            raise _TryAgainError("the answer is empty")
        return Completion(text.strip(), reason)

    def _charge(self, usage: Mapping[str, Any]) -> None:
        tokens_in, tokens_out = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        with self._count:
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out


def _retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date; None where it says neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _told(content: bytes) -> str:
    """The beginning of what the server sent, in one line."""
    return " ".join(content[:400].decode("utf-8", "replace").split())[:160]
