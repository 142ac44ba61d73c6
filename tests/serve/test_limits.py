"""Limits, keys, origins, deadlines: what is refused, and how."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dollhouse.errors import AddressError, StorageError
from dollhouse.serve.app import listening
from dollhouse.serve.gate import Gate, read_hosts, read_keys
from dollhouse.serve.limits import Limits
from dollhouse.serve.metrics import Metrics
from tests.cli.command import run
from tests.serve.conftest import files, jpeg


def test_sizes_are_refused_before_decoding(server: Any) -> None:
    room = server(body=10_000, photos=2, pixels=10_000)
    post = lambda *contents: room.client.post("/v1/scenes", files=files(*contents)).status_code  # noqa: E731
    assert post(bytes(20_000)) == 413
    assert post(*[jpeg()] * 3) == 413
    assert post(jpeg(size=(101, 100))) == 413
    assert post(jpeg(size=(100, 100))) == 201
    assert room.pipeline.encoded == 1

    def body() -> Any:
        for _ in range(30):
            yield bytes(1000)

    assert room.client.post("/v1/chat/completions", content=body()).status_code == 413  # without a length


def test_keys_are_compared_by_hash(server: Any, tmp_path: Path) -> None:
    listed = tmp_path / "keys.txt"
    listed.write_text(f"{hashlib.sha256(b'right').hexdigest()}  robot\n")
    room = server(keys=read_keys(listed))
    status = lambda key: room.client.get("/v1/models", headers={"Authorization": key}).status_code  # noqa: E731
    assert [status("Bearer right"), status("Bearer wrong"), status("right"), status("")] == [200, 401, 401, 401]
    assert room.client.get("/health").status_code == 200
    assert room.client.get("/").status_code == 200
    listed.write_text("right\n")
    with pytest.raises(StorageError, match="SHA-256"):
        read_keys(listed)


def test_other_sites_and_other_hosts_are_refused(server: Any) -> None:
    client = server().client
    assert client.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/v1/models", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for path in ("/", "/health", "/v1/models"):
        refused = client.get(path, headers={"Host": "elsewhere.example"})
        assert refused.status_code == 400
        assert "use testserver, or" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("hosts", "host", "origin", "status"),
    [
        ("*", "10.0.0.5:8000", "http://evil.example", 403),
        ("*", "10.0.0.5:8000", "http://10.0.0.5:9000", 403),
        ("*", "10.0.0.5:8000", "http://10.0.0.5", 403),
        ("*", "10.0.0.5:8000", "null", 403),
        ("*", "10.0.0.5:8000", "", 403),
        ("*", "10.0.0.5:8000", "http://10.0.0.5:8000", 200),
        ("*", "[fd00::5]:8000", "http://[fd00::5]:8000", 200),
        ("*", "rooms.example", "https://Rooms.example", 200),  # a proxy with TLS
        ("*", "rooms.example:443", "https://rooms.example", 200),
        ("*", "10.0.0.5:8000", None, 200),
        ("127.0.0.1 localhost", "127.0.0.1:8000", "http://localhost:3000", 403),
        ("127.0.0.1 Rooms.example", "127.0.0.1:8000", "https://rooms.example", 200),  # a proxy that changes Host
        ("127.0.0.1 *.example", "127.0.0.1:8000", "https://rooms.example", 200),
        ("127.0.0.1 *.example", "127.0.0.1:8000", "https://evil.com", 403),
    ],
)
def test_other_origins_are_refused(server: Any, hosts: str, host: str, origin: str | None, status: int) -> None:
    """Browsers send no Sec-Fetch-Site on plain HTTP to other machines."""
    client = server(hosts=read_hosts(hosts.split())).client
    headers = {"Host": host} if origin is None else {"Host": host, "Origin": origin}
    assert client.get("/v1/models", headers=headers).status_code == status
    added = client.post("/v1/scenes", files=files(jpeg()), headers=headers)
    assert added.status_code == (201 if status == 200 else 403)


@pytest.mark.parametrize("name", ["http://rooms.example", "rooms.example:8000", "ro*ms", "", "::1"])
def test_names_of_the_server_are_checked(name: str) -> None:
    with pytest.raises(AddressError, match="without http://"):
        read_hosts([name])


def test_full_queues_answer_429_and_slow_work_504(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    room = server(encoding=0, deadline=2.5)
    go = threading.Event()
    encode = room.pipeline.encode_scene
    monkeypatch.setattr(room.pipeline, "encode_scene", lambda *args: (go.wait(20), encode(*args))[1])
    statuses: list[int] = []
    waiting = threading.Thread(
        target=lambda: statuses.append(room.client.post("/v1/scenes", files=files(jpeg())).status_code)
    )
    waiting.start()
    while not room.service.workers.open:
        assert waiting.is_alive(), statuses
        time.sleep(0.01)
    refused = room.client.post("/v1/scenes", files=files(jpeg((1, 1, 1))))
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    waiting.join()
    assert statuses == [504]
    go.set()  # the work goes on, and is found by the next request
    while room.service.workers.open:
        time.sleep(0.01)
    assert room.client.post("/v1/scenes", files=files(jpeg())).status_code == 201
    assert room.pipeline.encoded == 1


def test_slow_encodings_end_their_stream_with_a_message(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    room = server(deadline=1.5)
    go = threading.Event()
    encode = room.pipeline.encode_scene
    monkeypatch.setattr(room.pipeline, "encode_scene", lambda *args: (go.wait(20), encode(*args))[1])
    post = lambda: room.client.post("/v1/scenes", files=files(jpeg()), headers={"Accept": "text/event-stream"})  # noqa: E731
    events = [json.loads(line[6:]) for line in post().text.splitlines() if line]
    assert events[-1]["state"] == "failed"
    assert "1.5 seconds" in events[-1]["error"]["message"]
    go.set()
    monkeypatch.setattr(room.pipeline, "encode_scene", lambda *args: 1 / 0)
    while room.service.workers.open:
        time.sleep(0.01)
    assert json.loads(post().text.splitlines()[-2][6:])["state"] == "done"  # encoded meanwhile
    other = room.client.post("/v1/scenes", files=files(jpeg((1, 1, 1))), headers={"Accept": "text/event-stream"})
    assert '"code": "internal"' in other.text


def test_refused_uploads_are_read_to_their_end() -> None:
    """A browser sends its whole body before it reads: it must find the answer, not a closed connection."""
    chunks = [{"type": "http.request", "body": bytes(1000), "more_body": n < 9} for n in range(10)]
    sent: list[Any] = []

    async def receive() -> Any:
        return chunks.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    service: Any = SimpleNamespace(limits=Limits(body=3000), metrics=Metrics(), draining=False)
    gate = Gate(lambda *_: None, service)  # type: ignore[arg-type]
    headers = [(b"content-length", b"10000")]
    asyncio.run(gate({"type": "http", "method": "POST", "path": "/v1/scenes", "headers": headers}, receive, send))
    assert sent[0]["status"] == 413
    assert not chunks


def test_stopping_servers_refuse(server: Any) -> None:
    room = server()
    assert room.client.get("/ready").status_code == 200
    room.service.draining = True
    assert room.client.get("/ready").status_code == 503
    assert room.client.get("/health").status_code == 200
    assert room.client.get("/v1/models").status_code == 503


def test_unexpected_errors_are_answered(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    room = server()
    monkeypatch.setattr(room.pipeline, "encode_scene", lambda *args: 1 / 0)
    answer = room.client.post("/v1/scenes", files=files(jpeg()))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"


def test_requests_are_counted_and_named(server: Any) -> None:
    room = server()
    answer = room.client.get("/v1/models", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert 'dollhouse_requests_total{route="/v1/models",status="200"} 1.0' in room.client.get("/metrics").text


def test_addresses_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        command = ["serve", "--port", port, "--store", str(tmp_path)]
        code, out, error = run(capsys, monkeypatch, *command)
    assert (code, out) == (2, "")
    assert "".join(error.split()).startswith(f"error:cannotlistenonhost127.0.0.1,port{port}(")
    assert "--port" in error
    assert "page:" not in error
    with pytest.raises(AddressError, match=r"host 192\.0\.2\.1, port 1 .*--host"), listening("192.0.2.1", 1):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_addresses_of_a_host_are_listened_on(host: str) -> None:
    with listening(host, 0) as sockets:
        for each in sockets:
            socket.create_connection(each.getsockname()[:2]).close()
    assert all(each.fileno() < 0 for each in sockets)
