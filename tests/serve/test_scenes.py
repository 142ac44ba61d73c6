"""Scenes over HTTP: ids, memory, disk, files, deletion."""

from __future__ import annotations

import gc
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import SIDE, StubPipeline, files, jpeg


def test_a_scene_is_encoded_once_and_its_id_is_of_its_pixels(server: Any) -> None:
    room = server()
    added = room.client.post("/v1/scenes", files=files(jpeg(), jpeg((1, 2, 3))))
    assert added.status_code == 201
    scene = added.json()
    assert scene["views"] == ["1.jpg", "2.jpg"]
    assert scene["view_size"] == [SIDE, SIDE]
    assert [box["label"] for box in scene["boxes"]] == ["lamp", "chair", "chair"]  # not the doubtful rug
    assert room.client.post("/v1/scenes", files=files(jpeg(), jpeg((1, 2, 3)))).json() == scene
    assert room.pipeline.encoded == 1
    assert room.client.post("/v1/scenes", files=files(jpeg((9, 9, 9)))).json()["id"] != scene["id"]


def test_answers_are_about_their_scene_and_name_boxes(server: Any) -> None:
    room = server()
    ids = [room.client.post("/v1/scenes", files=files(jpeg((shade, 0, 0)))).json()["id"] for shade in (0, 100, 200)]
    for id, shade in zip(ids, (0, 100, 200), strict=True):
        asked = {"questions": ["Is the blue chair here?", "How many chairs are there?"]}
        first, second = room.client.post(f"/v1/scenes/{id}/ask", json=asked).json()["data"]
        red = int(first["text"].split("[")[1].split(",")[0])
        assert abs(red - shade) < 4
        assert first["scene"] == id
        assert first["boxes"] == [2]
        assert second["boxes"] == [2, 3]
        assert first["confidence"] == 0.75
        assert not first["unsure"]


def test_stored_scenes_outlive_the_server(server: Any) -> None:
    first = server()
    id = first.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    (first.service.store.incoming / "left").mkdir()  # by a kill
    again = server()
    assert not (again.service.store.incoming / "left").exists()
    assert again.client.get(f"/v1/scenes/{id}").json()["id"] == id
    assert again.client.post(f"/v1/scenes/{id}/ask", json={"question": "What?"}).json()["data"][0]["scene"] == id


def test_forgotten_scenes_are_encoded_again(server: Any) -> None:
    room = server(memory=3 * SIDE * SIDE)  # one photo
    ids = [room.client.post("/v1/scenes", files=files(jpeg((shade, 0, 0)))).json()["id"] for shade in (10, 90)]
    assert len(room.service.memory) == 1
    assert room.service.memory.bytes == 3 * SIDE * SIDE
    assert room.client.get(f"/v1/scenes/{ids[0]}").json()["id"] == ids[0]
    assert room.pipeline.encoded == 3


def test_evicted_scenes_leave_nothing_behind(server: Any) -> None:
    room = server(memory=5 * 3 * SIDE * SIDE, store=5 * len(jpeg()))
    for shade in range(60):
        id = room.client.post("/v1/scenes", files=files(jpeg((4 * shade, 0, 0)))).json()["id"]
        room.client.post(f"/v1/scenes/{id}/ask", json={"question": "What?"})
    gc.collect()
    assert sum(session() is not None for session in room.pipeline.sessions) <= 6  # five, and the last asked about
    assert len(room.service.memory) == 5
    assert not room.service._encoding
    assert not list(room.service.store.incoming.iterdir())
    assert len(list(room.service.store.incoming.parent.glob("*/scene-*"))) <= 5


def test_the_least_recently_used_leave_the_disk(server: Any) -> None:
    room = server(memory=1, store=3 * len(jpeg()))
    ids = [room.client.post("/v1/scenes", files=files(jpeg((shade, 0, 0)))).json()["id"] for shade in range(0, 250, 50)]
    found = [room.client.get(f"/v1/scenes/{id}").status_code for id in ids]
    assert found[0] == 404
    assert found[-1] == 200
    assert room.service.store.bytes <= 3 * len(jpeg())


def test_deleted_scenes_are_gone(server: Any) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    assert room.client.delete(f"/v1/scenes/{id}").json()["deleted"]
    assert room.client.get(f"/v1/scenes/{id}").status_code == 404
    assert room.client.delete(f"/v1/scenes/{id}").status_code == 404
    assert not list(room.service.store.incoming.parent.rglob("*.jpg"))


@pytest.mark.parametrize("early", [True, False])
def test_scenes_deleted_while_they_are_encoded_stay_away(
    server: Any, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    room.service.memory.remove(id)
    encode = room.pipeline.encode_scene

    def delete_and_encode(*given: Any) -> Any:
        steps = [lambda: room.service.store.remove(id), lambda: encode(*given)]
        return [step() for step in (steps if early else steps[::-1])][early]

    monkeypatch.setattr(room.pipeline, "encode_scene", delete_and_encode)
    assert room.client.post(f"/v1/scenes/{id}/ask", json={"question": "a?"}).status_code == 404
    assert not len(room.service.memory)


def test_files_of_a_scene(server: Any) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg(), jpeg())).json()["id"]
    get = lambda path: room.client.get(f"/v1/scenes/{id}/{path}")  # noqa: E731
    assert get("boxes").json()["boxes"][0]["label"] == "lamp"
    assert Image.open(io.BytesIO(get("photo?view=2").content)).size == (SIDE, SIDE)
    assert np.asarray(Image.open(io.BytesIO(get("depth").content))).min() == 2000
    raw = np.frombuffer(get("depth?format=raw").content, "<f2").reshape(2, SIDE, SIDE)
    assert (raw == 2).all()
    assert len(get("points").content) == 2 * SIDE * SIDE * 15
    assert get("plan").text.count('<g class="box" data-box="') == 3
    assert get("file?format=glb").content[:4] == b"glTF"
    assert get("file?format=ply").content[:3] == b"ply"
    exported = {kind: get(f"file?format={kind}").content for kind in ("json", "glb", "ply")}
    assert len(json.loads(exported["json"])["boxes"]) == 3
    assert json.loads(exported["json"])["scene"] == id
    room.client.delete(f"/v1/scenes/{id}")
    room.client.post("/v1/scenes", files=files(jpeg(), jpeg()))
    assert {kind: get(f"file?format={kind}").content for kind in exported} == exported
    assert get("photo?view=3").status_code == 404
    assert get("file?format=exe").json()["error"]["code"] == "invalid"


def test_progress_comes_as_events(server: Any) -> None:
    room = server()
    for contents, states in (([jpeg()], ["queued", "encoding", "done"]), ([b"no photo"], ["queued", "failed"])):
        text = room.client.post("/v1/scenes", files=files(*contents), headers={"Accept": "text/event-stream"}).text
        events = [json.loads(line[6:]) for line in text.splitlines() if line]
        assert [event["state"] for event in events if event["state"] != "encoding"] == [
            state for state in states if state != "encoding"
        ]
    assert "store" not in events[-1]["error"]["message"]  # no path of the server


def zipped(entries: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return files(file.getvalue(), suffix=".zip")


def test_a_zip_is_a_folder(server: Any) -> None:
    room = server()
    added = room.client.post("/v1/scenes", files=zipped({"room/a.jpg": jpeg(), "room/b.jpg": jpeg()}))
    assert added.json()["views"] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ({"../a.jpg": jpeg()}, 422),
        ({"/a.jpg": jpeg()}, 422),
        ({"a.jpg": bytes(4 << 20)}, 413),
        ({f"{number}.jpg": b"" for number in range(2001)}, 413),
        ({"notes.txt": b"nothing"}, 422),
    ],
)
def test_bad_zips_are_refused(server: Any, entries: dict[str, bytes], status: int) -> None:
    room = server()
    refused = room.client.post("/v1/scenes", files=zipped(entries))
    assert refused.status_code == status, refused.text
    assert not list(room.service.store.incoming.iterdir())


def test_one_bad_photo_leaves_the_others(server: Any) -> None:
    room = server()
    scene = room.client.post("/v1/scenes", files=files(jpeg(), jpeg()[:300], b"text")).json()
    assert scene["views"] == ["1.jpg"]
    assert len(scene["notices"]) >= 2
    assert not any("/" in notice.partition(":")[0] for notice in scene["notices"])


def test_a_question_that_fails_fails_alone(server: Any) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    assert room.client.post(f"/v1/scenes/{id}/ask", json={"question": "fail"}).status_code == 400
    assert room.client.post(f"/v1/scenes/{id}/ask", json={"question": "go on?"}).status_code == 200
    assert isinstance(room.pipeline, StubPipeline)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"camera-height": "1.5"}, "camera-height"),
        ({"unknown": "1"}, "unknown"),
        ({"views": ["1", "2"]}, "views"),
        ({"views": "1.5"}, "views"),
        ({"files": "text"}, "files"),
    ],
)
def test_form_fields_that_are_not_used_are_refused(server: Any, form: dict[str, Any], field: str) -> None:
    room = server()
    refused = room.client.post("/v1/scenes", files=files(jpeg()), data=form)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == field
    refused = room.client.post("/v1/scenes", files=[*files(jpeg()), ("focal", ("a.jpg", jpeg()))])
    assert refused.json()["error"]["message"] == "focal: send text, not a file"
    assert not room.pipeline.encoded
    unknown = room.client.post("/v1/scenes", files=files(jpeg()), data={"a": "1"}).json()["error"]["message"]
    assert unknown == "unknown field 'a': the fields are files, views, focal, camera_height, known_length"


def test_fields_and_parameters_that_are_not_used_are_refused(server: Any) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    message = lambda answer: (answer.status_code, answer.json()["error"]["message"])  # noqa: E731
    ask = lambda fields: message(room.client.post(f"/v1/scenes/{id}/ask", json=fields))  # noqa: E731
    assert ask({"question": "a?", "foo": 1}) == (400, "unknown field 'foo': the fields are question, questions")
    assert ask({"question": "a?", "questions": ["b?"]}) == (400, "give question or questions, not both")
    answer = message(room.client.get(f"/v1/scenes/{id}/depth?vew=2"))
    assert answer == (400, "unknown URL parameter 'vew': the URL parameters are view, format")
    assert message(room.client.get(f"/v1/scenes/{id}/depth?view=1&view=1")) == (400, "view: give it once")
    assert message(room.client.get(f"/v1/scenes/{id}/depth?view=1&format=raw"))[0] == 400
    answer = message(room.client.post("/v1/scenes?views=2", files=files(jpeg())))
    assert answer == (400, "unknown URL parameter 'views': this request has no URL parameters")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"question": "a?", "question": "b?"}', "question"),
        (b"[" * 100_000, "no JSON"),
        (b'{"question": "\xff"}', "no JSON"),
        (b'["a?"]', "not an object"),
        (b"", "no JSON"),
        (b'{"question": 1}', "question: Input should be a valid string"),
    ],
)
def test_bodies_that_cannot_be_read_are_named(server: Any, body: bytes, words: str) -> None:
    room = server()
    id = room.client.post("/v1/scenes", files=files(jpeg())).json()["id"]
    post = lambda content: room.client.post(f"/v1/scenes/{id}/ask", content=content)  # noqa: E731
    refused = post(body)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert post(b'{"question": "a?"}').status_code == 200  # without a Content-Type, too
    schema = room.client.get("/openapi.json").json()["paths"]["/v1/scenes/{id}/ask"]["post"]["requestBody"]
    assert "questions" in schema["content"]["application/json"]["schema"]["properties"]


def test_requests_that_do_not_exist_name_the_list(server: Any) -> None:
    client = server().client
    for method, path in (("GET", "/v1/scenes"), ("PUT", "/v1/scenes"), ("POST", "/nothing")):
        assert f"{method} {path}: no such request; /openapi.json" in client.request(method, path).text
    assert [client.head(path).status_code for path in ("/health", "/ready", "/")] == [200] * 3
