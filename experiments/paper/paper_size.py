"""The models that ``paper-size`` times; :mod:`benchmarks.paper_size` builds them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.paper_size import RandomModel, RandomStudent, RandomTeacher, student_config
from dollhouse.models.llava3d.configuration import Llava3DConfig

PAPER_SIZE_MODELS: dict[str, Callable[[], RandomModel]] = {
    "teacher": lambda: RandomTeacher(Llava3DConfig()),
    "student": lambda: RandomStudent(student_config("paper")),
}
