"""The page in a headless browser: photos, points, boxes, questions, the keyboard, narrow windows."""

from __future__ import annotations

import io
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from dollhouse.serve.app import create_app
from dollhouse.serve.service import SceneService
from tests.conftest import LONG
from tests.serve.conftest import StubPipeline, jpeg

pytestmark = [pytest.mark.slow, LONG]
CHROMIUM = shutil.which("chromium")
SOFTWARE_GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Serve a stub on loopback."""
    service = SceneService(StubPipeline(), "stub", tmp_path / "store")  # type: ignore[arg-type]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GPU)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (360, "dark")])
def test_a_person_asks_by_keyboard(url: str, browser: Any, width: int, scheme: str) -> None:
    still = width == 360
    settings = {"color_scheme": scheme, "reduced_motion": "reduce" if still else "no-preference"}
    page = browser.new_context(viewport={"width": width, "height": 800}, **settings).new_page()
    page.set_default_timeout(180_000)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((url, f"blob:{url}")) else faults.append(r.url))
    page.goto(url)
    page.wait_for_selector("#model:not(:empty)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "photos"
    name = "<img src=x onerror=alert(1)>.jpg"
    page.set_input_files("#photos", [{"name": name, "mimeType": "image/jpeg", "buffer": jpeg()}])
    page.wait_for_selector("body[data-shown], #error:not([hidden])")
    assert page.inner_text("#error") == ""
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#points canvas").screenshot())).convert("RGB"), np.int16)
    assert ((shot[..., 0] - shot[..., 1]) > 60).mean() > 0.005  # red points are drawn

    place = "document.querySelector('#labels button:not(.off)').style.transform"
    page.wait_for_selector("#labels button:not(.off)")
    before = page.evaluate(place)
    page.wait_for_timeout(3000)
    assert (page.evaluate(place) == before) == still  # the room turns, unless the user wants no motion
    assert page.evaluate("document.activeElement.id") == "question"
    page.focus("#points canvas")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(1000)
    before = page.evaluate(place)
    page.wait_for_timeout(2000)
    assert page.evaluate(place) == before  # touched, it rests
    page.focus("#question")
    page.keyboard.type("How many chairs are there?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".a[data-done]")
    assert "how many chairs are there? 1 [" in page.inner_text(".a b")
    assert page.locator("#objects .named").all_inner_texts() == ["chair 80\u00a0%", "chair 70\u00a0%"]
    page.keyboard.type("Unsure")
    page.keyboard.press("Enter")
    assert "Not sure" in page.inner_text(".a >> nth=1 >> .doubt")
    page.keyboard.type("fail")
    page.keyboard.press("Enter")
    assert "cannot be answered" in page.inner_text(".a >> nth=2 >> .doubt")
    faults = [fault for fault in faults if "400" not in fault]  # the browser's own line about that answer

    page.focus("#objects button")
    page.keyboard.press("Enter")
    assert "red lamp" in page.inner_text("#about")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert "blue chair" in page.inner_text("#about")
    page.focus("#least")
    page.keyboard.press("End")  # only objects of 90 % and more, and the chosen one
    assert page.locator("#objects button:visible").all_inner_texts() == ["lamp 90\u00a0%", "chair 80\u00a0%"]
    page.keyboard.press("Home")
    page.focus("#tab-points")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#plan svg .box.named")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#views figure canvas")
    with page.expect_download() as download:
        page.click("[data-format=glb]")
    assert Path(download.value.path()).read_bytes()[:4] == b"glTF"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("img[src=x]").count() == 0
    assert not faults

    page.reload()  # the scene is in the address
    page.wait_for_selector("body[data-shown]")
