"""The ASGI application, and a process that serves it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from dollhouse import __version__
from dollhouse.errors import AddressError, DollhouseError, QuestionError, StorageError
from dollhouse.serve.gate import Gate
from dollhouse.serve.limits import RequestError, unexpected_error
from dollhouse.serve.openai_routes import openai_router
from dollhouse.serve.scene_routes import scene_router
from dollhouse.serve.service import SceneService
from dollhouse.system.text import one_line

PAGE = Path(__file__).with_name("page")
_logger = logging.getLogger("dollhouse.serve")


def create_app(service: SceneService, keys: Sequence[str] = (), hosts: Sequence[str] = ("*",)) -> FastAPI:
    """Return the application of a service.

    Args:
        service: its scenes and model.
        keys: SHA-256 hashes of API keys; without any, requests need no key.
        hosts: names that the Host header may have, against pages that resolve their own name to this machine.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="Dollhouse", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=1)  # points are megabytes
    app.add_middleware(Gate, service=service, keys=keys, hosts=hosts)
    app.include_router(scene_router(service))
    app.include_router(openai_router(service))

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process runs."""
        return {"status": "ok", "version": __version__}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready")
    async def ready() -> Response:
        """Say whether requests are taken: not while the server stops."""
        if service.draining:
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ready", "model": service.pipeline.model_id})

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return metrics as Prometheus's text."""
        return PlainTextResponse(service.metrics.render(), media_type="text/plain; version=0.0.4")

    _handle_errors(app)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Listen on every address of a host; requests wait until ``serve`` takes them.

    Raises AddressError where none of them is this machine's, or the port cannot be used.
    """
    missing: OSError | None = None
    with ExitStack() as stack:
        sockets = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((family, address) for family, *_, address in found):
                try:
                    sockets.append(stack.enter_context(socket.create_server(address, family=family)))
                except OSError as error:  # such as ::1 of localhost where IPv6 is off
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise
                    missing = error
            if missing and not sockets:
                raise missing
        except (OSError, ValueError) as error:  # ValueError: no name, such as one with a label of 64 letters
            raise AddressError(_unusable(host, port, error)) from error
        yield sockets


def _unusable(host: str, port: int, error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
    advice = "give as --host an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
    if number == errno.EADDRINUSE:
        advice = "choose another --port, or stop the program that uses it"
    elif number == errno.EACCES:
        advice = "choose a --port above 1023"
    return f"cannot listen on host {host}, port {port} ({reason}); {advice}"


def serve(app: FastAPI, service: SceneService, sockets: list[socket.socket]) -> None:
    """Serve until SIGINT or SIGTERM; then refuse new requests and let the open ones end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(service.limits.deadline) + 5,
        h11_max_incomplete_event_size=1 << 16,
    )
    _Server(config, service).run(sockets)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: SceneService) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def _handle_errors(app: FastAPI) -> None:
    """Answer every error in OpenAI's form."""

    def answer(error: RequestError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: Any) -> Response:
        return answer(error)

    @app.exception_handler(DollhouseError)
    async def unusable(request: Request, error: Any) -> Response:
        if isinstance(error, StorageError):
            _logger.error("%s", error)
            return answer(RequestError(503, "the server cannot store scenes now", "storage", retry_after=60))
        status = 400 if isinstance(error, QuestionError) else 422
        return answer(RequestError(status, str(error), "unusable"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Any) -> Response:
        fault = error.errors()[0]
        return answer(RequestError(422, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", "invalid"))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: Any) -> Response:
        message = str(error.detail)
        if error.status_code in (404, 405):
            message = f"{request.method} {one_line(request.url.path, 60)}: no such request; /openapi.json lists them"
        return answer(RequestError(error.status_code, message, "http"))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Any) -> Response:
        return answer(unexpected_error())
