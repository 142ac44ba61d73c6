"""Whatever decodes files of users goes through ``dollhouse/system/read_files.py``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "dollhouse"
#: module or object, and function: decoders without limits
DECODERS = {
    ("json", "load"), ("json", "loads"), ("yaml", "load"), ("yaml", "safe_load"), ("yaml", "full_load"),
    ("yaml", "unsafe_load"), ("np", "load"), ("numpy", "load"), ("np", "loadtxt"), ("np", "fromfile"),
    ("pickle", "load"), ("pickle", "loads"), ("pq", "read_table"), ("pq", "ParquetFile"), ("parquet", "read_table"),
    ("parquet", "ParquetFile"), ("OmegaConf", "load"), ("Tokenizer", "from_file"),
}  # fmt: skip
IMPORTED = {"safe_open", "load_file", "load", "read_table", "ParquetFile", "loads", "safe_load"}
MODULES = ("json", "yaml", "safetensors", "pyarrow", "numpy", "pickle")
METHODS = {"model_validate_json", "parse_raw", "parse_file"}
#: files that come with the package, or with its dependencies, or that the module itself wrote
EXEMPT = {
    "system/read_files.py",
    "data/batch_workers.py",  # batches between processes of a run
    "deploy/benchmark.py",  # figures of its own processes
    "evaluation/benchmarks/benchmark.py",  # definitions.yaml
    "questions/photo_questions.py",  # photo_templates.yaml
    "scenes/synthetic/homes/models.py",  # the cache of models
    "teachers/completions.py",  # answers of servers, bounded by the client and read leniently: they are paid for
    "teachers/chat_template.py",  # messages between two processes of its own
}


def _direct(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield from (node for name in node.names if name.name in IMPORTED)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if (owner, node.attr) in DECODERS or node.attr in METHODS:
                yield node


def _uses(text: str) -> list[int]:
    return [getattr(node, "lineno", 0) for node in _direct(ast.parse(text))]


def test_no_module_decodes_files_of_users_by_itself() -> None:
    paths = sorted(ROOT.rglob("*.py"))
    assert len(paths) > 300
    found = [
        f"dollhouse/{name}:{line}"
        for path in paths
        if (name := path.relative_to(ROOT).as_posix()) not in EXEMPT
        for line in _uses(path.read_text(encoding="utf-8"))
    ]
    assert not found, "read them through dollhouse/system/read_files.py"


def test_exemptions_are_still_needed() -> None:
    assert not [name for name in EXEMPT if not _uses((ROOT / name).read_text(encoding="utf-8"))]


def test_direct_readers_are_found() -> None:
    for text in (
        "import json\njson.loads(x)",
        "map(json.loads, lines)",
        "from json import loads",
        "from safetensors.torch import load_file",
        "from safetensors import safe_open",
        "yaml.safe_load(x)",
        "np.load(x)",
        "pq.read_table(x)",
        "Model.model_validate_json(x)",
    ):
        assert _uses(text), text
