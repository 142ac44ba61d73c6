"""Time LLaVA-3D-7B, the paper's student and swift at full size, with random weights, in bfloat16 and 8 bits.

Usage: python -m benchmarks.paper_size OUT [--models teacher,paper,swift,swift-int8] [--rounds 3] [--tokens 8]

Answers are noise, the computation is that of the real models: four views of a made room at each model's own image size,
a question of 16 tokens, answers forced to ``--tokens`` tokens. Each round runs every model in a new process, in turn;
``first`` encodes the views, ``later`` is another question about the same scene. ``swift-int8`` keeps the encoder in
bfloat16; its language model runs on ONNX Runtime with weights in blocks of 8 bits, as `dollhouse export` writes them.
That graph, 2 GB, is written into OUT first (12 GB of memory, 6 GB of disk for a while). Prints and writes
OUT/paper_size.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dollhouse.scenes.open import open_scene
from dollhouse.system.environment import describe_machine
from dollhouse.training.estimate.memory import peak_resident_bytes
from experiments.paper import paper_size
from experiments.paper.paper_size import QUESTION_TOKENS, RandomModel, RandomStudent, RandomTeacher

MODELS = ("teacher", "paper", "swift", "swift-int8")
SCENE = "rooms:test/0"
GRAPH = "language.onnx"


class Int8Words(RandomStudent):
    """A student whose language model is a graph with weights of 8 bits."""

    def __init__(self, config: Any, graph: Path) -> None:
        from dollhouse.runtime.student import open_graph

        super().__init__(config)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        del self.decoder
        self.model.language_model.base_model.layers = torch.nn.ModuleList()  # word embeddings are still needed
        self.config, self.graph = config, open_graph(graph)

    def encode(self, scene: Any) -> Any:
        pixels = torch.from_numpy(self.image_processor([view.image for view in scene.views])["pixel_values"])
        prefix = self.model.get_image_features(pixels.to(torch.bfloat16)).float().numpy()
        ids = np.array([self.config.thinking_ids], np.int64)
        mask = np.ones((1, prefix.shape[1] + ids.shape[1]), np.int64)
        inputs = self.graph.get_inputs()[3:]
        past = {each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32) for each in inputs}
        return self.graph.run(None, {"embeds": prefix, "ids": ids, "mask": mask, **past})[1:]

    def answer(self, encoded: Any, ids: Any, tokens: int) -> None:
        from dollhouse.runtime.student import OnnxWords

        width = {"hidden_size": self.config.get_text_config().hidden_size}
        batch = OnnxWords(self.graph, {"eos_token_id": None, "text_config": width}, tokens)
        batch.add([(0, encoded, ids[0].tolist())])
        while batch:
            batch.step()


def config_of(recipe: str) -> Any:
    """Return a recipe's config; which ids words have does not matter."""
    return paper_size.student_config(recipe)


def write_graph(folder: Path) -> None:
    """Write the language model of swift in 8 bits; its float32 graph is removed again."""
    from dollhouse.deploy.quantize import quantise_language

    raw = folder / "float32"
    raw.mkdir(parents=True, exist_ok=True)
    code = f"from benchmarks.paper_size import export_language; export_language({str(raw / GRAPH)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    quantise_language(raw / GRAPH, folder / GRAPH, 8)
    shutil.rmtree(raw)


def export_language(path: str) -> None:
    """Write the language graph of swift in float32, its weights beside it."""
    from dollhouse.deploy.export import export_language as export
    from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

    config = config_of("swift")
    model = paper_size.random_weights(lambda: DollhouseForConditionalGeneration(config), torch.float32)
    export(model, Path(path))


def measure(name: str, folder: Path, tokens: int) -> None:
    """Time a model in this process, which must be new, and print the figures as JSON."""
    model: RandomModel
    if name == "teacher":
        model = RandomTeacher(paper_size.Llava3DConfig())
    elif name == "swift-int8":
        model = Int8Words(config_of("swift"), folder / GRAPH)
    else:
        model = RandomStudent(config_of(name))
    scene = open_scene(SCENE)
    for view in scene.views:
        _ = view.image, view.depth
    (ids,) = model.question_ids([""])
    with torch.inference_mode():
        marks = [time.perf_counter()]
        encoded: Any = model.encode(scene)  # type: ignore[attr-defined]
        marks.append(time.perf_counter())
        for count in (tokens, tokens, 1):
            model.answer(encoded, ids, count)  # type: ignore[attr-defined]
            marks.append(time.perf_counter())
    encode, first, later, prefill = np.diff(marks).tolist()
    parameters = getattr(model, "parameters", None) or sum(p.numel() for p in model.model.parameters())  # type: ignore[attr-defined]
    result = {"encode_s": encode, "first_s": encode + first, "later_s": later, "parameters": parameters}
    rate = {"tokens_per_s": (tokens - 1) / max(later - prefill, 1e-9), "peak_gb": peak_resident_bytes() / 1e9}
    print(json.dumps(result | rate))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8)
    options = parser.parse_args()
    names = options.models.split(",")
    options.out.mkdir(parents=True, exist_ok=True)
    if "swift-int8" in names and not (options.out / GRAPH).exists():
        write_graph(options.out)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 else reversed(names):
            arguments = f"{name!r}, Path({str(options.out)!r}), {options.tokens}"
            code = f"from benchmarks.paper_size import measure, Path; measure({arguments})"
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(number + 1, name, runs[name][-1], flush=True)
    figures = {
        name: {
            key: [round(float(f([run[key] for run in rows])), 3) for f in (np.median, np.min, np.max)]
            for key in rows[0]
        }
        for name, rows in runs.items()
    }
    result = {"systems": figures, "rounds": options.rounds, "tokens": options.tokens, "question": QUESTION_TOKENS}
    text = json.dumps(result | {"machine": describe_machine(), "torch": torch.__version__}, indent=1)
    (options.out / "paper_size.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
