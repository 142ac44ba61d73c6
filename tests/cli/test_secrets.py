"""A key stands in no output and no file, whatever breaks."""

from __future__ import annotations

import functools
import io
import json
import logging
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dollhouse import cli
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.system.secrets import mask
from dollhouse.teachers import openai_server
from dollhouse.teachers.chat_client import ChatClient
from tests.cli.command import run
from tests.records.small_scenes import small_scene
from tests.teachers.chat_server import Talk, chat_server

VARIABLE = "OPENAI_API_KEY"
HALVES = "sk-OPENSESAME/1234", "ALIBABA+caves=5678"
KEY = "".join(HALVES)
SETTINGS = (f"key_variable={VARIABLE}", "model=m", "retries=0", "first_wait=0.01")


def repeat_the_key(talk: Talk, question: str, before: int) -> None:
    """Put the key into every response."""
    text = f"the key {talk.headers['Authorization']} of {talk.path}"
    if "What is it" not in question or "(0)" in question:
        talk.reply(f"re: {text}")
    elif "(1)" in question:
        talk.send(503, ("x" * 230 + text).encode(), X_Header=text)
    else:
        talk.send(401, json.dumps({"error": {"message": text}}).encode())


@pytest.mark.parametrize(
    "key",
    [KEY, f"{KEY}\r\n", "\r\n".join(HALVES), f"{KEY}é", f"{KEY}\udce9"],
    ids=["plain", "end", "lines", "é", "byte"],
)
def test_a_key_never_appears(
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in (VARIABLE, "DOLLHOUSE_API_KEY", "PROXY"):
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    save_scene(replace(small_scene(), name="s0"), tmp_path / "scenes" / "s0")
    questions = [{"scene": "s0", "question": f"What is it? ({number})"} for number in range(3)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    codes: list[int] = []
    output: list[str] = []

    def try_command(url: str, *settings: str, verb: str = "annotate") -> None:
        scenes, count = ("scenes", "questions.jsonl") if verb == "annotate" else ("rooms:validation/0", "2")
        options = ["--teacher", f"endpoint:{url}", "--scenes", scenes, "--questions", count, "--out", str(len(codes))]
        options += [word for setting in (*SETTINGS, *settings) for word in ("--teacher-arg", setting)]
        code, out, error = run(capsys, monkeypatch, "--traceback", verb, *options)
        codes.append(code)
        output.extend((out, error))

    def crash(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"header {key!r} {key.encode(errors='surrogateescape')!r} {json.dumps(key)} {key}")

    with chat_server(repeat_the_key) as server:
        try_command(server.url)
        try_command(server.url, verb="evaluate")
        try_command(server.url, 'extra_headers={"X-Proxy": "$PROXY"}', "extra_query=signature=$PROXY")
        try_command(f"{server.url}?api_key={key}")
        try_command(server.url.replace("//", f"//user:{key.replace('/', '')}@"))
        for setting in (
            f"api_key={key}",
            f"extra_headers=Authorization=Bearer {key}",
            key,
            f"extra_body=api_key={key}",
        ):
            try_command(server.url, setting)
    try_command("http://127.0.0.1:9/v1")
    try_command("http://[::1/v1")
    for owner, name in ((openai_server, "_split_url"), (ChatClient, "_attempt"), (openai_server, "resolve_variables")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crash)
            try_command("http://127.0.0.1:9/v1")
    sent = key.strip() == KEY
    assert codes[-3:] == [3, 3 if sent else 2, 3 if sent else 2]
    assert set(codes[:-3]) <= {0, 1, 2}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".txt" and path.parent.name == "reports" for path in files) == (3 if sent else 1)
    if sent:
        assert any(path.name == "report.json" for path in files)
        assert server.keys
    texts = [*output, caplog.text, *(path.read_bytes().decode("latin-1") for path in files), *map(str, files)]
    for text in texts:
        assert "SESAME" not in text
        assert "ALIBABA" not in text
    assert any("***" in text for text in output)


#: arguments of every verb, which name something broken, in a folder whose files hold the key
VERBS = {
    "ask": "ask photos a? --json",
    "annotate": "annotate --teacher annotations --scenes photos --out records",
    "distill": "distill recipe.yaml --out run",
    "estimate": "estimate recipe.yaml",
    "evaluate": "evaluate model --scenes rooms:test/0 --out report",
    "bench": "bench model --scene scene",
    "benchmark": "benchmark scanqa --predictions questions.jsonl --annotations questions.jsonl --out report",
    "verify": "verify report",
    "compare": "compare report report --out compared",
    "probe-thinking": "probe-thinking model --scenes rooms:test/0 --out probe",
    "scenes info": "scenes info scene",
    "scenes show": "scenes show scene --out room.png",
    "scenes export": "scenes export scene --out room.glb",
    "records check": "records check records",
    "records merge": "records merge records records --out merged",
    "records show": "records show records",
    "labels": "labels scan",
    "export": "export model --out exported",
    "env": "env",
    "version": "version",
    "serve": "serve --model model --keys questions.jsonl --port 1",
}


def break_everything(folder: Path) -> None:
    """Write inputs of every verb that are damaged where the key stands."""
    bad = json.dumps({"format": KEY, "model_type": KEY, KEY: KEY, "seed": KEY, "frames": KEY}) + KEY
    files = ["recipe.yaml", "questions.jsonl", "scene/scene.json", "scan/list.txt", "photos/1.jpg", "records/README.md"]
    files += [f"model/{name}" for name in ("config.json", "model.safetensors", "processor_config.json")]
    files += [f"report/{name}" for name in ("report.json", "metrics.json", "predictions.jsonl")]
    files += ["run/recipe.json", f"records/{'a' * 32}/SHA256SUMS"]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(bad)


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_never_appears_in_any_verb(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where its inputs are damaged, nor where it fails unexpectedly with the key in the message."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    break_everything(tmp_path / "work")
    given = {path: path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file()}
    output: list[str] = []
    for words in (VERBS[verb], f"{VERBS[verb]} --{KEY}", f"{verb} {KEY}"):
        code, *texts = run(capsys, monkeypatch, "--traceback", *words.split())
        assert code in (0, 1, 2), texts
        output += texts
    info = commands()[verb]

    @functools.wraps(info.callback)
    def crash(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"{KEY} {dict(os.environ)}")

    monkeypatch.setattr(info, "callback", crash)
    code, *texts = run(capsys, monkeypatch, "--traceback", *VERBS[verb].split())
    assert code == 3
    output += texts
    files = [path for path in tmp_path.rglob("*") if path.is_file() and given.get(path) != path.read_bytes()]
    assert any(path.parent.name == "reports" for path in files)
    for text in [*output, *map(str, files), *(path.read_bytes().decode("latin-1") for path in files)]:
        assert "SESAME" not in text
        assert "ALIBABA" not in text
    assert any("***" in text for text in output)


def commands() -> dict[str, Any]:
    """Return all commands as they are registered, by verb."""
    groups = [("", cli.app), *((f"{group.name} ", group.typer_instance) for group in cli.app.registered_groups)]
    found = [(start, info) for start, group in groups for info in group.registered_commands]
    return {start + (info.name or info.callback.__name__.replace("_", "-")): info for start, info in found}


def test_every_verb_is_broken() -> None:
    assert VERBS.keys() == commands().keys()


@pytest.mark.slow
def test_a_key_is_in_no_file_of_runs_that_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recipes, checkpoints, run.json, records, reports, models, pictures: the key of the environment is in none."""
    from tests.chaos.commands import make_commands

    for name in (VARIABLE, "DOLLHOUSE_API_KEY", "HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    output: list[str] = []
    for command in make_commands(tmp_path / "inputs").values():
        folder = tmp_path / "inputs" / command.name.split()[0]
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        code, *texts = run(capsys, monkeypatch, *command.arguments)
        assert code == 0, texts
        output += texts
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "recipe.json", "report.json", "optimizer.pt", "answers.parquet"} <= {p.name for p in files}
    for text in [*output, *(path.read_bytes().decode("latin-1") for path in files)]:
        assert "SESAME" not in text
        assert "ALIBABA" not in text


def test_a_run_record_holds_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from dollhouse.data.label_counts import LabelCounts
    from dollhouse.system.environment import describe_environment
    from dollhouse.training.recipes import read_recipe
    from dollhouse.training.run_folder import run_record

    monkeypatch.setenv(VARIABLE, KEY)
    record = run_record(read_recipe("nano"), nn.Linear(1, 1), 1, LabelCounts(1, 0, Counter()), {})
    assert KEY not in json.dumps([record, describe_environment()])


@pytest.mark.parametrize(
    ("command", "masked"),
    [
        ("--teacher-arg api_key=opensesame", "--teacher-arg api_key=***"),
        ("""extra_headers={"Authorization": "Bearer opensesame"}""", """extra_headers={"Authorization": "***"}"""),
        ("http://me:opensesame@host/v1?token=opensesame&n=1", "http://***@host/v1?token=***&n=1"),
        ("key_variable=sk-opensesame-0123456789", "key_variable=***"),
        ("max_new_tokens=64 key_variable=MY_KEY extra_query=key=$MY_KEY", None),
    ],
)
def test_commands_in_reports_are_masked(command: str, masked: str | None) -> None:
    assert mask(command) == (command if masked is None else masked)
