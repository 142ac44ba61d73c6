"""The container file's steps without a container: install into a new environment, start, ask, stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.conftest import LONG
from tests.serve.conftest import files, jpeg

pytestmark = [pytest.mark.slow, LONG]
ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Return the variables that the container file sets."""
    (line,) = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return dict(setting.split("=", 1) for setting in line.split())


def test_steps_of_the_container_file(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds the wheel without a network")
    text = (ROOT / "Dockerfile").read_text()
    assert "'/src[serve]'" in text
    assert text.index("USER dollhouse") < text.index("ENTRYPOINT")
    venv, store = tmp_path / "venv", tmp_path / "scenes"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    (site,) = venv.glob("lib/python*/site-packages")  # the other packages are those of this environment
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))

    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    command = [str(venv / "bin/dollhouse"), *json.loads(entry)[1:]]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command[command.index("0.0.0.0")], command[command.index("/scenes")] = "127.0.0.1", str(store)
    variables = {"PATH": os.environ["PATH"], **environment()}
    variables = {name: value.replace("/tmp", str(tmp_path)) for name, value in variables.items()}
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen([*command, "--port", port], cwd="/", env=variables, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        ready = False
        for _ in range(300):
            try:
                ready = httpx2.get(f"{url}/ready").status_code == 200
                break
            except httpx2.HTTPError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        assert ready
        assert "Dollhouse" in httpx2.get(url).text
        scene = httpx2.post(f"{url}/v1/scenes", files=files(jpeg(size=(320, 240))), timeout=60).json()
        asked = httpx2.post(f"{url}/v1/scenes/{scene['id']}/ask", json={"question": "Is there a sofa?"}, timeout=60)
        assert asked.json()["data"][0]["text"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(90)
    assert "Application shutdown complete" in (tmp_path / "log").read_text()
    assert list(store.glob("*/scene-*/scene.json"))
