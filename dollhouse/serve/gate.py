"""What every request passes: origin, key, size, deadline, headers, a log line."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dollhouse.errors import StorageError
from dollhouse.serve.limits import RequestError
from dollhouse.serve.service import SceneService

_OPEN = ("/health", "/ready", "/metrics")  #: answered while draining, and not counted
_ID = re.compile(rb"[\w.-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_DRAIN = 10.0  #: seconds for which the rest of a refused upload is read
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_logger = logging.getLogger("dollhouse.serve")


def read_keys(path: Path) -> tuple[str, ...]:
    """Read SHA-256 hashes of API keys, the first word of each line, as ``sha256sum`` prints them.

    Raises StorageError where the file cannot be read, or holds no hash or something else.
    """
    try:
        lines = [line.split()[0].lower() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); give a file of SHA-256 hashes of keys") from error
    if not lines or not all(map(_SHA256.fullmatch, lines)):
        raise StorageError(f"{path}: every line must begin with the SHA-256 hash of a key; `sha256sum` prints it")
    return tuple(lines)


class Gate:
    """ASGI middleware. ``keys`` are hashes; without any, requests need no key."""

    def __init__(self, app: ASGIApp, service: SceneService, keys: Sequence[str] = ()) -> None:
        self.app, self.service, self.keys = app, service, keys
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        start, status, received, ended = time.perf_counter(), 0, 0, False
        limits = self.service.limits
        free = scope["path"] in _OPEN
        scope.setdefault("state", {})["until"] = time.monotonic() + limits.deadline

        async def receive_counted() -> Message:
            nonlocal received, ended
            message = await receive()
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            return message

        async def receive_bounded() -> Message:
            message = await receive_counted()
            if received > limits.body:
                raise _too_large(limits.body)
            return message

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id)]
            await send(message)

        self.open += not free
        self.service.metrics.gauges["open_requests"].set(self.open)
        try:
            if not free:
                self._check(scope, headers)
            async with asyncio.timeout(limits.deadline):
                await self.app(scope, receive_bounded, send_marked)
        except (RequestError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                error = too_late(limits.deadline)
                ended = True  # nothing more is read
            if not status:
                with suppress(TimeoutError):  # a browser that still sends would meet a reset instead of the answer
                    async with asyncio.timeout(_DRAIN):
                        while not ended and b"expect" not in headers and received <= 4 * limits.body:
                            await receive_counted()
                await JSONResponse(error.body, error.status, error.headers)(scope, receive, send_marked)
        finally:
            self.open -= not free
            self.service.metrics.gauges["open_requests"].set(self.open)
            self._note(scope, status, time.perf_counter() - start, request_id)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        limits, api = self.service.limits, scope["path"].startswith("/v1")
        if self.service.draining:
            raise RequestError(503, "the server is stopping", "stopping", retry_after=10)
        if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none") and api:
            raise RequestError(403, "requests from other sites' pages are refused", "cross_site")
        if api and self.keys:
            scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
            hashed = hashlib.sha256(key.strip()).hexdigest()
            found = [hmac.compare_digest(hashed, known) for known in self.keys]
            if scheme.lower() != b"bearer" or not any(found):
                raise RequestError(401, "the API key is missing or wrong", "invalid_api_key")
        if self.open > limits.requests:
            raise RequestError(429, "too many requests are open", "too_many_requests", retry_after=1)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:18]) > limits.body:
            raise _too_large(limits.body)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: bytes) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.service.metrics.requests.labels(route, status).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        if scope["path"] not in _OPEN:
            _logger.info("%s %s %d %.0f ms %s", scope["method"], route, status, 1000 * seconds, request_id.decode())


def too_late(seconds: float) -> RequestError:
    """Return the error of a request that took longer than its deadline."""
    return RequestError(504, f"no answer within {seconds:g} seconds; try again", "deadline", retry_after=5)


def _too_large(most: int) -> RequestError:
    return RequestError(413, f"the request is larger than {most >> 20} MB", "too_large")
