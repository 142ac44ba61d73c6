"""What every request passes: host, origin, key, size, deadline, headers, a log line."""

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

from dollhouse.errors import AddressError, StorageError
from dollhouse.serve.limits import RequestError
from dollhouse.serve.service import SceneService

_OPEN = ("/health", "/ready", "/metrics")  #: answered while draining, and not counted
_ID = re.compile(rb"[\w.-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?")  # name and port
_PATTERN = re.compile(r"\*|(\*\.)?[\w.-]+|\[[0-9a-f:.]+\]")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
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


def read_hosts(names: Sequence[str]) -> list[str]:
    """Return names that a server may be reached by, in lower case; AddressError for what is none."""
    hosts = [name.lower() for name in names]
    for host in hosts:
        if not _PATTERN.fullmatch(host):
            form = "a name such as rooms.example, *.example or [::1], without http:// and without a port"
            raise AddressError(f"--allow-host {host}: give {form}")
    return hosts


class Gate:
    """ASGI middleware. ``keys`` are hashes; without any, requests need no key. ``hosts`` is of ``read_hosts``."""

    def __init__(
        self, app: ASGIApp, service: SceneService, keys: Sequence[str] = (), hosts: Sequence[str] = ("*",)
    ) -> None:
        self.app, self.service, self.keys, self.hosts = app, service, keys, hosts
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
            self._check_host(headers)
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
        if api and not self._own_page(headers):
            advice = "open the page by this server's own address, or start it with --allow-host NAME of that page"
            raise RequestError(403, f"requests from other sites' pages are refused; {advice}", "cross_site")
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

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Refuse other names of this machine: a page may resolve its own name to it."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        matched = _HOST.fullmatch(host)
        if "*" not in self.hosts and not (matched and _matches(matched[1], self.hosts)):
            advice = f"use {' or '.join(self.hosts)}, or start the server with --allow-host NAME"
            raise RequestError(400, f"this server has no name {host[:60]!r}: {advice}", "unknown_host")

    def _own_page(self, headers: dict[bytes, bytes]) -> bool:
        """Return whether a request is of the server's page, or of no page.

        Browsers say so in Sec-Fetch-Site, but on plain HTTP only to loopback; Origin is then all there is.
        """
        if b"sec-fetch-site" in headers:
            return headers[b"sec-fetch-site"] in (b"same-origin", b"none")
        if b"origin" not in headers:
            return True
        host, origin = (headers.get(name, b"").decode("latin-1").lower() for name in (b"host", b"origin"))
        scheme, _, origin = origin.partition("://")
        page, own = _HOST.fullmatch(origin), _HOST.fullmatch(host)
        if page is None:  # "null" of a page without an origin
            return False
        usual = {"http": "80", "https": "443"}.get(scheme)
        if own and (page[1], page[2] or usual) == (own[1], own[2] or usual):
            return True
        # a proxy may have changed Host; other programs on loopback have pages of the same names
        return _matches(page[1], [host for host in self.hosts if host not in ("*", *LOOPBACK)])

    def _note(self, scope: Scope, status: int, seconds: float, request_id: bytes) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.service.metrics.requests.labels(route, status).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        if scope["path"] not in _OPEN:
            _logger.info("%s %s %d %.0f ms %s", scope["method"], route, status, 1000 * seconds, request_id.decode())


def _matches(name: str, hosts: Sequence[str]) -> bool:
    return any(name == host or (host.startswith("*") and name.endswith(host[1:])) for host in hosts)


def too_late(seconds: float) -> RequestError:
    """Return the error of a request that took longer than its deadline."""
    return RequestError(504, f"no answer within {seconds:g} seconds; try again", "deadline", retry_after=5)


def _too_large(most: int) -> RequestError:
    return RequestError(413, f"the request is larger than {most >> 20} MB", "too_large")
