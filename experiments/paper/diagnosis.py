"""Fig. 4: an answer, and beside it the words that the thinking tokens come nearest to (the paper's diagnostic mode).

An untrained read-out: no loss ever asked a thinking token for a word. Knows the student; nothing of scores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dollhouse.evaluation.probing.activations import eager_attention, record_activations
from dollhouse.evaluation.probing.logit_lens import LogitLens
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import SceneSession
from dollhouse.questions.generate import generate_questions
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.visualize import INK, draw_image, save_figure
from dollhouse.system.atomic_io import write_text
from experiments.paper import paper
from experiments.paper.archive import model_key, short_key
from experiments.paper.bench import Bench
from experiments.paper.drawing import BLUE, plain_axes
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row

DIAGNOSIS_VERSION = 1  #: raise it whenever the same models would be measured otherwise
KEY = "fig4"
WORDS = 3  #: shown of each token
METHOD = (
    "The first room and its first question of the four families. The vocabulary's likeliest words at each thinking "
    "token, with their probabilities: an untrained read-out. Reading changes nothing, so both answers are the same."
)


def jobs(bench: Bench) -> list[Job]:
    return [Job("diagnostic mode", KEY, 2, 4, lambda: _look(bench), lambda: _file(bench).is_file())]


def results(bench: Bench) -> list[Result]:
    if not _file(bench).is_file():
        return []
    told = json.loads(_file(bench).read_text(encoding="utf-8"))
    columns = [Column(f"{place}. word") for place in ("1", "2", "3")]
    rows = [
        Row(f"<think_{number}>", {column.name: f"{word} ({chance:.0%})" for column, (word, chance) in pairs})
        for number, words in enumerate(told["words"], 1)
        if (pairs := list(zip(columns, words, strict=True)))
    ]
    told_answers = f"answer: {told['plain']}; in diagnostic mode: {told['diagnosed']}; by geometry: {told['truth']}"
    sentences = [f"{told['scene']}, “{told['question']}”: {told_answers}."]
    result = Result(KEY, "Fig. 4: diagnostic mode", columns, rows, paper.DIAGNOSIS, sentences, [METHOD])
    if not rows:
        result.left_out = ["the read-out: this student has no thinking tokens"]
    scene = open_scenes(bench.extent.compared)[0]
    result.picture = lambda out: draw_diagnosis(scene, told, out)
    return [result]


def read_out(memory: SceneSession, question: str) -> list[list[tuple[str, float]]]:
    """The likeliest words at each thinking token, with probabilities; [] where the student has none."""
    pipeline = memory.pipeline
    if not pipeline.model.config.thinking_ids:
        return []
    reading = LogitLens(pipeline.processor.tokenizer)
    with eager_attention(pipeline.model):
        reading.add(memory.scene.name, record_activations(memory, question).thinking_logits)
    tokens = reading.result()["examples"][memory.scene.name]
    return [[(word["token"], word["probability"]) for word in words[:WORDS]] for words in tokens]


def draw_diagnosis(scene: Scene, told: dict[str, Any], out: Path) -> None:
    """The photos, the answer, and a bar for each word of each thinking token."""
    tokens = told["words"]
    figure = Figure(figsize=(10.5, 4.4 if tokens else 2.8), dpi=120, layout="constrained")
    question = f"{told['question']}\nwithout diagnostic mode: {told['plain']}     with: {told['diagnosed']}"
    figure.suptitle(f"{question}     by geometry: {told['truth']}", fontsize=10, color=INK)
    halves: Any = figure.subfigures(2 if tokens else 1, 1, squeeze=False)
    photos: Any = halves[0, 0].subplots(1, len(scene.views), squeeze=False)
    for place, view in enumerate(scene.views):
        draw_image(photos[0, place], view.image, f"view {place + 1}")
    if tokens:
        panels: Any = halves[1, 0].subplots(1, len(tokens), squeeze=False)
        for number, (axes, words) in enumerate(zip(panels[0], tokens, strict=True), 1):
            plain_axes(axes, f"<think_{number}>, untrained read-out")
            axes.barh(range(len(words)), [chance for _, chance in words], color=BLUE, height=0.6)
            axes.set_yticks(range(len(words)), [word for word, _ in words])
            axes.set_xlim(0, 1)
            axes.invert_yaxis()
    save_figure(figure, out)


def _look(bench: Bench) -> None:
    pipeline = DollhousePipeline.from_pretrained(bench.student_folder)
    scene = open_scenes(bench.extent.compared)[0]
    asked = next(one for one in generate_questions(scene, limit=bench.extent.questions) if one.family in FAMILIES)
    memory = pipeline.encode_scene(scene)
    plain = memory.ask([asked.text])[0]
    words = read_out(memory, asked.text)
    diagnosed = memory.ask([asked.text])[0]
    told: dict[str, Any] = {"scene": scene.name, "question": asked.text, "truth": asked.answer}
    told |= {"plain": plain, "diagnosed": diagnosed, "words": words}
    _file(bench).parent.mkdir(parents=True, exist_ok=True)
    write_text(_file(bench), json.dumps(told))


def _file(bench: Bench) -> Path:
    settings = [bench.extent.compared, bench.extent.questions]
    code = DIAGNOSIS_VERSION
    return bench.out / "diagnosis" / f"{short_key([model_key(bench.student_folder), settings, code])}.json"
