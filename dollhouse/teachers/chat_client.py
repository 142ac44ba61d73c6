"""A client of an OpenAI-compatible server that repeats failed requests. Thread-safe.

Requests run in an event loop on a thread of its own, so that one time limit holds for the whole of each, from the name
look-up to the last byte. The ``openai`` package has no such limit, no limit of size and no redaction.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from dollhouse.errors import TeacherError
from dollhouse.system.text import one_line
from dollhouse.teachers.completions import Completion, ErrorMessage, parse_completion, parse_error, parse_json
from dollhouse.teachers.credentials import Redactor
from dollhouse.teachers.protocol import TeacherUnavailableError

MAX_RESPONSE_BYTES = 8 << 20
GRACE_SECONDS = 5.0  #: for requests under way, which may be charged, after :meth:`ChatClient.stop`
_FATAL = {
    401: "the key is not accepted; set it in the environment variable {variable}",
    402: "the account cannot pay",
    403: "the key may not use this model",
    404: "there is no such address or model; is /v1 missing, or the model's name another?",
}
_RETRYABLE = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_LARGE = re.compile(r"context|too (?:long|large|many)|image|maximum.*tokens|payload|num_ctx", re.I)
_HINTS = {
    "max_tokens": "--teacher-arg token_parameter=max_completion_tokens",
    "temperature": "--teacher-arg temperature=none",
    "seed": "--teacher-arg seed=none",
}


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a response and how often to repeat a request."""

    timeout: float = 120.0  #: seconds for one whole response
    retries: int = 6
    first_wait: float = 1.0  #: seconds; doubled each time, then reduced by a random part
    longest_wait: float = 60.0  #: also bounds what the server asks for with Retry-After


class ServerError(TeacherError):
    """A request failed; ``unreachable``: no server accepted the connection."""

    def __init__(self, message: str, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class RejectedError(ServerError):
    """The server refuses the request as it is, and would refuse it again."""


class _RetryError(ServerError):
    """An attempt failed in a way that may pass; ``wait``: the seconds after which the server wants the next one."""

    def __init__(self, message: str, unreachable: bool = False, wait: float | None = None) -> None:
        super().__init__(message, unreachable)
        self.wait = wait


class ChatClient:
    """Post to a server's ``chat/completions`` and count requests and tokens."""

    def __init__(
        self,
        url: str,
        policy: RetryPolicy,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        redactor: Redactor,
        key_variable: str,
        connections: int,
    ) -> None:
        """``url`` is the part before ``/chat/completions``; ``redactor`` removes the secrets of headers and query."""
        self.url = url
        self.policy = policy
        self.key_variable = key_variable
        self.redactor = redactor
        self.tokens_in = self.tokens_out = self.requests = self.repeated = 0
        self.stopped = threading.Event()  #: set: fail instead of waiting for another attempt
        self.pause = self.stopped.wait
        self._lock = threading.Lock()
        for name in ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy"):
            logging.getLogger(name).addFilter(redactor)
        self._client = httpx2.AsyncClient(
            headers=dict(headers),
            params=dict(query),
            timeout=httpx2.Timeout(None, connect=min(policy.timeout, 30.0)),
            limits=httpx2.Limits(max_connections=connections),
            follow_redirects=False,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="chat client").start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """Return the first choice of the completion, which may be a refusal.

        Raises ServerError where the request fails for good, RejectedError where it is not valid, and
        TeacherUnavailableError where every request would fail.
        """
        wait = self.policy.first_wait
        if self.stopped.is_set():
            raise ServerError(f"{self.url}: stopped before this question")
        for attempt in range(self.policy.retries + 1):
            result = self._attempt(body)
            if isinstance(result, Completion):
                return result
            if attempt < self.policy.retries and not self.stopped.is_set():
                self.pause(
                    min(self.policy.longest_wait, wait * random.uniform(0.5, 1) if result.wait is None else result.wait)
                )
                wait *= 2
            if attempt == self.policy.retries or self.stopped.is_set():
                message = f"{self.url}: no answer after {attempt + 1} attempts ({result})"
                raise ServerError(message, result.unreachable)
            with self._lock:
                self.repeated += 1
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Send no further request; those under way end within :data:`GRACE_SECONDS`."""
        self.stopped.set()
        self._loop.call_soon_threadsafe(self._loop.call_later, GRACE_SECONDS, self._cancel)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop) if self.stopped.is_set() else ():
            task.cancel()

    def _attempt(self, body: Mapping[str, Any]) -> Completion | _RetryError:
        with self._lock:
            self.requests += 1
        try:
            request = asyncio.run_coroutine_threadsafe(self._post(body), self._loop)
            status, headers, content = request.result()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValueError, CancelledError) as error:
            failure = self._transport_failure(error)
        else:
            text = self.redactor.redact(content.decode("utf-8-sig", "replace"))  # some servers repeat the key
            return self._result(status, headers, text, body)
        # raised outside the handler: the transport's errors hold the request, whose headers hold the key
        if isinstance(failure, _RetryError):
            return failure
        raise failure

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, httpx2.Headers, bytes]:
        content = bytearray()
        async with (
            asyncio.timeout(self.policy.timeout),
            self._client.stream("POST", f"{self.url}/chat/completions", json=dict(body)) as response,
        ):
            async for block in response.aiter_bytes():
                content += block
                if len(content) > MAX_RESPONSE_BYTES:
                    raise httpx2.DecodingError(f"it has more than {MAX_RESPONSE_BYTES >> 20} MB")
            return response.status_code, response.headers, bytes(content)

    def _transport_failure(self, error: Exception) -> TeacherError:
        """Describe a transport's error without its secrets."""
        words = one_line(self.redactor.redact(str(error) or type(error).__name__))
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return _RetryError(f"no connection: {words}", unreachable=True)
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return _RetryError(f"the response was not complete within {self.policy.timeout:g} s")
        if isinstance(error, httpx2.TransportError | httpx2.DecodingError | OSError | CancelledError):
            return _RetryError(f"the response broke off: {words}")
        return TeacherUnavailableError(f"{self.url}: a request cannot be sent there ({words})")

    def _result(
        self, status: int, headers: httpx2.Headers, text: str, body: Mapping[str, Any]
    ) -> Completion | _RetryError:
        if status == 200:
            try:
                response = parse_json(text)
                if not (isinstance(response, dict) and response.get("error") and not response.get("choices")):
                    return self._count(parse_completion(response))
            except ValueError:
                return _RetryError(f"the response is no chat completion: {one_line(text, 160)!r}")
        error = parse_error(text)
        if status == 200:  # some servers report errors so, with or without the status
            status = error.status or 502
        return self._failure(status, headers, error, body)

    def _failure(
        self, status: int, headers: httpx2.Headers, error: ErrorMessage, body: Mapping[str, Any]
    ) -> Completion | _RetryError:
        """Return what to do about an error response, or raise it."""
        words = f"status {status}" + (f": {self.redactor.redact(error.text)}" if error.text else "")
        if status < 500 and re.search("content_?filter|content_policy|ResponsibleAIPolicy", error.code):
            return Completion("", f"refused: {self.redactor.redact(error.text)}")
        if "insufficient_quota" in error.code:
            raise TeacherUnavailableError(f"{self.url}: {words}; the account cannot pay")
        if status in _RETRYABLE:
            return _RetryError(words, wait=_retry_after(headers))
        if status in _FATAL:
            raise TeacherUnavailableError(f"{self.url}: {words}; {_FATAL[status].format(variable=self.key_variable)}")
        if 300 <= status < 400:
            target = self.redactor.redact(headers.get("location", "an unknown one")).partition("?")[0]
            raise TeacherUnavailableError(
                f"{self.url}: {words}: the server redirects to {one_line(target)}; give that address"
            )
        hints = [hint for name, hint in _HINTS.items() if re.search(rf"\b{name}\b", error.text) and name in body]
        if not hints and (status == 413 or _TOO_LARGE.search(error.text)):
            hints = ["fewer photos (--views) or smaller ones (--teacher-arg image_size=448)"]
        raise RejectedError(f"{self.url}: {words}" + (f"; give {', '.join(hints)}" if hints else ""))

    def _count(self, completion: Completion) -> Completion:
        with self._lock:
            self.tokens_in += completion.tokens_in
            self.tokens_out += completion.tokens_out
        text, failure = self.redactor.redact(completion.text), completion.failure
        return Completion(text, None if failure is None else self.redactor.redact(failure))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait, a number or a date; None where it is neither."""
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000)
    header = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        when = parsedate_to_datetime(header)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None
