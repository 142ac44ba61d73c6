"""Time and memory of answering, by model, engine and precision: each is measured in new processes, in turn."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dollhouse.errors import ModelError
from dollhouse.models.model_folder import find_export, find_model
from dollhouse.runtime.certificate import read_certificate
from dollhouse.system.environment import describe_machine, package_versions
from dollhouse.system.progress import ProgressBar

LONG_QUESTION = "Describe the room."  #: its answer gives the tokens a second
CODE = "import json, sys; from dollhouse.deploy.benchmark import measure; measure(**json.loads(sys.argv[1]))"


@dataclass(frozen=True)
class System:
    """A model on an engine."""

    model: str
    engine: Literal["torch", "onnx"]
    precision: str | None = None

    @property
    def name(self) -> str:
        """Name in tables."""
        return " ".join(filter(None, (self.model, self.engine, self.precision)))


def systems_of(model: str) -> list[System]:
    """Return what a model can run on: torch where it is installed, and every certified precision of its export."""
    found, folder = [], find_export(model)
    if find_spec("torch") is not None and (folder is None or folder != Path(model)):
        find_model(model)
        found.append(System(model, "torch"))
    if folder is not None:
        entries = read_certificate(folder)["precisions"]
        found += [System(model, "onnx", name) for name, entry in entries.items() if entry["passed"]]
    if not found:
        raise ModelError(f"{model} has no certified export, and torch is not installed: pip install 'dollhouse[train]'")
    return found


def benchmark(
    systems: Sequence[System], scene: str, question: str, views: int | None = None, rounds: int = 3, repeats: int = 5
) -> dict[str, Any]:
    """Measure each system in a new process, one after the other, ``rounds`` times.

    Args:
        systems: the ratios are to the first of them.
        scene: what :func:`dollhouse.open_scene` opens.
        question: asked first and later.
        views: photos that are encoded; by default each model's number.
        rounds: processes of each system.
        repeats: measurements in each process; their smallest counts, since other work only adds to a time.

    Returns:
        By system the median, least and greatest of the rounds: ``cold_s`` and ``cold_cpu_s`` (start of the process to
        the first answer), ``load_ms``, ``encode_ms_per_view`` and ``first_ms`` (decoded photos, no scene in memory),
        ``later_ms`` (with it), ``tokens_per_s``, and MB: ``imported_mb``, ``loaded_mb``, ``peak_mb``; and the ratios.

    Raises:
        ModelError: a system cannot run; the message is that of its process.
    """
    runs: dict[str, list[dict[str, float]]] = {system.name: [] for system in systems}
    with ProgressBar("measuring", rounds * len(systems)) as bar:
        for number in range(rounds):
            for place, system in enumerate(systems):
                settings = {**asdict(system), "scene": scene, "question": question, "views": views, "repeats": repeats}
                runs[system.name].append(_measure_apart(settings))
                bar.update(number * len(systems) + place + 1)
    figures = {
        name: {key: _spread([run[key] for run in measured]) for key in measured[0]} for name, measured in runs.items()
    }
    reference = figures[systems[0].name]
    faster = ("cold_s", "cold_cpu_s", "encode_ms_per_view", "first_ms", "later_ms")
    ratios = {
        name: {key: round(reference[key]["median"] / max(own[key]["median"], 1e-9), 2) for key in faster}
        for name, own in figures.items()
    }
    about = {"scene": scene, "question": question, "views": views, "rounds": rounds, "repeats": repeats}
    machine = {**describe_machine(), **package_versions(("torch", "onnxruntime", "numpy"))}
    return {"systems": figures, "times_faster": ratios, "settings": about, "machine": machine}


def measure(
    model: str, engine: Any, precision: str | None, scene: str, question: str, views: int | None, repeats: int
) -> None:
    """Measure one system in this process, which must be new, and print the figures as JSON."""
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.scenes.open import open_scene

    opened = open_scene(scene, skip_bad=True)
    figures = {"imported_mb": _peak_mb()}
    start = time.perf_counter()
    pipeline = DollhousePipeline.from_pretrained(model, engine=engine, precision=precision, retain_freed_memory=True)
    figures |= {"load_ms": 1000 * (time.perf_counter() - start), "loaded_mb": _peak_mb()}
    session = pipeline.encode_scene(opened, views, skip_bad=True)
    session.ask(question)
    figures |= {"cold_cpu_s": time.process_time(), "cold_end": time.time()}
    held, count = session.scene.keeping_images(), len(session.images)
    encode = _least_ms(lambda: pipeline.encode_scene(held, count), repeats)
    first = _least_ms(lambda: pipeline.encode_scene(held, count).ask(question), repeats)
    later = _least_ms(lambda: session.ask(question), repeats)
    long_ms, text = _least_ms(lambda: session.ask(LONG_QUESTION), repeats), session.ask(LONG_QUESTION)[0]
    tokenizer: Any = pipeline.exported.tokenizer if pipeline.exported else pipeline.processor.tokenizer
    tokens = len(tokenizer.encode(text, add_special_tokens=False)) + 1  # and the end of the answer
    figures |= {"encode_ms_per_view": encode / count, "first_ms": first, "later_ms": later}
    figures |= {"tokens_per_s": 1000 * tokens / long_ms, "peak_mb": _peak_mb()}
    print(json.dumps(figures))


def _measure_apart(settings: dict[str, Any]) -> dict[str, float]:
    start = time.time()
    command = [sys.executable, "-c", CODE, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
        raise ModelError(f"{settings['model']} cannot be measured on {settings['engine']}: {reason}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"cold_s": figures.pop("cold_end") - start, **figures}


def _least_ms(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {name: round(float(value(values)), 3) for name, value in (("median", np.median), ("min", min), ("max", max))}
