"""Asks a benchmark's questions: the frames and the words of its definition, to any teacher or Dollhouse model.

Knows the protocol of teachers and no single one of them. A scene is opened once and asked all its questions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.evaluation.benchmarks.benchmark import Benchmark, Sample
from dollhouse.questions.generate import Question
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.video import VIDEO_SUFFIXES
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.protocol import Teacher

EVERY_TENTH = 10  #: of a scan's frames, as LLaVA-3D exports them


def ask(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    teacher: Teacher,
    root: Path,
    on_scene: Callable[[str], None] | None = None,
) -> list[str]:
    """The teacher's answer to each sample; its scene, video or picture is looked for in ``root``.

    A teacher that looks at fewer frames than it is given (a setting of its own) makes other figures; its provenance
    tells. Raises SceneError for a scene that is not there or cannot be read, TeacherError where it cannot answer.
    """
    about: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for place, sample in enumerate(samples):
        about.setdefault((sample.scene, sample.media), []).append(place)
    for scene, media in about:  # before hours of work
        path = place_of(root, scene, media)
        if not path.exists():
            raise SceneError(f"{benchmark.name}: no {path}; {benchmark.source.advice()}")
    answers = [""] * len(samples)
    for (scene, media), places in about.items():
        shown = open_shown(benchmark, place_of(root, scene, media))
        asked = [_question(benchmark, samples[place]) for place in places]
        for place, answer in zip(places, teacher.answer(shown, asked), strict=True):
            answers[place] = answer.text
        if on_scene:
            on_scene(scene)
    return answers


def place_of(root: Path, scene: str, media: Sequence[str]) -> Path:
    """Where a scene's folder, video or picture lies. Raises SceneError for a name that leads out of ``root``."""
    path = root / (media[0] if media else scene)
    if not os.path.abspath(path).startswith(os.path.abspath(root) + os.sep):
        raise SceneError(f"{path}: leads out of {root}; the annotations are not to be trusted")
    return path


def open_shown(benchmark: Benchmark, path: Path) -> Scene:
    """A scene with the frames that the benchmark shows of it."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return open_scene(path, frames=benchmark.frames.count)
    scene = open_scene(path)
    tenth = [view for view in scene.views if view.name.isdecimal() and int(view.name) % EVERY_TENTH == 0]
    # Folders that were exported with every tenth frame only are numbered through.
    views = tenth if len(tenth) >= (benchmark.frames.count or 1) else list(scene.views)
    return replace(scene, views=tuple(views[place] for place in benchmark.frames.choose(len(views))))


def _question(benchmark: Benchmark, sample: Sample) -> Question:
    text = benchmark.prompt_of(sample)
    return Question(sample.id, sample.scene, sample.kind, sample.kind, text, sample.answers[0], (), (), None)
