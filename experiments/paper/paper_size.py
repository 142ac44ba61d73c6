"""Table IV at the paper's size: LLaVA-3D-7B and the 2.29B student with random weights, timed one after the other.

    python -m experiments.paper.paper_size teacher ROOM TOKENS

The words are noise, the work is real: the same room and views, the same number of tokens an answer, bfloat16, greedy.
One model a process (the teacher alone takes 16.6 GB). Knows nothing of how well anything is answered.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dollhouse.errors import ModelError
from dollhouse.evaluation.report.report_schema import package_versions
from dollhouse.records.scene_source import scene_sources
from dollhouse.scenes.open import open_scenes
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine
from experiments.paper import paper
from experiments.paper.archive import short_key
from experiments.paper.bench import Bench
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row

PAPER_SIZE_VERSION = 1  #: raise it whenever the same models would be measured otherwise
KEY = "paper-size"
MODELS = ("teacher", "student")
HEAD_TOKENS, QUESTION_TOKENS = 35, 16  #: of the teacher's system words, and of a question
SPREAD = 0.02  #: of random weights
SECONDS = 400.0  #: for both on two cores
COLUMNS = [
    Column("first answer", "lower", digits=2, unit=" s"),
    Column("later answer", "lower", digits=2, unit=" s"),
    Column("parameters", "lower", digits=0, unit=" M"),
    Column("peak memory", "lower", digits=2, unit=" GB"),
]
METHOD = (
    "Random weights in bfloat16, so answers are noise and the work is that of the real ones. The same views of one "
    "room, the student photos only, the teacher depth and poses too, each at its own image size. One measurement each, "
    "no interval. First answer: photos in memory to the last token; later answer: the same scene asked again."
)


@dataclass(frozen=True)
class TokenizedQA:
    """What is needed to time a model: how it looks, and how it answers about what it saw."""

    parameters: int
    look: Callable[[], Any]
    answer: Callable[[Any], None]


def jobs(bench: Bench) -> list[Job]:
    return [Job("timing at the paper's size", KEY, 10, SECONDS, lambda: _time(bench), lambda: _file(bench).is_file())]


def results(bench: Bench) -> list[Result]:
    if not _file(bench).is_file():
        return []
    return [table(json.loads(_file(bench).read_text(encoding="utf-8")))]


def table(told: dict[str, Any]) -> Result:
    """The table of what :func:`_time` kept."""
    figures = {name: _figures(told[name]) for name in MODELS}
    rows = [Row(name, dict(zip((column.name for column in COLUMNS), figures[name], strict=True))) for name in MODELS]
    ratios = [theirs / ours for theirs, ours in zip(figures["teacher"], figures["student"], strict=True)]
    shown = {column.name: f"{ratio:.1f}×" for column, ratio in zip(COLUMNS, ratios, strict=True)}
    again = f"{told['teacher']['first'] / told['student']['later']:.1f}×"
    said = (
        f"At the paper's size the teacher's first answer takes {shown['first answer']} the student's time. A later one "
        f"takes {again} where the teacher looks again for every question, as LLaVA-3D does, and "
        f"{shown['later answer']} where it keeps what it saw. {told['tokens']} tokens an answer."
    )
    title = "Table IV at the paper's size, random weights"
    more = {"machine": told["machine"], "packages": told["packages"], "tokens": told["tokens"]}
    return Result(
        KEY,
        title,
        COLUMNS,
        [
            *rows,
            Row("teacher / student", dict(shown)),
            Row("teacher, looking again / student", {"later answer": again}),
        ],
        paper.EFFICIENCY,
        [said],
        [METHOD],
        more=more,
    )


def _figures(one: dict[str, Any]) -> tuple[float, ...]:
    return one["first"], one["later"], one["parameters"] / 1e6, one["peak"] / 1e9


def _time(bench: Bench) -> None:
    room = scene_sources(open_scenes(bench.extent.compared)[:1], bench.extent.compared)[0]
    tokens = bench.extent.timing.tokens
    told: dict[str, Any] = {name: _in_a_process(name, room, tokens) for name in MODELS}
    told |= {"tokens": tokens, "room": room, "machine": describe_machine(), "packages": package_versions()}
    _file(bench).parent.mkdir(parents=True, exist_ok=True)
    write_text(_file(bench), json.dumps(told, indent=1))


def _in_a_process(name: str, room: str, tokens: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.paper.paper_size", name, room, str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (
            "it was killed, perhaps for memory"
            if done.returncode < 0
            else (done.stderr.strip().splitlines() or ["?"])[-1]
        )
        raise ModelError(f"the {name} at the paper's size could not be timed: {why}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _file(bench: Bench) -> Path:
    told = [
        bench.extent.compared,
        bench.extent.timing.tokens,
        PAPER_SIZE_VERSION,
    ]
    return bench.out / "timing" / f"paper-size-{short_key(told)}.json"


def random_weights(build: Callable[[], Any]) -> Any:
    """What ``build`` makes, in bfloat16, all weights small random numbers; norms near one."""
    import torch

    torch.manual_seed(0)
    with torch.device("meta"):
        model = build()
    model = model.to(torch.bfloat16).to_empty(device="cuda" if torch.cuda.is_available() else "cpu").eval()
    with torch.no_grad():
        for name, weight in (*model.named_parameters(), *model.named_buffers()):
            if weight.is_floating_point():
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, SPREAD)
            else:
                weight.copy_(torch.arange(weight.numel()).reshape(weight.shape))  # position ids
    return model


def teacher_at(config: Any, scene: Any, tokens: int) -> TokenizedQA:
    """LLaVA-3D of ``config`` over all views of a posed scene."""
    import torch

    from dollhouse.models.llava3d.generation import SharedPrefix
    from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration
    from dollhouse.models.llava3d.processing import ViewPreprocessing, prepare_views

    model = random_weights(lambda: Llava3DForConditionalGeneration(config))
    words = model.language_model.get_input_embeddings().weight

    def look() -> SharedPrefix:
        views = prepare_views(scene, ViewPreprocessing(config.image_size, config.num_frames))
        seen = model.get_scene_tokens(model.get_scene_features(views)).to(words.dtype)
        return SharedPrefix(model.language_model, torch.cat([words[:HEAD_TOKENS], seen]))

    def answer(prefix: SharedPrefix) -> None:
        prefix.generate([words[:QUESTION_TOKENS]], tokens, eos_token_id=-1, top_k=1)

    return TokenizedQA(sum(one.numel() for one in model.parameters()), look, answer)


def student_at(config: Any, scene: Any, tokens: int) -> TokenizedQA:
    """The student of ``config`` over the photos of a scene."""
    import torch

    from dollhouse.inference.neox_decoder import select_decoder
    from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
    from dollhouse.models.dollhouse.processing import DollhouseImageProcessor
    from experiments.paper.stopwatch import say

    model = random_weights(lambda: DollhouseForConditionalGeneration(config))
    for name, part in model.named_children():
        if name not in ("encoder", "language_model"):  # small, and they measure: in float32 also when the model is used
            part.float()
    model.trunk.register_forward_pre_hook(lambda part, given: tuple(one.float() for one in given))
    look_at = DollhouseImageProcessor(config.image_size)
    question = torch.arange(QUESTION_TOKENS, device=model.device)[None]
    decoder = select_decoder(model)

    def look() -> Any:
        pixels = torch.from_numpy(look_at([view.image for view in scene.views])["pixel_values"])
        return decoder.encode_prefix(model.get_image_features(pixels.to(model.device, torch.bfloat16)))

    def answer(seen: Any) -> None:
        say(decoder, decoder.expand(seen, 1, QUESTION_TOKENS + tokens), question, tokens)

    return TokenizedQA(sum(one.numel() for one in model.parameters()), look, answer)


def student_config() -> Any:
    """The 2.29B student of ``recipes/paper.yaml``; which tokens words are does not matter to the work."""
    from dollhouse.training.config import read_recipe
    from dollhouse.training.model_init import bare_config

    recipe = read_recipe("paper")
    config = bare_config(recipe, vocab_size=recipe.student.vocabulary)
    config.label_ids, config.colour_ids = [[0] for _ in config.labels], [[0] for _ in config.colours]
    config.thinking_ids = [0] * config.num_thinking_tokens
    return config


def timed(asked: TokenizedQA) -> dict[str, float]:
    """Seconds of the ``first`` answer, looking included, and of a ``later`` one."""
    import torch

    with torch.inference_mode():
        started = time.perf_counter()
        seen = asked.look()
        asked.answer(seen)
        first = time.perf_counter()
        asked.answer(seen)
        return {"first": first - started, "later": time.perf_counter() - first, "parameters": asked.parameters}


def main(name: str, room: str, tokens: int) -> None:
    from dollhouse.models.llava3d.configuration import Llava3DConfig
    from dollhouse.records.scene_source import cache_views
    from dollhouse.scenes.open import open_scene
    from dollhouse.training.estimate.memory import peak_resident_bytes

    scene = cache_views(open_scene(room))
    for view in scene.views:  # so that no picture is drawn against the clock
        assert view.image is not None
        assert view.depth is not None
    asked = (
        teacher_at(Llava3DConfig(), scene, tokens) if name == "teacher" else student_at(student_config(), scene, tokens)
    )
    print(json.dumps(timed(asked) | {"peak": peak_resident_bytes()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
