"""Annotation through servers that behave like public ones: nothing lost, nothing paid twice, no key anywhere."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dollhouse import cli
from dollhouse.questions.generate import Question
from dollhouse.records.store import RecordStore
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.openai_server import KEY_VARIABLE, OpenAISettings, OpenAITeacher
from dollhouse.teachers.protocol import TeacherUnavailableError
from tests.conftest import LONG
from tests.records.small_scenes import questions_for, small_scenes
from tests.teachers.chat_server import chat_server
from tests.teachers.public_servers import expected_failure, public_servers

KEY = "sk-SESAME0123456789"
SETTINGS = {"token_parameter": "max_completion_tokens", "temperature": None, "seed": None}
QUICK = {"model": "made", "timeout": 5.0, "first_wait": 0.01, "longest_wait": 0.05, "concurrency": 8, "image_size": 28}


def numbered(scene: Scene, count: int) -> Sequence[Question]:
    first = int(scene.name.split("/")[1]) * count
    return [replace(q, text=f"question {first + n}", view=None) for n, q in enumerate(questions_for(scene, count))]


@pytest.mark.parametrize("total", [100, pytest.param(1000, marks=LONG)])
def test_nothing_is_lost_or_paid_twice(
    total: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\r\n")
    caplog.set_level(logging.DEBUG)
    scenes, each = small_scenes(4), total // 4

    def questions(scene: Scene) -> Sequence[Question]:
        return numbered(scene, each)

    with public_servers(KEY) as public:
        wrong = OpenAITeacher(public.server.url, OpenAISettings(**QUICK))
        with pytest.raises(TeacherUnavailableError, match="token_parameter=max_completion_tokens") as caught:
            annotate_scenes(wrong, scenes, tmp_path, questions=questions)
        assert len(public.server.bodies) == 3
        teacher = OpenAITeacher(public.server.url, OpenAISettings(**QUICK, **SETTINGS))
        run = annotate_scenes(teacher, scenes, tmp_path, questions=questions)
        assert (run.written, run.failures) == (4, [])
        asked = len(public.server.bodies)
        again = annotate_scenes(teacher, scenes, tmp_path, questions=questions)
        assert (again.existing, len(public.server.bodies)) == (4, asked)
    records = list(RecordStore(tmp_path))
    pairs = [pair for record in records for pair in zip(record.questions, record.answers, strict=True)]
    assert len(pairs) == total
    for question, answer in pairs:
        number = int(question.text.split()[1])
        if failure := expected_failure(number):
            assert (answer.failure or "").startswith(failure)
            assert answer.text == ""
        else:
            assert (answer.text, answer.failure) == (f"answer {number}", None)
    assert run.answers == total - 4 * total // 100
    assert run.unanswered == {"refused": 3 * total // 100, "cut off while thinking": total // 100}
    assert set(public.paid.values()) == {1}
    assert len(public.paid) == total - total // 100  # a filtered prompt costs nothing
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    out, err = capfd.readouterr()
    output = "\n".join([caplog.text, out, err, str(caught.value), str(run), teacher.usage(), str(written)])
    assert "SESAME" not in output


def run_command(url: str, out: Path, concurrency: int = 4) -> subprocess.Popen[str]:
    code = (
        # Shells start background jobs with SIGINT ignored, and children inherit that.
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from dollhouse.teachers.annotate import annotate_scenes\n"
        "from dollhouse.teachers.openai_server import OpenAISettings, OpenAITeacher\n"
        "from tests.records.small_scenes import small_scenes\n"
        "from tests.teachers.test_public_servers import QUICK, SETTINGS, numbered\n"
        f"settings = OpenAISettings(**{{**QUICK, **SETTINGS, 'concurrency': {concurrency}}})\n"
        "teacher = OpenAITeacher(sys.argv[1], settings)\n"
        "run = annotate_scenes(teacher, small_scenes(1), sys.argv[2], questions=lambda scene: numbered(scene, 40))\n"
        "print(run.written)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), KEY_VARIABLE: KEY}
    arguments = [sys.executable, "-c", code, url, str(out)]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_keeps_what_is_paid(
    stop: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C sends nothing more and keeps what is under way; a kill loses at most that."""
    from tests.teachers import public_servers as servers

    complete = servers._complete

    def slow(talk: servers.Talk, number: int) -> None:
        time.sleep(0.2)
        complete(talk, number)

    monkeypatch.setattr(servers, "_complete", slow)
    with public_servers(KEY) as public:
        run = run_command(public.server.url, tmp_path)
        while len(public.paid) < 12:
            time.sleep(0.01)
            assert run.poll() is None, run.communicate()[1]
        run.send_signal(stop)
        run.communicate(timeout=20)
        paid = dict(public.paid)
        assert len(paid) <= 16
        again = run_command(public.server.url, tmp_path)
        assert again.communicate(timeout=60)[0] == "1\n"
    twice = [number for number, count in public.paid.items() if count > 1]
    assert len(twice) <= (0 if stop is signal.SIGINT else 4)
    (record,) = RecordStore(tmp_path)
    assert [answer.text for answer in record.answers] == [f"answer {number}" for number in range(40)]
    assert not list((tmp_path / ".parts").iterdir())


def test_a_server_is_evaluated_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with chat_server(lambda talk, question, before: talk.reply("yes")) as server:
        arguments = ["evaluate", "--teacher", f"endpoint:{server.url}", "--teacher-arg", "model=made"]
        arguments += ["--scenes", "rooms:test/0-0", "--questions", "3", "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["dollhouse", *arguments])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    assert len(server.bodies) == 3
    assert "3 answers" in capsys.readouterr().out
