"""Limits of requests, and the error that a request beyond them gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dollhouse.system.text import one_line

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a request may hold, and how much the server keeps and queues."""

    body: int = 64 * MEGABYTE  #: bytes of a request
    unpacked: int = 256 * MEGABYTE  #: bytes of an unpacked zip
    ratio: int = 100  #: unpacked over packed bytes of a zip
    files: int = 2000  #: files of a zip
    photos: int = 64  #: photos of a scene that is not a capture
    pixels: int = 50_000_000  #: of a photo or a frame, by its header
    questions: int = 64  #: of a request
    requests: int = 64  #: that are open at once
    encoding: int = 16  #: scenes that wait to be encoded
    answering: int = 256  #: questions that wait to be answered
    deadline: float = 60.0  #: seconds from a request's first byte to its answer's last
    memory: int = 512 * MEGABYTE  #: bytes of encoded scenes in memory
    store: int = 4096 * MEGABYTE  #: bytes of photos on disk


class RequestError(Exception):
    """A request that is refused: HTTP status, a message that says what to do, and a code for programs.

    ``param`` is the field that is wrong, ``retry_after`` the seconds after which to try again.
    """

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Return the header that says when to try again."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error as OpenAI's API has it."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def check_fields(given: Iterable[str], known: Iterable[str], kind: str = "field", accepted: Iterable[str] = ()) -> None:
    """Raise RequestError (400) for a field that is neither ``known`` nor ``accepted``; it names the known ones."""
    known = list(known)
    for name in given:
        if name not in known and name not in accepted:
            have = f"the {kind}s are {', '.join(known)}" if known else f"this request has no {kind}s"
            raise RequestError(
                400, f"unknown {kind} {one_line(name, 60)!r}: {have}", "unknown_field", one_line(name, 60)
            )


def unexpected_error() -> RequestError:
    """Return the error of a request that failed for a reason that nobody planned."""
    return RequestError(500, "an unexpected error; the server's log has it", "internal")
