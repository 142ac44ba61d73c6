"""Generated scenes that several tests evaluate on."""

import random

import pytest

from dollhouse.evaluation.evaluate import evaluate

from .fake_models import QUESTIONS, Oracle, made_scene


@pytest.fixture(scope="session")
def scenes():
    return [made_scene(number) for number in range(10)]


@pytest.fixture(scope="session")
def rooms_run(scenes, tmp_path_factory):
    """A report on three rooms by a guesser, with itself as the blind control."""
    folder = tmp_path_factory.mktemp("rooms")
    scenes = scenes[:3]
    guesser = Oracle(scenes, model_id="guesser@1", guess=random.Random(0))
    evaluate(guesser, scenes, blind=guesser, questions_per_scene=QUESTIONS, out=folder, progress=False, seed=0)
    return folder
