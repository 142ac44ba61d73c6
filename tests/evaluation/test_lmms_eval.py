"""Our models among lmms-eval's, our benchmarks among its tasks: with lmms-eval where it is installed (no torchvision is
needed: ``pip install --no-deps lmms-eval``), else against a stand-in of its contract."""

import json
import math
import os
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from dollhouse.errors import ModelError, QuestionError
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.summary import summarise
from dollhouse.evaluation.integrations.lmms_eval import TASKS, manifest
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.scenes.open import open_scene

from . import fake_lmms_eval

INSTALLED = find_spec("lmms_eval") is not None
TASK_MODULE = "dollhouse.evaluation.integrations.lmms_eval.benchmark_task"
NAMES = ("rooms", "scanqa", "sqa3d")
needs_model = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


@pytest.fixture(autouse=True)
def lmms_eval(monkeypatch, tmp_path):
    """lmms-eval or its stand-in, and data for the three tasks."""
    if not INSTALLED:
        fake_lmms_eval.install(monkeypatch)
    asked = [
        {"question_id": f"q{n}", "scene_id": f"s{n % 2}", "question": "What is it?", "answers": ["a chair", "chair"]}
        for n in range(4)
    ]
    (tmp_path / "scanqa.json").write_text(json.dumps(asked))
    questions = [
        {"question_id": n, "scene_id": "s0", "situation": "I sit.", "question": "Is it red?"} for n in range(2)
    ]
    (tmp_path / "q.json").write_text(json.dumps({"questions": questions}))
    annotations = [{"question_id": n, "answers": [{"answer": "yes"}]} for n in range(2)]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": annotations}))
    for scene, shade in (("s0", 40), ("s1", 90)):
        (tmp_path / "scans" / scene).mkdir(parents=True)
        for number in range(30):
            picture = Image.fromarray(np.full((24, 32, 3), shade + number, np.uint8))
            picture.save(tmp_path / "scans" / scene / f"{number}.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOLLHOUSE_SCANQA", str(tmp_path / "scanqa.json"))
    monkeypatch.setenv("DOLLHOUSE_SQA3D", os.pathsep.join([str(tmp_path / "q.json"), str(tmp_path / "a.json")]))
    monkeypatch.setenv("DOLLHOUSE_SCENES", str(tmp_path / "scans"))
    monkeypatch.setenv("DOLLHOUSE_ROOMS", "rooms:test/0-1")
    for name in ("benchmark_task", "model"):
        monkeypatch.delitem(sys.modules, f"dollhouse.evaluation.integrations.lmms_eval.{name}", raising=False)


class _Loader(yaml.SafeLoader):
    """Reads ``!function module.name`` as lmms-eval does where no such file lies beside the YAML."""


def _import_function(loader, node):
    module, _, name = loader.construct_scalar(node).rpartition(".")
    return getattr(import_module(module), name)


_Loader.add_constructor("!function", _import_function)


def read_task(name):
    """A task's YAML and its documents."""
    config = yaml.load((TASKS / name / f"{name}.yaml").read_text(encoding="utf-8"), _Loader)
    lines = Path(config["dataset_kwargs"]["data_files"][config["test_split"]]).read_text(encoding="utf-8").splitlines()
    return config, [json.loads(line) for line in lines]


def requests(config, documents, settings=None, target=None):
    """What lmms-eval hands a simple model."""
    kept = config["generation_kwargs"] if settings is None else settings
    asked = config["doc_to_target"] if target is None else target
    second = kept if target is None else asked
    return [
        SimpleNamespace(
            args=(config["doc_to_text"](document), second, config["doc_to_visual"], place, config["task"], "test")
        )
        for place, document in enumerate(documents)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_has_lmms_evals_fields_and_our_scores(name):
    config, documents = read_task(name)
    assert config["task"] == name
    assert config["dataset_path"] == "json"
    assert config["output_type"] == "generate_until"
    assert {metric["higher_is_better"] for metric in config["metric_list"]} == {True}
    benchmark = BENCHMARKS[name]
    samples = import_module(TASK_MODULE).BENCHMARK_TASKS[name].read()
    assert [document["id"] for document in documents] == [sample.id for sample in samples]
    assert [config["doc_to_text"](document) for document in documents] == [
        benchmark.prompt_of(sample) for sample in samples
    ]
    texts = [sample.answers[0] if place % 3 else "nothing" for place, sample in enumerate(samples)]
    results = [config["process_results"](document, [text]) for document, text in zip(documents, texts, strict=True)]
    ours = summarise(benchmark.score(samples, texts))
    for metric in config["metric_list"]:
        figure = metric["aggregation"]([result[metric["metric"]] for result in results])
        entries = {ours["headline"]: ours["overall"], **ours["credits"], **ours["kinds"]}
        entry = entries.get(metric["metric"])
        assert figure == (entry["value"] if entry else ours["scores"][metric["metric"]])
        alone = [result[metric["metric"]]["score"] for result in results if "score" in result[metric["metric"]]]
        if alone and name != "rooms":
            assert np.mean(alone) == pytest.approx(figure)
    if name == "rooms":
        kind = [result["size"]["score"] for result in results if "score" in result["size"]]
        assert np.mean(kind) == pytest.approx(ours["kinds"]["size"]["value"])


def test_the_frames_are_the_benchmarks():
    config, documents = read_task("scanqa")
    shown = config["doc_to_visual"](documents[0])
    assert [picture.getpixel((0, 0))[0] - 40 for picture in shown] == list(range(24))
    assert config["doc_to_visual"](documents[1])[0].getpixel((0, 0))[0] == 90


def test_a_figure_without_answers_is_nan():
    config, documents = read_task("rooms")
    size = next(metric["aggregation"] for metric in config["metric_list"] if metric["metric"] == "size")
    other = next(document for document in documents if document["kind"] == "contact")
    assert math.isnan(size([config["process_results"](other, ["yes"])["size"]]))


def test_missing_data_name_the_files_to_fetch(monkeypatch):
    monkeypatch.delenv("DOLLHOUSE_SCANQA")
    with pytest.raises(QuestionError, match=r"set DOLLHOUSE_SCANQA .* fetch ScanQA_v1.0_val.json from its authors"):
        read_task("scanqa")
    monkeypatch.delenv("DOLLHOUSE_SCENES")
    config, documents = read_task("sqa3d")
    with pytest.raises(QuestionError, match="set DOLLHOUSE_SCENES"):
        config["doc_to_visual"](documents[0])


def test_the_entry_point_is_the_manifest():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["lmms_eval.models"]["dollhouse"].partition(":")
    assert getattr(import_module(module), name) is manifest
    model_manifest = manifest()
    module, _, name = model_manifest.simple_class_path.rpartition(".")
    model = getattr(import_module(module), name)
    assert (model_manifest.model_id, model_manifest.chat_class_path) == ("dollhouse", None)
    assert issubclass(model, import_module("lmms_eval.api.model").lmms)
    assert model.is_simple
    assert not model.__abstractmethods__


@pytest.fixture
def model():
    return import_module("dollhouse.evaluation.integrations.lmms_eval.model").DollhouseModel(batch_size=1, device="cpu")


@needs_model
def test_answers_are_those_of_dollhouse_evaluate(model, monkeypatch):
    config, documents = read_task("rooms")
    documents = documents[:25] + documents[40:50]  # of two rooms
    model.task_dict["rooms"] = {"test": documents}
    looked = []
    encode = model.pipeline.encode_scene
    monkeypatch.setattr(model.pipeline, "encode_scene", lambda scene: looked.append(scene.name) or encode(scene))
    texts = model.generate_until(requests(config, documents))
    assert len(looked) == 2
    pipeline = DollhousePipeline.from_pretrained()
    for name in dict.fromkeys(document["scene"] for document in documents):
        places = [place for place, document in enumerate(documents) if document["scene"] == name]
        assert [texts[place] for place in places] == pipeline.encode_scene(open_scene(name)).ask(
            [documents[place]["question"] for place in places]
        )


@needs_model
def test_likelihood_is_the_loss_of_the_continuation(model):
    config, documents = read_task("rooms")
    documents = [document for document in documents if document["answers"][0] in ("yes", "no")][:3]
    model.task_dict["rooms"] = {"test": documents}
    model.pipeline.model.config.answer_temperature = 1.0  # likelihoods are not calibrated
    memory = model.pipeline.encode_scene(open_scene(documents[0]["scene"]))
    answers = {each.question: each for each in memory.answer([document["question"] for document in documents])}
    tokenizer = model.pipeline.processor.tokenizer
    tokens = {text: len(tokenizer(f" {text}", add_special_tokens=False)["input_ids"]) + 1 for text in ("yes", "no")}
    for answer in ("yes", "no"):
        weighed = model.loglikelihood(requests(config, documents, target=answer))
        for (loss, greedy), document in zip(weighed, documents, strict=True):
            expected = answers[document["question"]]
            assert greedy == (expected.text == answer)
            if greedy:
                assert loss == pytest.approx(-math.log(expected.confidence), abs=1e-4)
            else:  # losses are means, and answers have other numbers of tokens
                assert loss * tokens[answer] > -math.log(expected.confidence) * tokens[expected.text]


@needs_model
def test_unsupported_requests_raise(model):
    config, documents = read_task("scanqa")
    model.task_dict["scanqa"] = {"test": documents}
    with pytest.raises(QuestionError, match="task scanqa samples"):
        model.generate_until(requests(config, documents, settings={"do_sample": True}))
    with pytest.raises(QuestionError, match="without a picture"):
        model.generate_until(requests({**config, "doc_to_visual": None}, documents))
    with pytest.raises(QuestionError, match="pictures, not str"):
        model.generate_until(requests({**config, "doc_to_visual": lambda item: ["film.mp4"]}, documents))
    with pytest.raises(QuestionError, match="single questions"):
        model.generate_until_multi_round([])
    with pytest.raises(ModelError, match="no model argument 'pretraned'"):
        type(model)(pretraned="x")
    cut = model.generate_until(requests(config, documents[:1], settings={"until": "e", "max_new_tokens": 4}))
    assert "e" not in cut[0]


@needs_model
@pytest.mark.skipif(not INSTALLED, reason="lmms-eval is not installed")
def test_lmms_eval_runs_a_dollhouse_on_our_rooms(tmp_path, monkeypatch):
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import get_model
    from lmms_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path / "datasets"))
    tasks = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert {"rooms", "scanqa", "sqa3d"} <= set(tasks.all_tasks)
    assert get_model("dollhouse").__name__ == "DollhouseModel"
    found = simple_evaluate(model="dollhouse", model_args="", tasks=["rooms"], task_manager=tasks, limit=40)
    rows = found["samples"]["rooms"]
    samples = {sample.id: sample for sample in import_module(TASK_MODULE).BENCHMARK_TASKS["rooms"].read()}
    asked = [samples[row["doc"]["id"]] for row in rows]
    ours = summarise(BENCHMARKS["rooms"].score(asked, [row["filtered_resps"][0] for row in rows]))
    assert found["results"]["rooms"]["accuracy,none"] == ours["overall"]["value"]
