"""Model folders of others: no code in them runs, nothing is asked, and impossible sizes are one line."""

from __future__ import annotations

import ast
import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import transformers

from dollhouse.errors import DollhouseError, ModelError, StorageError
from dollhouse.models.dollhouse.pretrained_lm import read_language_config, read_tokenizer
from dollhouse.models.dollhouse.serialization import load_config, load_student, save_student
from dollhouse.models.llava3d.prompt import load_tokenizer
from dollhouse.system.checksums import HASHES, write_checksums
from dollhouse.teachers.huggingface import HuggingFaceTeacher
from dollhouse.teachers.registry import open_geometry_teachers, open_teacher
from tests.cli.command import run
from tests.models.conftest import tiny_pipeline
from tests.teachers.tiny_models import tiny_tokenizer, write_depth_anything, write_llava

PACKAGE = Path(__file__).parents[2] / "dollhouse"
DOOR = PACKAGE / "models" / "pretrained.py"
SETTINGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
CLASSES = ["Config", "Model", "ModelForCausalLM", "ModelForImageTextToText", "ModelForDepthEstimation", "Tokenizer"]
CLASSES += ["Processor", "ImageProcessor", "FeatureExtractor"]


def write_language(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_student(folder: Path) -> None:
    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, folder)


def open_depth(folder: Path) -> None:
    open_geometry_teachers([f"depth:{folder}"], open_teacher("annotations"))


LOADERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "ask --model": (write_student, load_student),
    "config": (write_student, load_config),
    "checkpoint:": (write_student, lambda folder: open_teacher(f"checkpoint:{folder}")),
    "language_weights": (write_language, lambda folder: read_language_config(folder, {})),
    "tokenizer": (write_language, lambda folder: read_tokenizer(folder, 2)),
    "llava3d:": (write_language, lambda folder: load_tokenizer(folder, transformers.LlamaConfig())),
    "huggingface:": (write_llava, HuggingFaceTeacher),
    "depth:": (write_depth_anything, open_depth),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = tmp_path_factory.mktemp("models")
    for write in {write for write, _ in LOADERS.values()}:
        write(folders / write.__name__)
        (folders / write.__name__ / HASHES).unlink(missing_ok=True)  # who plants code leaves none
    return folders


def change(path: Path, **values: Any) -> None:
    settings = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(settings | values))


@pytest.mark.parametrize("known", [True, False], ids=["known type", "unknown type"])
@pytest.mark.parametrize("loader", LOADERS)
def test_code_of_a_model_folder_never_runs(
    loader: str, known: bool, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a known type it is ignored; an unknown type is refused. In no case is anything asked."""
    write, load = LOADERS[loader]
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(written / write.__name__, folder)
    names = "; ".join(f"class Planted{name}: pass" for name in CLASSES)
    (folder / "planted.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n{names}\n")
    auto_map = {f"Auto{name}": f"planted.Planted{name}" for name in CLASSES}
    auto_map["AutoTokenizer"] = ["planted.PlantedTokenizer", "planted.PlantedTokenizer"]  # type: ignore[assignment]
    for name in SETTINGS:
        change(folder / name, auto_map=auto_map)
    if not known:
        change(folder / "config.json", model_type="planted")
        change(folder / "tokenizer_config.json", tokenizer_class="PlantedTokenizer")
        change(folder / "preprocessor_config.json", image_processor_type="PlantedImageProcessor")
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail(f"asked: {prompt}"))
    with suppress(ModelError):
        load(folder)
    assert not marker.exists()


def test_command_with_such_a_folder(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(written / "write_student", folder)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    auto_map = {"AutoModelForCausalLM": "planted.Planted"}
    change(folder / "config.json", text_config={**text, "model_type": "vit", "auto_map": auto_map})
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail(f"asked: {prompt}"))
    code, _, error = run(capsys, monkeypatch, "ask", "rooms:test/1", "a?", "--model", str(folder))
    assert code == 2
    assert error.count("\n") == 1
    assert "code of its own, which is never run" in error


@pytest.mark.parametrize(
    ("loader", "settings", "named"),
    [
        ("ask --model", {"trunk_layers": 10**6}, "trunk_layers is 1,000,000"),
        ("ask --model", {"trunk_width": 2**20}, "parameters, and the weights hold"),
        ("language_weights", {"num_hidden_layers": 10**6}, "num_hidden_layers is 1,000,000"),
        ("language_weights", {"vocab_size": 10**9}, "parameters, and the weights hold"),
        ("huggingface:", {"text_config": {"model_type": "llama", "num_hidden_layers": 10**6}}, "num_hidden_layers"),
        ("huggingface:", {"text_config": {"model_type": "llama", "hidden_size": 2**16}}, "the weights hold"),
        ("depth:", {"neck_hidden_sizes": [2**14] * 4}, "the weights hold"),
        ("language_weights", {"_attn_implementation": "kernels-community/x"}, "code of others"),
        ("huggingface:", {"attn_implementation": {"text_config": "hub/kernel"}}, "code of others"),
        ("depth:", {"_experts_implementation": "hub/kernel"}, "code of others"),
    ],
)
def test_impossible_settings_are_one_line(
    loader: str, settings: dict[str, Any], named: str, written: Path, tmp_path: Path
) -> None:
    write, load = LOADERS[loader]
    shutil.copytree(written / write.__name__, tmp_path / "model")
    change(tmp_path / "model" / "config.json", **settings)
    started = time.monotonic()
    with pytest.raises(ModelError, match=named) as caught:
        load(tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("loader", ["ask --model", "tokenizer", "language_weights", "huggingface:", "depth:"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tokenizer.json", {"model": {}}),
        ("tokenizer.json", {"added_tokens": [{"id": -1}]}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_size": "x"}),
        ("config.json", {"text_config": {"model_type": "llama", "num_attention_heads": 0}, "backbone_config": {}}),
        ("config.json", {"text_config": [], "vision_config": 7, "backbone_config": "x"}),
    ],
)
def test_settings_that_fit_nothing_are_one_line(
    loader: str, name: str, settings: dict[str, Any], written: Path, tmp_path: Path
) -> None:
    """Whatever tokenizers and transformers raise; a loader ignores the files and settings of others."""
    write, load = LOADERS[loader]
    shutil.copytree(written / write.__name__, tmp_path / "model")
    change(tmp_path / "model" / name, **settings)
    words = ""
    try:
        load(tmp_path / "model")
    except DollhouseError as error:
        words = str(error)
    assert "\n" not in words


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
@pytest.mark.parametrize("loader", ["ask --model", "tokenizer", "huggingface:"])
def test_texts_too_large_to_read_are_one_line(loader: str, name: str, written: Path, tmp_path: Path) -> None:
    write, load = LOADERS[loader]
    shutil.copytree(written / write.__name__, tmp_path / "model")
    with (tmp_path / "model" / name).open("ab") as file:
        file.truncate(1 << 27)
    with pytest.raises(ModelError, match=f"{name}: is too large"):
        load(tmp_path / "model")


def test_devices_in_a_model_folder_are_not_read(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written / "write_student", tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").unlink(missing_ok=True)
    (tmp_path / "model" / "generation_config.json").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"generation_config\.json: cannot be read \(it is a pipe or a device"):
        load_student(tmp_path / "model")
    write_checksums(tmp_path / "model")
    with (tmp_path / "model" / HASHES).open("ab") as sums:
        sums.write(f"{'0' * 64}  generation_config.json\n".encode())
    with pytest.raises((ModelError, StorageError), match=HASHES + "|generation_config"):
        load_student(tmp_path / "model")


def test_every_model_from_a_configuration_refuses_code() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AutoModelForCausalLM.from_config"):
                assert any(ast.unparse(keyword) == "trust_remote_code=False" for keyword in node.keywords), path


def test_nothing_else_calls_from_pretrained_of_transformers() -> None:
    """Our own classes have methods of that name too, which take no transformers class."""
    ours = {"DollhousePipeline", "DollhouseTeacher", "VggtDepthTeacher"}
    found = []
    for path in sorted(set(PACKAGE.rglob("*.py")) - {DOOR}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            owner = ast.unparse(node.value) if isinstance(node, ast.Attribute) else ""
            if name in ("from_pretrained", "cached_file", "snapshot_download", "hf_hub_download") and owner not in ours:
                found.append(f"{path}:{node.lineno}")
    assert not found


def test_every_pipeline_of_transformers_refuses_code() -> None:
    calls = [
        (path, node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "transformers.pipeline"
    ]
    assert calls
    for path, call in calls:
        assert any(ast.unparse(keyword) == "trust_remote_code=False" for keyword in call.keywords), path
