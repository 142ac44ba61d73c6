"""Time LLaVA-3D-7B, the paper's student and swift at full size, with random weights, in bfloat16 and 8 bits.

Usage: python -m benchmarks.paper_size OUT [--models teacher,paper,swift,swift-int8] [--rounds 3] [--tokens 8]
       python -m benchmarks.paper_size OUT --models nano-teacher,nano,nano-teacher-bfloat16,nano-bfloat16

Answers are noise, the computation is that of the real models: four views of a made room at each model's own image size,
a question of 16 tokens, answers forced to ``--tokens`` tokens. Each round runs every model in a new process, in turn;
``first`` encodes the views, ``later`` is another question about the same scene; ``weights_gb_per_s`` is how fast the
generation of words reads weights, ``memory_gb_per_s`` the most that this machine reads. ``swift-int8`` keeps the
encoder in bfloat16; its language model runs on ONNX Runtime with weights in blocks of 8 bits, as `dollhouse export`
writes them. That graph, 2 GB, is written into OUT first (12 GB of memory, 6 GB of disk for a while). ``nano`` is the
shipped student, ``nano-teacher`` LLaVA-3D scaled to 4.9 times its parameters, as LLaVA-3D-7B has 4.9 times those of
swift, at nano's image size. Prints and writes OUT/paper_size.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.inference.neox_decoder import select_decoder
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.llava3d.configuration import Llava3DConfig
from dollhouse.models.llava3d.generation import SharedPrefix
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration
from dollhouse.models.llava3d.processing import ViewPreprocessing, prepare_views
from dollhouse.models.model_folder import SHIPPED
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scene import Scene
from dollhouse.system.environment import describe_machine
from dollhouse.training import model_init
from dollhouse.training.estimate.memory import peak_resident_bytes
from dollhouse.training.recipes import read_recipe
from experiments.paper.timing import CheckpointModel, generate

MODELS = ("teacher", "paper", "swift", "swift-int8")
SCENE = "rooms:test/0"
GRAPH = "language.onnx"
HEAD_TOKENS, QUESTION_TOKENS = 35, 16  #: of the teacher's system words, and of a question
WEIGHT_STD = 0.02
NANO_TEACHER_TEXT = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 11, "num_attention_heads": 8}
NANO_TEACHER_VISION = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}


class RandomModel:
    """What timing needs of both; a question is any tokens."""

    disk_bytes = 0
    model: Any

    @property
    def token_bytes(self) -> int:
        """Bytes of the weights that a generated token reads: those of the language model but for its input words."""
        language = self.model.language_model
        parts = {id(part): part for part in language.parameters()}
        if (words := language.get_input_embeddings().weight) is not language.get_output_embeddings().weight:
            del parts[id(words)]
        return sum(part.nbytes for part in parts.values())

    def question_ids(self, questions: Sequence[str]) -> list[Any]:
        return [torch.arange(QUESTION_TOKENS)[None]]


class RandomTeacher(RandomModel):
    """LLaVA-3D of ``config`` over all views of a posed scene."""

    def __init__(self, config: Llava3DConfig, dtype: torch.dtype = torch.bfloat16) -> None:
        self.config = config
        self.model = random_weights(lambda: Llava3DForConditionalGeneration(config), dtype)
        self.words = self.model.language_model.get_input_embeddings().weight

    def encode(self, scene: Scene) -> SharedPrefix:
        views = prepare_views(scene, ViewPreprocessing(self.config.image_size, self.config.num_frames))
        tokens = self.model.get_scene_tokens(self.model.get_scene_features(views)).to(self.words.dtype)
        return SharedPrefix(self.model.language_model, torch.cat([self.words[:HEAD_TOKENS], tokens]))

    def answer(self, encoded: SharedPrefix, ids: Any, tokens: int) -> None:
        encoded.generate([self.words[:QUESTION_TOKENS]], tokens, eos_token_id=-1, top_k=1)


class RandomStudent(RandomModel):
    """The student of ``config`` over the photos of a scene."""

    def __init__(self, config: Any) -> None:
        self.model = random_weights(lambda: DollhouseForConditionalGeneration(config))
        for name, part in self.model.named_children():
            if name not in ("encoder", "language_model"):  # small heads, in float32 in use too
                part.float()
        self.model.trunk.register_forward_pre_hook(lambda part, inputs: tuple(tensor.float() for tensor in inputs))
        self.image_processor = DollhouseImageProcessor(config.image_size)
        self.decoder = select_decoder(self.model)

    def encode(self, scene: Scene) -> Any:
        return self.decoder.encode_prefix(self.prefix(scene))

    def prefix(self, scene: Scene) -> torch.Tensor:
        """Encode the photos of a scene into the language prefix (1, N, D)."""
        pixels = torch.from_numpy(self.image_processor([view.image for view in scene.views])["pixel_values"])
        return self.model.get_image_features(pixels.to(self.model.device, torch.bfloat16))

    def answer(self, encoded: Any, ids: Any, tokens: int) -> None:
        generate(self.decoder, self.decoder.expand(encoded, 1, QUESTION_TOKENS + tokens), ids, tokens)


class Int8Words(RandomStudent):
    """A student whose language model is a graph with weights of 8 bits."""

    def __init__(self, config: Any, graph: Path) -> None:
        from dollhouse.runtime.student import open_graph

        super().__init__(config)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        del self.decoder
        self.model.language_model.base_model.layers = torch.nn.ModuleList()  # word embeddings are still needed
        self.config, self.graph = config, open_graph(graph)
        words = config.get_text_config()
        self.graph_bytes = graph.stat().st_size - 4 * words.vocab_size * words.hidden_size  # the table of input words

    @property
    def token_bytes(self) -> int:
        return self.graph_bytes

    def encode(self, scene: Any) -> Any:
        prefix = self.prefix(scene).float().numpy()
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


def nano_teacher_config(student: DollhouseConfig) -> Llava3DConfig:
    """Return LLaVA-3D's config at 44 million parameters, with the image size and vocabulary of ``student``."""
    default, heads = Llava3DConfig(), NANO_TEACHER_TEXT["num_attention_heads"]
    text = default.text.to_dict() | NANO_TEACHER_TEXT | {"num_key_value_heads": heads}
    text |= {"head_dim": text["hidden_size"] // heads, "vocab_size": student.get_text_config().vocab_size}
    vision = default.vision.to_dict() | NANO_TEACHER_VISION | {"image_size": student.image_size}
    return Llava3DConfig(text=LlamaConfig(**text), vision=CLIPVisionConfig(**vision))


def student_config(recipe: str) -> Any:
    """Return the config of a recipe's student; which ids words have does not matter."""
    config = model_init.student_config(read_recipe(recipe))
    config.label_ids, config.colour_ids = [[0] for _ in config.labels], [[0] for _ in config.colours]
    config.thinking_ids = [0] * config.num_thinking_tokens
    config.pad_token_id, config.eos_token_id = 0, 1
    return config


def random_weights(build: Callable[[], Any], dtype: torch.dtype = torch.bfloat16) -> Any:
    """Return what ``build`` makes in ``dtype`` with small random weights, norms near one."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = build()
    model = model.to(dtype).to_empty(device="cuda" if torch.cuda.is_available() else "cpu").eval()
    with torch.no_grad():
        for name, weight in (*model.named_parameters(), *model.named_buffers()):
            if weight.is_floating_point():
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, WEIGHT_STD)
            else:
                weight.copy_(torch.arange(weight.numel()).reshape(weight.shape))  # position ids
    return model


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

    config = student_config("swift")
    model = random_weights(lambda: DollhouseForConditionalGeneration(config), torch.float32)
    export(model, Path(path))


def measure(name: str, folder: Path, tokens: int) -> None:
    """Time a model in this process, which must be new, and print the figures as JSON."""
    model: RandomModel | CheckpointModel
    if name == "teacher":
        model = RandomTeacher(Llava3DConfig())
    elif name.startswith("nano-teacher"):
        dtype = torch.bfloat16 if name.endswith("bfloat16") else torch.float32
        model = RandomTeacher(nano_teacher_config(DollhouseConfig.from_pretrained(SHIPPED)), dtype)
    elif name.startswith("nano"):
        model = CheckpointModel(SHIPPED, "bfloat16" if name.endswith("bfloat16") else "float32")
    elif name == "swift-int8":
        model = Int8Words(student_config("swift"), folder / GRAPH)
    else:
        model = RandomStudent(student_config(name))
    scene = open_scene(SCENE)
    for view in scene.views:
        _ = view.image, view.depth
    (ids,) = model.question_ids(["Is there a sofa?"])
    with torch.inference_mode():
        if name.startswith("nano"):  # small enough that the first call mostly sets things up
            model.answer(model.encode(scene), ids, tokens)  # type: ignore[union-attr]
        marks = [time.perf_counter()]
        encoded: Any = model.encode(scene)  # type: ignore[attr-defined]
        marks.append(time.perf_counter())
        for count in (tokens, tokens, 1):
            model.answer(encoded, ids, count)  # type: ignore[attr-defined]
            marks.append(time.perf_counter())
    encode, first, later, prefill = np.diff(marks).tolist()
    parameters = getattr(model, "parameters", None) or sum(p.numel() for p in model.model.parameters())  # type: ignore[attr-defined]
    result = {"encode_s": encode, "first_s": encode + first, "later_s": later, "parameters": parameters}
    rate = (tokens - 1) / max(later - prefill, 1e-9)
    result |= {"tokens_per_s": rate, "peak_gb": peak_resident_bytes() / 1e9}
    if isinstance(model, RandomModel):
        result |= {"weights_gb_per_s": model.token_bytes * rate / 1e9, "memory_gb_per_s": memory_bandwidth() / 1e9}
    print(json.dumps(result))


def memory_bandwidth() -> float:
    """Return the bytes a second at which a matrix of 2 GB is read for its product with a vector, by all threads."""
    matrix, vector = torch.ones(1 << 15, 1 << 14), torch.ones(1 << 14)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        matrix @ vector
        seconds.append(time.perf_counter() - started)
    return matrix.nbytes / min(seconds)


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
