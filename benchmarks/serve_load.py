"""Load a server on this machine with mixed requests, and check each answer against the command's.

Usage: python -m benchmarks.serve_load --photos FOLDER [--minutes 10] [--clients 16] [--scenes 300]

FOLDER holds folders of photos, a room each. The server is a process of ``dollhouse serve`` on loopback, started here;
halfway it is killed and started again, and must still have every scene. Then it gets ``--scenes`` different scenes
with memory for a few. Prints one JSON object: requests by status, latency percentiles by kind, answers a second, memory
of the server, and what went wrong, which must be nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

QUESTIONS = [
    "How many chairs are there?",
    "Is there a table?",
    "Is there a sofa?",
    "What is on the table?",
    "Is the chair near the table?",
    "Describe the room.",
    "In view 9, is there a lamp?",
    "How far is the chair from the table?",
]
SUFFIXES = (".jpg", ".jpeg", ".png")
PLANNED = {200, 201, 400, 404, 413, 422, 429, 503, 504}


def encoded(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind)
    return file.getvalue()


def bad_photos(good: bytes) -> dict[str, bytes]:
    """Return files that are no good photos, by what is wrong with them."""
    noise = np.random.default_rng(0)
    flipped = bytearray(good)
    for place in noise.integers(200, len(good), 60):
        flipped[place] ^= 255
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(64 << 20))
    return {
        "empty": b"",
        "text": b"not a photo",
        "truncated": good[: len(good) // 2],
        "header only": good[:200],
        "bytes flipped": bytes(flipped),
        "random": noise.bytes(50_000),
        "tiny": encoded(3, 3),
        "strip": encoded(4000, 15),
        "too many pixels": encoded(9000, 9000, mode="1"),
        "16 bit depth": encoded(64, 48, mode="I;16"),
        "zip bomb": bomb.getvalue(),
        "no zip": b"PK\x03\x04" + noise.bytes(1000),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/'/></svg>",
    }


def command_answers(rooms: dict[str, list[Path]]) -> dict[str, list[tuple[str, float]]]:
    """Return what ``dollhouse ask`` answers about each room."""
    answers = {}
    with tempfile.TemporaryDirectory() as place:
        for name, photos in rooms.items():
            folder = Path(place) / name
            folder.mkdir()
            for photo in photos:
                (folder / photo.name).write_bytes(photo.read_bytes())
            command = [sys.executable, "-m", "dollhouse.cli", "ask", str(folder), *QUESTIONS, "--json"]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            answers[name] = [(answer["text"], answer["confidence"]) for answer in found["answers"]]
    return answers


def start(port: int, store: Path, memory: int = 512) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dollhouse.cli", "serve", "--port", str(port), "--store", str(store)]
    command += ["--memory", str(memory)]
    with (store.parent / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(600):
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                return process
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise SystemExit("the server did not become ready")


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Load:
    """Clients of one server, and what they met."""

    def __init__(self, url: str, rooms: dict[str, list[Path]], answers: dict[str, list[tuple[str, float]]]) -> None:
        self.url, self.answers = url, answers
        self.rooms = {name: [(photo.name, photo.read_bytes()) for photo in photos] for name, photos in rooms.items()}
        self.bad = bad_photos(next(iter(self.rooms.values()))[0][1])
        self.ids: dict[str, str] = {}
        self.status: Counter[int] = Counter()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self.paused = False

    async def upload(self, http: httpx2.AsyncClient, name: str) -> None:
        files = [("files", photo) for photo in self.rooms[name]]
        reply = await self.timed("upload", http.post("/v1/scenes", files=files))
        if reply.status_code == 201 and self.ids.setdefault(name, reply.json()["id"]) != reply.json()["id"]:
            self.wrong.append(f"{name}: two ids")

    async def ask(self, http: httpx2.AsyncClient, name: str) -> None:
        number = random.randrange(len(QUESTIONS))
        body = {"question": QUESTIONS[number]}
        reply = await self.timed("ask", http.post(f"/v1/scenes/{self.ids[name]}/ask", json=body))
        if reply.status_code == 200:
            (answer,) = reply.json()["data"]
            text, confidence = self.answers[name][number]
            if answer["text"] != text or abs(answer["confidence"] - confidence) > 1e-3:
                self.wrong.append(f"{name}, {QUESTIONS[number]}: {answer['text']} instead of {text}")

    async def refuse(self, http: httpx2.AsyncClient) -> None:
        kind = random.choice(list(self.bad))
        suffix = ".zip" if "zip" in kind else ".jpg"
        reply = await self.timed(
            "bad photo", http.post("/v1/scenes", files=[("files", (f"x{suffix}", self.bad[kind]))])
        )
        if reply.status_code not in PLANNED - {200, 500}:
            self.wrong.append(f"{kind}: {reply.status_code}")

    async def look(self, http: httpx2.AsyncClient, name: str) -> None:
        part = random.choice(["boxes", "depth", "points", "plan", "photo", "file?format=glb"])
        await self.timed("look", http.get(f"/v1/scenes/{self.ids[name]}/{part}"))

    async def timed(self, kind: str, request: Any) -> httpx2.Response:
        began = time.perf_counter()
        reply = await request
        self.seconds[kind].append(time.perf_counter() - began)
        self.status[reply.status_code] += 1
        if reply.status_code not in PLANNED:
            self.wrong.append(f"{kind}: {reply.status_code} {reply.text[:200]}")
        return reply

    async def client(self, until: float) -> None:
        async with httpx2.AsyncClient(base_url=self.url, timeout=90) as http:
            while time.monotonic() < until:
                if self.paused:
                    await asyncio.sleep(0.05)
                    continue
                name, chance = random.choice(list(self.rooms)), random.random()
                try:
                    if chance < 0.05 or name not in self.ids:
                        await self.upload(http, name)
                    elif chance < 0.15:
                        await self.refuse(http)
                    elif chance < 0.2:
                        await self.look(http, name)
                    else:
                        await self.ask(http, name)
                except httpx2.HTTPError as error:
                    if not self.paused:
                        self.wrong.append(repr(error))


def evictions(url: str, photo: bytes, scenes: int, pid: int) -> list[float]:
    """Return the server's memory while it gets different scenes and forgets them."""
    memory = []
    with Image.open(io.BytesIO(photo)) as image, httpx2.Client(base_url=url, timeout=90) as http:
        for number in range(scenes):
            file, shade = io.BytesIO(), image.convert("RGB").point(lambda value, number=number: (value + number) % 256)
            shade.save(file, "JPEG")
            scene = http.post("/v1/scenes", files=[("files", (f"{number}.jpg", file.getvalue()))]).json()["id"]
            http.post(f"/v1/scenes/{scene}/ask", json={"questions": QUESTIONS})
            http.get(f"/v1/scenes/{scene}/points")
            memory.append(resident(pid))
    return memory


def thinned(memory: list[float]) -> list[int]:
    """Return six values at equal distances."""
    return [round(value) for value in np.interp(np.linspace(0, 1, 6), np.linspace(0, 1, len(memory)), memory)]


async def run(load: Load, clients: int, until: float, process: subprocess.Popen[bytes], memory: list[float]) -> None:
    async def watch() -> None:
        while time.monotonic() < until:
            memory.append(resident(process.pid))
            await asyncio.sleep(2)

    await asyncio.gather(watch(), *(load.client(until) for _ in range(clients)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--scenes", type=int, default=300)
    options = parser.parse_args()
    found = {}
    for folder in sorted(path for path in options.photos.iterdir() if path.is_dir()):
        if photos := sorted(photo for photo in folder.rglob("*") if photo.suffix.lower() in SUFFIXES)[:4]:
            found[folder.name] = photos
    rooms = dict(list(found.items())[:8])
    answers = command_answers(rooms)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / "store"
        store.mkdir()
        process = start(port, store)
        load, halves = Load(f"http://127.0.0.1:{port}", rooms, answers), []
        random.seed(0)
        began, cpu = time.monotonic(), 0.0
        try:
            for half in (0, 1):
                memory: list[float] = []
                until = time.monotonic() + 30 * options.minutes
                asyncio.run(run(load, options.clients, until, process, memory))
                times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                cpu += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
                halves.append(thinned(memory))
                if half == 0:
                    process.kill()
                    process.wait()
                    process = start(port, store)
                    for name, id in load.ids.items():
                        reply = httpx2.get(f"{load.url}/v1/scenes/{id}", timeout=60)
                        if reply.status_code != 200 or reply.json()["id"] != id:
                            load.wrong.append(f"{name}: lost by the kill ({reply.status_code})")
            process.terminate()
            process.wait(90)
            process = start(port, store, memory=8)
            photo = next(iter(load.rooms.values()))[0][1]
            evicted = thinned(evictions(load.url, photo, options.scenes, process.pid)) if options.scenes else []
        finally:
            process.terminate()
            process.wait(90)
    print(
        json.dumps(
            {
                "seconds": round(time.monotonic() - began),
                "clients": options.clients,
                "rooms": len(rooms),
                "requests": sum(load.status.values()),
                "status": dict(sorted(load.status.items())),
                "milliseconds (p50, p95, p99)": {
                    kind: [round(1000 * float(value)) for value in np.percentile(values, [50, 95, 99])]
                    for kind, values in load.seconds.items()
                },
                "answers checked": len(load.seconds["ask"]),
                "answers a second": round(len(load.seconds["ask"]) / (60 * options.minutes), 1),
                "server's CPU seconds": round(cpu),
                "memory MB, first and second half": halves,
                f"memory MB over {options.scenes} scenes, memory for few": evicted,
                "wrong": load.wrong[:20],
                "wrong in all": len(load.wrong),
            },
            indent=1,
        )
    )
    raise SystemExit(bool(load.wrong))


if __name__ == "__main__":
    main()
