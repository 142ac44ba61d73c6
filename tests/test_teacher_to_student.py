"""From LLaVA-3D to a student that answers, on posed RGB-D frames: label, distil, evaluate, ask, all by the command.

The weights are random and so are the words; what is tested is that every part reads what the one before it wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from benchmarks.full_size_llava3d import config_of, write_checkpoint
from dollhouse import cli
from dollhouse.models.llava3d.prompt import load_tokenizer
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.fixtures.recipes import TINY
from tests.scenes.conftest import SHARED_DATA

RECIPE = {
    **TINY,
    "data": {"scenes": "", "records": "records", "views": 4, "questions_per_scene": 4, "workers": 0},
    "stages": {
        "pretrain_perception": {
            "steps": 2,
            "batch_size": 1,
            "losses": ["depth_reg", "camera", "spatial"],
            "train": ["encoder", "trunk", "depth_head", "camera_head"],
            "log_every": 1,
        },
        "finetune_end_to_end": {
            "steps": 2,
            "batch_size": 1,
            "losses": ["text", "text_kl"],
            "train": ["projector", "language_model"],
            "log_every": 1,
        },
    },
}


def dollhouse(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["dollhouse", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            pytest.fail(f"dollhouse {' '.join(arguments)} ended with {ended.code}")


def write_language_model(teacher: Path, folder: Path) -> None:
    """Write a small random language model with the teacher's tokenizer."""
    tokenizer = load_tokenizer(teacher, config_of("tiny").text)
    tokenizer.save_pretrained(folder)
    text = {key: value for key, value in TINY["student"]["text"].items() if key != "model_type"}
    GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=len(tokenizer), **text)).save_pretrained(folder)


@pytest.mark.parametrize("name", ["made", "holo_office_a"])
def test_a_teacher_in_the_official_layout_makes_a_student(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = tmp_path / "scan" if name == "made" else (SHARED_DATA / name).resolve()
    if name == "made":
        write_scannet(room_scene("test", 3), scene)
    if not scene.is_dir():
        pytest.skip(f"{name} is not beside the repository")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").mkdir()
    write_checkpoint(tmp_path / "teacher", config_of("tiny"), torch.float32)
    asked = [json.dumps({"question": text}) for text in ("What is on the desk?", "Where is the door?", "Why?")]
    (tmp_path / "questions.jsonl").write_text("\n".join(asked))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))

    annotate = ["annotate", "--teacher", "llava3d:teacher", "--scenes", scene, "--out", "records", "--views", 4]
    settings = ["--teacher-arg", "dtype=float32", "--teacher-arg", "max_new_tokens=6", "--questions", "questions.jsonl"]
    dollhouse(monkeypatch, *annotate, *settings)
    capsys.readouterr()
    dollhouse(monkeypatch, "distill", "recipe.yaml", "--out", "run")
    assert "the teacher's tokens: 1 records: aligned across tokenizers" in capsys.readouterr().out
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for loss in ("depth_reg", "spatial", "text"):  # the sensor's depth, the teacher's features, the teacher's words
        assert any(loss in line for line in metrics), loss
    write_language_model(tmp_path / "teacher", tmp_path / "language")
    dollhouse(monkeypatch, "distill", "recipe.yaml", "student.language_weights=language", "--out", "shared")
    assert "the teacher's tokens: 1 records: one vocabulary" in capsys.readouterr().out
    metrics = [json.loads(line) for line in (tmp_path / "shared" / "metrics.jsonl").read_text().splitlines()]
    assert any("text_kl" in line for line in metrics)
    dollhouse(monkeypatch, "evaluate", "run/model", "--scenes", scene, "--out", "results")
    measured = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert measured["depth"]["abs_rel"] > 0
    capsys.readouterr()
    dollhouse(monkeypatch, "ask", scene, "What is on the desk?", "--model", "run/model", "--json")
    output = json.loads(capsys.readouterr().out)
    assert output["answers"][0]["question"] == "What is on the desk?"
