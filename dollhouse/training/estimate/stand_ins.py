"""Stand-ins for what a recipe names and this machine lacks, so that its shapes can be checked before any download.

Weights become random, a tokenizer is fitted, and records are made of a synthetic room in the layout of a ScanNet scan:
20 views of 4:3, depth, boxes, answers with top tokens, and features of LLaVA-3D's width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.geometry import back_project, transform_points
from dollhouse.models.dollhouse.special_tokens import END_TOKEN
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.models.generation import GeneratedTokens
from dollhouse.models.llava3d.configuration import Llava3DConfig
from dollhouse.questions.generate import Question
from dollhouse.questions.sources import open_question_source
from dollhouse.records.scene_source import scene_sources
from dollhouse.records.types import SpatialFeatures, TeacherAnswer
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.geometry import SensorGeometry
from dollhouse.teachers.local_model import token_answer
from dollhouse.training.config import Recipe
from dollhouse.training.tokenizer import fit_tokenizer, pretrained_tokenizer

VIEWS = 20  #: of the scan
SIDE = 168  #: pixels of its photos; a quarter is cut off the height
TOP_K = 16
STRIDE = 12  #: pixels between the points with features


@contextmanager
def with_stand_ins(recipe: Recipe, folder: Path | None = None) -> Iterator[Recipe]:
    """Yield ``recipe`` with a stand-in for each path that does not exist, and print a line about each.

    Args:
        folder: keeps stand-ins, of a run that computes: it has no feature cache then, where there is none. None: a
            temporary folder, to check shapes, for which a feature cache need not exist.
    """
    with TemporaryDirectory(prefix="dollhouse-") as temporary:
        if folder is not None and (cache := recipe.data.feature_cache) is not None and not cache.exists():
            _report("data.feature_cache", cache, "the encoder itself")
            recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"feature_cache": None})})
        yield _replace_missing(recipe, folder or Path(temporary))


def _replace_missing(recipe: Recipe, folder: Path) -> Recipe:
    student, data = recipe.student, recipe.data
    weights = ("encoder_weights", "language_weights", "language_from", "tokenizer")
    missing = {name: path for name in weights if (path := getattr(student, name)) is not None and not path.exists()}
    for name, path in missing.items():
        kind = "a tokenizer fitted to a room's questions" if name == "tokenizer" else "random weights"
        _report(f"student.{name}", path, kind)
    recipe = recipe.model_copy(update={"student": student.model_copy(update=dict.fromkeys(missing))})
    sources = {"": data, **data.sources}
    absent = {name: each.records for name, each in sources.items() if each.records and not each.records.exists()}
    for name, path in absent.items():
        _report(f"data.sources.{name}.records" if name else "data.records", path, "records of a synthetic room")
    if not absent and not {"tokenizer", "language_weights"} & set(missing):
        return recipe
    scan = folder / "scans" / "scene0000_00"
    if not scan.exists():
        write_scannet(scan_of_room(), scan)
    scenes = open_scenes(str(scan.parent))
    questions = open_question_source("generated", scenes)
    if (tokenizer := pretrained_tokenizer(recipe)) is None:
        asked = questions(scenes[0])
        tokenizer = fit_tokenizer(recipe, [f" {text}" for each in asked for text in (each.text, each.answer)])
        tokenizer.save_pretrained(folder / "tokenizer")
        recipe = recipe.model_copy(
            update={"student": recipe.student.model_copy(update={"tokenizer": folder / "tokenizer"})}
        )
    if absent:
        teacher, geometry = StandInTeacher(tokenizer), [SensorGeometry()]
        of_scenes = scene_sources(scenes, str(scan.parent))
        annotate_scenes(teacher, scenes, folder / "records", questions=questions, geometry=geometry, sources=of_scenes)
    records: dict[str, Any] = {"records": folder / "records", "scenes": ""}
    replaced = {name: each.model_copy(update=records) if name in absent else each for name, each in sources.items()}
    data = replaced.pop("").model_copy(update={"sources": replaced})
    return recipe.model_copy(update={"data": data})


def _report(setting: str, path: Path, kind: str) -> None:
    print(f"{setting}: {path} is not there; {kind} instead", file=sys.stderr)


def scan_of_room() -> Scene:
    """Return a synthetic room in views of 4:3, the middle of square ones."""
    room = room_scene("train", 0, image_size=SIDE, views=VIEWS)
    cut = SIDE // 8

    def crop(view: View) -> View:
        assert view.intrinsics is not None
        intrinsics = view.intrinsics.copy()
        intrinsics[1, 2] -= cut
        return replace(
            view,
            open_image=lambda: view.image[cut:-cut],
            open_depth=lambda: np.asarray(view.depth)[cut:-cut],
            open_instances=lambda: np.asarray(view.instances)[cut:-cut],
            intrinsics=intrinsics,
        )

    return replace(room, views=tuple(map(crop, room.views)))


class StandInTeacher(AnnotationsTeacher):
    """Return the answers of generated questions with random alternatives to each token, and random features."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.end = int(tokenizer.convert_tokens_to_ids(END_TOKEN))

    def provenance(self) -> dict[str, Any]:
        tokens = {"vocabulary": vocabulary_hash(self.tokenizer), "end_tokens": [self.end]}
        return {"teacher": "stand-in", "weights": "none", "settings": {}, **tokens}

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        rng = np.random.default_rng(0)
        log_probs = np.log(np.r_[0.7, np.full(TOP_K - 1, 0.2 / (TOP_K - 1))]).astype(np.float32)
        ordinary = sorted(set(range(self.tokenizer.vocab_size)) - set(self.tokenizer.all_special_ids))
        answers = []
        for answer in super().answer(scene, questions):
            ids = self.tokenizer(f" {answer.text}{END_TOKEN}", add_special_tokens=False)["input_ids"]
            top = [np.r_[id, rng.choice(ordinary, TOP_K - 1)].astype(np.int32) for id in ids]
            tokens = GeneratedTokens(ids, top, [log_probs] * len(ids))
            answers.append(token_answer(self.tokenizer, tokens, [self.end]))
        return answers

    def features(self, scene: Scene) -> SpatialFeatures:
        points = []
        for view in scene.views:
            assert view.depth is not None
            assert view.world_from_camera is not None
            assert view.intrinsics_of_depth is not None
            seen = back_project(view.depth, view.intrinsics_of_depth)[::STRIDE, ::STRIDE]
            points.append(transform_points(view.world_from_camera, seen[seen[..., 2] > 0]))
        joined = np.concatenate(points)
        features = np.random.default_rng(0).normal(size=(len(joined), Llava3DConfig().vision.hidden_size))
        return SpatialFeatures(features.astype(np.float32), joined)
