"""The job that times teacher and student on the same rooms, or both at the paper's size."""

from __future__ import annotations

from functools import partial

from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import Experiment, Job
from experiments.paper.timing import PAPER_SIZE, time_models


def timing_job(experiment: Experiment, paper_size: bool = False) -> Job | None:
    """Return the job that times teacher and student; None where one of them is not given."""
    timing, scenes, models = experiment.spec.timing, experiment.spec.compared_scenes, experiment.models
    if paper_size:
        random = {name: PAPER_SIZE + name for name in ("teacher", "student")}
        once = timing.model_copy(update={"rooms": 1, "batch": 1, "repeats": 1})
        key = short_key(random, scenes, timing.tokens, keys.TIMING_VERSION)
        build = partial(time_models, random, scenes, once, in_turn=False)
        return Job("timing", key, "timing at the paper's size", 10, 400.0, build)
    if not {"teacher", "student"} <= models.keys():
        return None
    both = {name: str(models[name]) for name in ("teacher", "student")}
    keyed = [experiment.given_key(name) for name in both]
    key = short_key(keyed, scenes, timing.model_dump(), keys.TIMING_VERSION)
    seconds = 20.0 + (2 + 2.5 * timing.repeats) * timing.rooms
    return Job("timing", key, "timing", 2, seconds, partial(time_models, both, scenes, timing))
