"""A client of an OpenAI-compatible server that repeats failed requests. Thread-safe."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from dollhouse.errors import TeacherError
from dollhouse.teachers.protocol import TeacherUnavailableError

MAX_RESPONSE_BYTES = 8 << 20
_FATAL = {
    401: "the key is not accepted; set it in the environment variable {variable}",
    403: "the key may not use this model",
    404: "there is no such address or model; is /v1 missing, or the model's name another?",
}
_RETRYABLE = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a response and how often to repeat a request."""

    timeout: float = 120.0  #: seconds for one whole response
    retries: int = 6
    first_wait: float = 1.0  #: seconds; doubled each time, then reduced by a random part
    longest_wait: float = 60.0  #: also bounds what the server asks for with Retry-After


@dataclass(frozen=True)
class Completion:
    """The text of a response, and why it ended there."""

    text: str
    finish_reason: str | None  #: "length": the token limit cut it off


class ServerError(TeacherError):
    """A request failed.

    ``unreachable``: no server accepted the connection; ``wait``: the seconds after which the server wants the next one.
    """

    def __init__(self, message: str, unreachable: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.wait = wait


class _RetryError(ServerError):
    """An attempt failed in a way that may pass."""


class ChatClient:
    """Post to a server's ``chat/completions`` and count requests and tokens."""

    def __init__(self, url: str, key: str | None, policy: RetryPolicy, key_variable: str, connections: int) -> None:
        """``url`` is the part before ``/chat/completions``. ``key`` is sent as a bearer token and never printed."""
        self.url = url.rstrip("/")
        self.policy = policy
        self.key_variable = key_variable
        self.tokens_in = self.tokens_out = self.requests = self.repeated = 0
        self._lock = threading.Lock()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(policy.timeout),
            limits=httpx2.Limits(max_connections=connections),
            follow_redirects=False,
        )

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """Return the first choice of the completion.

        Raises ServerError where the request fails for good, TeacherUnavailableError where every request would.
        """
        wait = self.policy.first_wait
        for attempt in range(self.policy.retries + 1):
            try:
                return self._attempt(body)
            except _RetryError as error:
                if attempt == self.policy.retries:
                    message = f"{self.url}: no answer after {attempt + 1} attempts ({error})"
                    raise ServerError(message, error.unreachable) from error
                seconds = error.wait if error.wait is not None else wait * random.uniform(0.5, 1)
            with self._lock:
                self.repeated += 1
            time.sleep(min(self.policy.longest_wait, seconds))
            wait *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, body: Mapping[str, Any]) -> Completion:
        with self._lock:
            self.requests += 1
        try:
            status, headers, content = self._post(body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _RetryError(f"no connection: {error}", unreachable=True) from error
        except httpx2.TimeoutException as error:
            raise _RetryError(f"no response within {self.policy.timeout:g} s") from error
        except httpx2.InvalidURL as error:
            raise TeacherUnavailableError(f"{self.url}: is no address of a server ({error})") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _RetryError(f"the response broke off: {error}") from error
        if status in _RETRYABLE:
            raise _RetryError(f"status {status}", wait=_retry_after(headers.get("retry-after", "")))
        if status in _FATAL:
            why = _FATAL[status].format(variable=self.key_variable)
            raise TeacherUnavailableError(f"{self.url}: status {status}: {why} ({_excerpt(content)})")
        if status != 200:
            raise ServerError(f"{self.url}: status {status} ({_excerpt(content)})")
        return self._parse(content)

    def _post(self, body: Mapping[str, Any]) -> tuple[int, httpx2.Headers, bytes]:
        """Return status, headers and body. The time limit holds for the whole body, which may trickle in."""
        deadline = time.monotonic() + self.policy.timeout
        content = bytearray()
        with self._client.stream("POST", f"{self.url}/chat/completions", json=dict(body)) as response:
            for block in response.iter_bytes():
                content += block
                if len(content) > MAX_RESPONSE_BYTES:
                    raise _RetryError(f"the response has more than {MAX_RESPONSE_BYTES >> 20} MB")
                if time.monotonic() > deadline:
                    raise _RetryError(f"the response was not complete within {self.policy.timeout:g} s")
            return response.status_code, response.headers, bytes(content)

    def _parse(self, content: bytes) -> Completion:
        try:
            response = json.loads(content)
            usage = response.get("usage") or {}
            with self._lock:  # what is charged is counted, whether the answer is valid or not
                self.tokens_in += int(usage.get("prompt_tokens") or 0)
                self.tokens_out += int(usage.get("completion_tokens") or 0)
            choice = response["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _RetryError(f"the response is no chat completion: {_excerpt(content)!r}") from error
        if not isinstance(text, str) or not text.strip():
            raise _RetryError("the answer is empty")
        return Completion(text.strip(), reason)


def _retry_after(header: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None where it is neither."""
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError):
        when = parsedate_to_datetime(header)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _excerpt(content: bytes) -> str:
    """Return the beginning of a response in one line."""
    return " ".join(content[:400].decode("utf-8", "replace").split())[:160]
