"""A small OpenAI-compatible server on this machine that misbehaves as it is told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Talk", str, int], None]  #: (what to answer with, the question, how often it was asked before)


@dataclass
class ChatServer:
    """What the server saw, and how to find it."""

    url: str
    asked: Counter[str] = field(default_factory=Counter)  #: attempts a question
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0


class Talk(BaseHTTPRequestHandler):
    """One request. The methods are what a behaviour may do."""

    behave: Behaviour
    seen: ChatServer
    at_once: list[int]
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"][-1]["text"]
        cls = type(self)
        with cls.lock:
            before = cls.seen.asked[question]
            cls.seen.asked[question] += 1
            cls.seen.bodies.append(body)
            cls.seen.keys.append(self.headers["Authorization"])
            cls.at_once[0] += 1
            cls.seen.most_at_once = max(cls.seen.most_at_once, cls.at_once[0])
        try:
            cls.behave(self, question, before)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait
        finally:
            with cls.lock:
                cls.at_once[0] -= 1

    def say(self, text: str, finish_reason: str = "stop") -> None:
        """A proper answer."""
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Any status, body and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def break_off(self) -> None:
        """Half an answer: less than was promised, then the connection is closed."""
        self.send_response(200)
        self.send_header("Content-Length", "500")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"content": "half')
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def chat_server(behave: Behaviour) -> Iterator[ChatServer]:
    """A server that answers as ``behave`` says, on a free port."""
    handler = type("TalkAsTold", (Talk,), {"behave": staticmethod(behave), "lock": threading.Lock(), "at_once": [0]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    seen = ChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
    handler.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
