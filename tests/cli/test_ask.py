"""``dollhouse ask``: photos, questions, scale, JSON and pictures."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dollhouse.evaluation.report import answer_picture
from dollhouse.inference.session import Answer
from dollhouse.scenes import open as open_module
from dollhouse.scenes.scale import ESTIMATED
from tests.cli.command import needs_model, photos, run
from tests.fixtures.terminal import on_ascii_terminal
from tests.scenes.fixture_scans import write_photo


@needs_model
def test_the_photos_that_are_used_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path, count=60)
    write_photo(tmp_path / "60.heic", (40, 90, 120), (120, 160))
    code, answer, aside = run(capsys, monkeypatch, "ask", str(tmp_path), "how many chairs are there?", "--json")
    assert code == 0
    assert "61 views, 4 used: 1, 21, 41, 61; choose with --views" in aside
    assert "1 of 61 views are padded to 1.33:1 (60.heic)" in aside
    assert json.loads(answer)["views"] == ["0.jpg", "20.jpg", "40.jpg", "60.heic"]
    arguments = ("ask", str(tmp_path), "how many chairs are there?", "--json", "--views")
    code, answer, _ = run(capsys, monkeypatch, *arguments, "3,61")
    assert json.loads(answer)["views"] == ["2.jpg", "60.heic"]
    for wrong in ("0", "3,62", "x", "2,2", ""):
        code, _, error = run(capsys, monkeypatch, *arguments, wrong)
        assert code == 2
        assert "numbers from 1 to 61" in error
    for wrong in ("17", ",".join(map(str, range(1, 18)))):
        code, _, error = run(capsys, monkeypatch, *arguments, wrong)
        assert code == 2
        assert "at most 16 photos" in error
    code, answer, aside = run(capsys, monkeypatch, "ask", "example", "is there a bed?", "--json", "--views", "9")
    assert len(json.loads(answer)["views"]) == 4
    assert "--views 9: the scene has 4 photos to encode" in aside


@needs_model
def test_a_broken_photo_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photos(tmp_path) / "1.jpg"
    photo.write_bytes(photo.read_bytes()[:400])
    code, error, aside = run(capsys, monkeypatch, "ask", str(tmp_path), "how many chairs are there?", "--json")
    assert code == 0
    assert json.loads(error)["views"] == ["0.jpg", "2.jpg"]
    assert "1.jpg" in aside


@needs_model
def test_json_and_a_picture_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "answers.png"
    code, error, _ = run(
        capsys, monkeypatch, "ask", "rooms:test/1", "is there a sofa?", "--json", "--show", str(picture)
    )
    assert code == 0
    answer = json.loads(error)["answers"][0]
    assert answer["question"] == "is there a sofa?"
    assert answer["text"] in ("yes", "no")
    assert 0 < answer["confidence"] <= 1
    assert Image.open(picture).width > 600


@pytest.mark.slow
@needs_model
def test_any_text_is_printed_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of ASCII: bytes that are no Unicode, markup, an emoji code, a formula that is none."""
    folder = photos(tmp_path / os.fsdecode(b"caf\xe9 [b] :train: $\\frac$"), count=2)
    (folder / "0.jpg").rename(folder / os.fsdecode(b"caf\xe9 $\\frac$.jpg"))
    questions = [r"how many :chair: $\frac$ [/b] é are there?", "is there a lamp?"]
    picture = str(tmp_path / "answers.png")
    printed = on_ascii_terminal(monkeypatch, "ask", str(folder), *questions, "--show", picture)
    assert Image.open(tmp_path / "answers.png").width > 600
    assert b":chair: $\\frac$ [/b] ?" in printed


@needs_model
def test_lengths_have_a_scale(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("ask", "rooms:test/3", "How far apart are the table and the chair?", "Is there a sofa?")
    estimated = {"kind": "relative", "source": "estimated by the model, not measured"}
    focal = {"kind": "relative", "source": "estimated by the model with a known focal length, not measured"}
    cases: list[tuple[list[str], dict[str, str], str]] = [
        ([], estimated, "scale estimated by the model, not measured"),
        (["--focal", "0.7"], focal, "scale estimated by the model with a known focal length, not measured"),
        (["--focal", "exif", "--camera-height", "1.5"], {"kind": "metric", "source": "camera height"}, ""),
        (["--known-length", "sofa=2.0"], {"kind": "metric", "source": "known length"}, "metric by known length"),
    ]
    for options, scale, phrase in cases:
        code, output, _ = run(capsys, monkeypatch, *command, *options, "--json")
        assert code == 0
        content = json.loads(output)
        assert content["scale"] == scale
        assert [answer["scale"] for answer in content["answers"]] == [scale, None]
        assert content["objects"]
        assert all(box["scale"] == scale for box in content["objects"])
        if phrase:
            code, output, _ = run(capsys, monkeypatch, *command, *options)
            assert code == 0
            assert f" m  (confidence {content['answers'][0]['confidence']:.0%}; {phrase})" in output
            assert output.count("scale") + output.count("metric") == 1


@needs_model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--focal", "26"], "not 0.2 to 20"),
        (["--focal", "26cm"], "as 26mm, 1480px or exif"),
        (["--camera-height", "0"], "above 0"),
        (["--camera-height=-1.5"], "above 0"),
        (["--known-length", "table=120cm"], "OBJECT=METRES"),
        (["--known-length", "table"], "OBJECT=METRES"),
        (["--known-length", "elephant=3"], "no elephant is predicted in this scene; its objects: "),
    ],
)
def test_scale_that_cannot_be_used_is_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = run(capsys, monkeypatch, "ask", "rooms:test/3", "Is there a sofa?", *options)
    assert code == 2
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1, error


@needs_model
def test_picture_into_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    where = tmp_path / "file" / "where.png"
    code, _, error = run(capsys, monkeypatch, "ask", "rooms:test/1", "a?", "--show", str(where))
    assert code == 2
    assert error.startswith("error: ")


def test_a_picture_has_the_wording_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, bool]] = []
    draw = answer_picture.text_picture

    def text_picture(text: str, *given: Any, bold: bool = False, **settings: Any) -> Image.Image:
        drawn.append((text, bold))
        return draw(text, *given, bold=bold, **settings)

    monkeypatch.setattr(answer_picture, "text_picture", text_picture)
    answer_picture._answer_row(Answer("How far?", "1.5 m", 0.5, ESTIMATED, unsure=True), 1000)
    assert ("not sure, perhaps: 1.5 m", False) in drawn
    assert ("scale estimated by the model, not measured", False) in drawn
    answer_picture._answer_row(Answer("Is it?", "yes", 0.9), 1000)
    assert ("yes", True) in drawn


def test_a_picture_that_cannot_be_drawn_is_refused_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_module, "open_scene", lambda *given, **settings: pytest.fail("a scene was opened"))
    code, _, error = run(capsys, monkeypatch, "ask", "example", "Is there a sofa?", "--show", "out.xyz")
    assert code == 2
    assert "out.xyz: pictures are written as .png" in error
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    code, _, error = run(capsys, monkeypatch, "ask", "example", "--show", "x.png")
    assert code == 2
    assert "--show" in error
    assert "give the questions" in error


def test_no_question_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n  \n"))
    code, _, error = run(capsys, monkeypatch, "ask", "rooms:test/1")
    assert code == 2
    assert "no question" in error


@needs_model
def test_questions_through_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Is there a bed?\n\nHow many chairs are there?\n"))
    code, output, _ = run(capsys, monkeypatch, "ask", "rooms:test/1", "--json", "--model", "nano")
    assert code == 0
    questions = [answer["question"] for answer in json.loads(output)["answers"]]
    assert questions == ["Is there a bed?", "How many chairs are there?"]
