"""A small local OpenAI-compatible server with scripted failures."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dollhouse.teachers.openai_server import OpenAISettings

Behaviour = Callable[["Talk", str, int], None]  #: (how to respond, the question, earlier attempts)


@dataclass
class ChatServer:
    """The server's URL and the requests it received."""

    url: str
    attempts: Counter[str] = field(default_factory=Counter)  #: by question
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    most_at_once: int = 0


class Talk(BaseHTTPRequestHandler):
    """One request; its methods are the responses that a behaviour may give."""

    behave: Behaviour
    log: ChatServer
    at_once: list[int]
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"][-1]["text"]
        cls = type(self)
        with cls.lock:
            before = cls.log.attempts[question]
            cls.log.attempts[question] += 1
            cls.log.bodies.append(body)
            cls.log.keys.append(self.headers["Authorization"])
            cls.log.paths.append(self.path)
            cls.log.headers.append(self.headers)
            cls.at_once[0] += 1
            cls.log.most_at_once = max(cls.log.most_at_once, cls.at_once[0])
        try:
            cls.behave(self, question, before)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client closed the connection

    def send_response(self, code: int, message: str | None = None) -> None:
        with self.lock:  # before the response, after which the client may send its next request
            self.at_once[0] -= 1
        super().send_response(code, message)

    def reply(self, text: str, finish_reason: str = "stop") -> None:
        """Send a valid completion."""
        self.reply_message({"content": text}, finish_reason)

    def reply_message(self, message: dict[str, Any], finish_reason: str | None = "stop") -> None:
        """Send a completion with any message."""
        choice = {"message": {"role": "assistant", **message}, "finish_reason": finish_reason}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Send any status, body and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def break_off(self) -> None:
        """Send less than the announced length, then close the connection."""
        self.send_response(200)
        self.send_header("Content-Length", "500")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"content": "half')
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def chat_server(behave: Behaviour) -> Iterator[ChatServer]:
    """Run a server that responds by ``behave``, on a free port."""
    handler = type("ScriptedTalk", (Talk,), {"behave": staticmethod(behave), "lock": threading.Lock(), "at_once": [0]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    log = ChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
    handler.log = log  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def echo(talk: Talk, question: str, before: int) -> None:
    """Answer with the question."""
    talk.reply(f"re: {question}")


def quick(**others: Any) -> OpenAISettings:
    """Return settings with short waits."""
    return OpenAISettings(
        **{"model": "made", "timeout": 0.5, "retries": 3, "first_wait": 0.01, "longest_wait": 0.05, **others}
    )
