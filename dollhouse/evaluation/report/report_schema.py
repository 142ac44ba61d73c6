"""``report.json``: what is needed to verify scores without the model, on another machine.

Every section and every row has a digest, so that a change can be named. Digests reveal slips; they are no signature.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import ScoreError, StorageError
from dollhouse.evaluation.benchmarks.benchmark import Benchmark
from dollhouse.evaluation.metrics.versions import scorer_versions
from dollhouse.system import environment
from dollhouse.system.read_files import decode_json, decoding, read_bytes, read_json

FORMAT = "dollhouse report 2"
#: packages whose version may change a score
PACKAGES = ("dollhouse", "numpy", "scipy", "torch", "transformers", "sacrebleu", "rouge-score", "nltk")
#: what the digests of a row are over; all other fields are "rest"
PREDICTION_FIELDS, QUESTION_FIELDS = ("prediction", "blind_prediction", "confidence"), ("question", "prompt")
#: sections without which nothing can be checked
_NEEDED = {
    "benchmark": dict, "prompts": dict, "frames": dict, "scores": dict, "scorers": dict, "seed": int, "packages": dict,
    "predictions": dict, "samples": dict, "digests": dict,
}  # fmt: skip
SHORT = 12  #: hex digits of a row's digests
UNKNOWN = "unknown"


def build_report(
    benchmark: Benchmark,
    rows: Sequence[Mapping[str, Any]],
    lines: str,
    scores: Mapping[str, Any],
    *,
    model: Mapping[str, Any],
    seed: int,
    provenance: Mapping[str, Any],
    prompt_match: Mapping[str, int] | None = None,
    metrics: str | None = None,
    perception: str | None = None,
) -> dict[str, Any]:
    """Build the report of scored rows.

    ``lines`` is the text of ``predictions.jsonl``; ``metrics`` and ``perception`` those of ``metrics.json`` and
    ``perception.jsonl`` where they exist. ``scores`` is what :mod:`dollhouse.evaluation.verify` must reproduce,
    ``provenance`` the command and commit, ``prompt_match`` how many rows used the benchmark's own prompt.
    """
    ids, digests, definition = [str(row["id"]) for row in rows], list(map(row_digests, rows)), benchmark.definition()
    sections: dict[str, Any] = {
        "format": FORMAT,
        "benchmark": {key: value for key, value in definition.items() if key not in ("prompts", "frames")},
        "prompts": definition["prompts"],
        "prompt_match": None if prompt_match is None else dict(prompt_match),
        "frames": definition["frames"],
        "scores": scores,
        "scorers": benchmark_scorers(benchmark),
        "seed": seed,
        "model": dict(model),
        "provenance": dict(provenance),
        "packages": package_versions(),
        "machine": environment.describe_machine(),
        "predictions": {"file": "predictions.jsonl", "sha256": text_sha256(lines), "n": len(rows)},
        "metrics": None if metrics is None else {"file": "metrics.json", "sha256": text_sha256(metrics)},
        "perception": None if perception is None else {"file": "perception.jsonl", "lines": line_digests(perception)},
        "samples": {"n": len(ids), "sha256": text_sha256("\n".join(ids)), "ids": ids}
        | {part: [digest[part] for digest in digests] for part in ("prediction", "question", "rest")},
    }
    return sections | {"digests": {name: digest(value) for name, value in sections.items()}}


def format_report(report: Mapping[str, Any]) -> str:
    """Format a report as JSON with one line a section."""
    lines = (f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False, allow_nan=False)}" for k, v in report.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_report(path: Path) -> tuple[dict[str, Any], Path]:
    """Read a report, and return its file too; ``path`` may be its folder. Raises ScoreError where it is invalid."""
    file = path / "report.json" if path.is_dir() else path
    report = read_json(file, ScoreError, "give the folder of an evaluation, as it was written")
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ScoreError(f"{file}: is not a report of this version ({FORMAT!r}); make it again with dollhouse evaluate")
    for name, kind in _NEEDED.items():
        if not isinstance(report.get(name), kind):
            raise ScoreError(f"{file}: {name!r} was changed or taken away after it was written")
    return report, file


def row_digests(row: Mapping[str, Any]) -> dict[str, str]:
    """Compute short digests of a row's prediction, its question, and the rest."""
    parts = {
        "prediction": {key: row[key] for key in PREDICTION_FIELDS if key in row},
        "question": {key: row[key] for key in QUESTION_FIELDS if key in row},
        "rest": {key: value for key, value in row.items() if key not in (*PREDICTION_FIELDS, *QUESTION_FIELDS)},
    }
    return {part: digest(value)[:SHORT] for part, value in parts.items()}


def line_digests(text: str) -> list[str]:
    """Compute short digests of the lines of a JSONL file."""
    return [text_sha256(line)[:SHORT] for line in jsonl_lines(text)]


def jsonl_lines(text: str) -> list[str]:
    """Split a JSONL file at line feeds only; its strings may contain other line ends."""
    return text.removesuffix("\n").split("\n") if text else []


def digest(value: Any) -> str:
    """Hash a JSON value, independent of the order of its keys."""
    return text_sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def text_sha256(text: str) -> str:
    """Hash a text."""
    return sha256(text.encode()).hexdigest()


def jsonl_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def benchmark_scorers(benchmark: Benchmark) -> dict[str, str]:
    """Return versions of the benchmark and of its scorers."""
    from dollhouse.evaluation.metrics.text import SCORERS

    versions = scorer_versions([name for name in benchmark.scorers if name in SCORERS])
    return {benchmark.name: benchmark.version} | {name: versions[name] for name in benchmark.scorers}


def package_versions() -> dict[str, str]:
    """Return versions of Python and of PACKAGES; those not installed are absent."""
    return {"python": platform.python_version(), **environment.package_versions(PACKAGES)}


def model_lineage(model: Path) -> dict[str, Any]:
    """Read the lineage of a model folder, for the ``model`` section of ``report.json``.

    ``run.json`` lies in the folder or its parent. Missing entries are UNKNOWN; folders named there are not read, since
    it may come from anybody. Records are identified by a hash over their ids, which are content hashes. Raises
    StorageError where ``run.json`` cannot be read.
    """
    path = next((path for path in (model / "run.json", model.parent / "run.json") if path.is_file()), None)
    if path is None:
        return {"run": UNKNOWN, "records": UNKNOWN}
    content = read_bytes(path, StorageError, "repair or remove it")
    with decoding(path, "the run.json of a run", StorageError, "repair or remove it"):
        run = decode_json(content)
        recipe = run.get("recipe") or {}
        return {
            "run": sha256(content).hexdigest(),
            "commit": run.get("commit") or UNKNOWN,
            "seed": recipe.get("seed", UNKNOWN),
            "data": recipe.get("data", UNKNOWN),
            "init_from": recipe.get("init_from") or UNKNOWN,
            "records": run.get("records") or UNKNOWN,
        }
