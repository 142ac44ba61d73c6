"""With a real, tiny student: initial models, a measurement, timing in child processes, a run killed and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, LlamaConfig

from benchmarks.paper_size import RandomStudent, RandomTeacher, student_config
from dollhouse.evaluation.tables.folder import verify_folder
from dollhouse.evaluation.tables.measurements import MeasurementsBuilder
from dollhouse.evaluation.tables.statistics import Estimate
from dollhouse.evaluation.tables.table import Cell
from dollhouse.evaluation.verify import verify_report
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.llava3d.configuration import CLIP_LARGE, Llava3DConfig
from dollhouse.scenes.open import open_scene
from experiments.paper.experiment import INIT_STD, Experiment, write_init
from experiments.paper.measure import FIXED_LOSSES, measure
from experiments.paper.run import make_tables
from experiments.paper.spec import Init, read_spec

SMALL = [
    "compared_scenes=rooms:test/0-1",
    "run_scenes=rooms:test/0-1",
    "validation_scenes=rooms:validation/0-1",
    "training_scenes=rooms:train/0-1",
    "questions_per_scene=12",
    "seeds=[0]",
    "recipes.thinking.recipe.data={scenes: rooms:train/0-1, views: 4, questions_per_scene: 8, workers: 0}",
    "recipes.thinking.recipe.stages.finetune.families=null",
    "recipes.thinking.recipe.stages.finetune.steps=4",
    "recipes.thinking.recipe.stages.finetune.batch_size=1",
    "recipes.thinking.recipe.stages.finetune.save_every=1",
    "recipes.thinking.recipe.precision=float32",
    "timing={rooms: 1, tokens: 2, batch: 4, repeats: 2}",
]


@pytest.mark.parametrize(
    ("count", "placement"), [(0, "before_question"), (2, "after_question"), (16, "before_question")]
)
def test_only_thinking_tokens_are_new(tiny_student: Path, tmp_path: Path, count: int, placement: Any) -> None:
    write_init(tiny_student, Init(num_thinking_tokens=count, placement=placement), 3, tmp_path / "init")
    before, _, _ = load_student(tiny_student)
    after, processor, _ = load_student(tmp_path / "init")
    config = after.config
    assert (config.num_thinking_tokens, len(config.thinking_ids)) == (count, count)
    assert (processor.num_thinking_tokens, config.thinking_placement) == (count, placement)
    assert set(config.thinking_ids) <= set(after.suppress_tokens())
    old, new = before.state_dict(), after.state_dict()
    changed = {name for name in old if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])}
    assert all(name.endswith(("embed_in.weight", "lm_head.weight")) for name in changed)
    embeddings: list[Any] = [model.get_input_embeddings().weight for model in (before, after)]
    words = [row for row in range(len(embeddings[0])) if row not in config.thinking_ids]
    assert torch.equal(embeddings[0][words], embeddings[1][words])
    if count:
        fresh = embeddings[1][list(config.thinking_ids)]
        assert 0.5 * INIT_STD < float(fresh.detach().std()) < 2 * INIT_STD


def test_one_token_a_scene_is_the_mean_of_the_objects(tiny_student: Path, tmp_path: Path) -> None:
    write_init(tiny_student, Init(prefix="pooled"), 0, tmp_path / "pooled")
    write_init(tiny_student, Init(), 0, tmp_path / "objects")
    pooled, objects = (DollhousePipeline.from_pretrained(tmp_path / name) for name in ("pooled", "objects"))
    perception = objects.encode_scene(open_scene("rooms:test/1")).perception
    assert perception is not None
    with torch.inference_mode():
        tokens, mean = (pipeline.model.embed_objects(perception.objects) for pipeline in (objects, pooled))
    present = perception.objects.present[0] > 0
    assert 0 < int(present.sum()) < tokens.shape[1]
    assert mean.shape == (1, 1, tokens.shape[2])
    assert torch.allclose(mean[0, 0], tokens[0, present].mean(0), atol=1e-5)
    assert pooled.processor.prompt("a?").count("<scene>") == 1


def test_more_layers_change_no_answer(tiny_student: Path, tmp_path: Path) -> None:
    write_init(tiny_student, Init(), 0, tmp_path / "plain")
    write_init(tiny_student, Init(extra_layers=2), 0, tmp_path / "deep")
    plain, deep = (DollhousePipeline.from_pretrained(tmp_path / name) for name in ("plain", "deep"))
    layers = [pipeline.model.config.get_text_config().num_hidden_layers for pipeline in (plain, deep)]
    assert layers[1] == layers[0] + 2
    scene, questions = open_scene("rooms:test/1"), ["is there a bed?", "what is in the room?"]
    assert plain.encode_scene(scene).ask(questions) == deep.encode_scene(scene).ask(questions)


def test_a_measurement_is_verifiable(tiny_student: Path, tmp_path: Path) -> None:
    measure(tiny_student, tmp_path, "rooms:test/0-1", 12, "rooms:validation/0-1", None, tmp_path / "rooms")
    facts = json.loads((tmp_path / "rooms.json").read_text())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(facts["losses"]) == set(FIXED_LOSSES)
    assert all(len(values) == 2 for values in facts["losses"].values())
    builder = MeasurementsBuilder()
    builder.add_answers("m", [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()])
    builder.add_rooms("m", facts["rooms"])
    names = {"accuracy": ("overall", "accuracy"), "depth/abs_rel": ("depth", "abs_rel"), "map_25": ("boxes", "map_25")}
    for figure, (part, name) in names.items():
        found = Cell(figure=figure, models={"0": "m"}).value(builder.build())
        assert isinstance(found, Estimate)
        assert found.value == pytest.approx(metrics[part][name])
    assert verify_report(tmp_path).agrees


def test_the_student_is_of_the_papers_size() -> None:
    with torch.device("meta"):
        model = DollhouseForConditionalGeneration(student_config("paper"))
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(2.29e9, rel=0.01)


def test_random_models_answer(tiny_student: Path) -> None:
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**CLIP_LARGE | sizes | {"num_hidden_layers": 3, "image_size": 56})
    llava = Llava3DConfig(text=LlamaConfig(vocab_size=400, **sizes), vision=vision)
    scene = open_scene("rooms:test/1")
    for model in (RandomTeacher(llava), RandomStudent(load_student(tiny_student)[0].config)):
        with torch.inference_mode():
            encoded = model.encode(scene)  # type: ignore[attr-defined]
            model.answer(encoded, model.question_ids(["?"])[0], 3)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_tables_with_a_real_student(tiny_student: Path, tmp_path: Path) -> None:
    """Timing in two child processes."""
    models = {"student": tiny_student, "teacher": tiny_student}
    folder, _ = make_tables(Experiment(tmp_path, read_spec(overrides=SMALL), models), ["teacher-student-times"])
    table = json.loads((folder / "teacher-student-times.json").read_text())
    rows = {row["name"]: row["values"] for row in table["rows"]}
    assert rows["student"]["parameters"] == rows["teacher"]["parameters"]
    assert 0 < rows["student"]["later answer"]["value"] < rows["student"]["first answer"]["value"]
    assert verify_folder(folder).findings == []


@pytest.mark.slow
def test_a_killed_run_ends_bit_equal(tiny_student: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle, then the same call: the weights of a run that nothing disturbed."""
    code = (
        "import sys; from pathlib import Path; from experiments.paper.experiment import Experiment\n"
        "from experiments.paper.spec import read_spec\n"
        "experiment = Experiment(Path(sys.argv[1]), read_spec(overrides=sys.argv[3:]), {'nano': Path(sys.argv[2])})\n"
        "experiment.model_folder('run', experiment.spec.rows_of('table-III')['K = 0'], 0)"
    )
    spec = read_spec(overrides=SMALL)
    row = spec.rows_of("table-III")["K = 0"]
    whole = Experiment(tmp_path / "whole", spec, {"nano": tiny_student}).model_folder("run", row, 0)
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(out), str(tiny_student), *SMALL])
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*/finetune/checkpoint-2")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    experiment = Experiment(out, spec, {"nano": tiny_student})
    assert experiment.run_folder(row, 0) is None
    continued = experiment.model_folder("run", row, 0)
    assert len(list(out.glob("runs/*"))) == 1
    expected, got = (load_file(folder / "model.safetensors") for folder in (whole, continued))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
