"""Teachers and geometry teachers by name, ``NAME`` or ``NAME:WHERE``, with settings given as text.

A teacher's module, and torch with it, is imported only when that teacher is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dollhouse.errors import TeacherError
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.detection import open_function
from dollhouse.teachers.geometry import GeometryTeacher, SensorGeometry, TeacherGeometry
from dollhouse.teachers.label_maps import LabelMapTeacher
from dollhouse.teachers.protocol import Teacher

Texts = Mapping[str, str]  #: settings as the user writes them
Opener = Callable[[str, str, Texts], Any]  #: (kind, where, settings) -> a teacher or geometry teacher
S = TypeVar("S")

TEACHERS = (
    "annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER (or checkpoint alone: the "
    "shipped student), vggt:PATH (features and depth, no answers), file:ANSWERS.jsonl, MODULE:CLASS (a teacher of your "
    "own)"
)
GEOMETRY_TEACHERS = (
    "own (the teacher's), scene (its sensor and annotations), sensor (its depth alone), depth:FOLDER, detect:FOLDER, "
    "vggt:PATH, checkpoint:FOLDER, maps:MODULE:FUNCTION, none"
)


def parse_teacher_args(args: Iterable[str]) -> dict[str, str]:
    """Parse settings written as KEY=VALUE. Raises TeacherError for any other text."""
    settings = {}
    for arg in args:
        key, equals, value = arg.partition("=")
        if not equals:
            raise TeacherError(f"setting {arg!r}: write KEY=VALUE, such as max_new_tokens=64")
        settings[key.strip()] = value
    return settings


def open_teacher(name: str, settings: Texts | None = None) -> Teacher:
    """Open the teacher called ``name`` (:data:`TEACHERS`).

    Raises TeacherError for an unknown name or setting, and what the teacher raises for an unusable model or file.
    """
    kind, _, where = name.partition(":")
    if kind not in _TEACHERS:
        if (build := open_function(name, settings or {}, arguments=0)) is not None:
            own: Teacher = build()
            return own
        raise TeacherError(f"no teacher {name!r}; there are {TEACHERS}")
    teacher: Teacher = _TEACHERS[kind](kind, where, settings or {})
    return teacher


def open_geometry_teachers(
    names: Sequence[str], teacher: Teacher, settings: Texts | None = None
) -> list[GeometryTeacher]:
    """Open geometry teachers by name (:data:`GEOMETRY_TEACHERS`), in order of precedence.

    A setting is named with its teacher, such as ``detect.threshold``. Raises as :func:`open_teacher`.
    """
    by_kind: dict[str, dict[str, str]] = {name.partition(":")[0]: {} for name in names}
    for key, value in (settings or {}).items():
        kind, _, setting = key.partition(".")
        if kind not in by_kind:
            raise TeacherError(f"setting {key}: no geometry teacher of that name is used ({', '.join(by_kind)})")
        by_kind[kind][setting] = value
    opened: list[GeometryTeacher] = []
    openers = _GEOMETRY_TEACHERS | {"own": _constant(lambda: TeacherGeometry(teacher))}
    for name in names:
        kind, _, where = name.partition(":")
        if kind in openers:
            opened.append(openers[kind](kind, where, by_kind[kind]))
        elif kind != "none":
            raise TeacherError(f"no geometry teacher {name!r}; there are {GEOMETRY_TEACHERS}")
    return opened


def read_settings(kind: str, settings: type[S], given: Texts) -> S:
    """Build a settings dataclass from texts. Raises TeacherError naming the setting that is unknown or not valid."""
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            hint = "; keys come from the environment only" if "key" in key.lower() else ""
            raise TeacherError(f"{kind} has no setting {key!r}{hint}; there are {', '.join(known) or 'none'}")
    try:
        return TypeAdapter(settings).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise TeacherError(f"setting {'.'.join(map(str, first['loc']))} of {kind}: {first['msg']}") from error


def _lazy(module: str, build: str, settings: str, needs: str = "") -> Opener:
    """Return an opener that calls ``build(where, settings)`` of a module of this package, imported then.

    ``needs`` states what WHERE must name; "" where it may be left out.
    """

    def open_lazily(kind: str, where: str, given: Texts) -> Any:
        imported = import_module(f"dollhouse.teachers.{module}")
        chosen = read_settings(kind, getattr(imported, settings), given)
        if needs and not where:
            raise TeacherError(f"{kind} needs {needs}: write {kind}:{needs.upper().split()[-1]}")
        return attrgetter(build)(imported)(where or None, chosen)

    return open_lazily


def _constant(build: Callable[[], Any]) -> Opener:
    """Return an opener of a teacher that has no settings."""

    def open_constant(kind: str, where: str, given: Texts) -> Any:
        if given:
            raise TeacherError(f"{kind} has no settings, so {next(iter(given))} cannot be set")
        return build()

    return open_constant


_open_checkpoint = _lazy("dollhouse", "DollhouseTeacher.from_pretrained", "DollhouseTeacherSettings")
_TEACHERS: dict[str, Opener] = {
    "annotations": _constant(AnnotationsTeacher),
    "huggingface": _lazy("huggingface", "HuggingFaceTeacher", "HuggingFaceSettings", "a model folder"),
    "endpoint": _lazy("openai_server", "OpenAITeacher", "OpenAISettings", "a url"),
    "llava3d": _lazy("llava3d", "LLaVA3DTeacher.from_official", "LLaVA3DSettings", "a checkpoint folder"),
    "checkpoint": _open_checkpoint,
    "vggt": _lazy("vggt", "VggtTeacher.from_pretrained", "VggtSettings", "a path"),
    "file": _lazy("file", "FileTeacher", "FileSettings", "a file"),
}
_GEOMETRY_TEACHERS: dict[str, Opener] = {
    "scene": _constant(SensorGeometry),
    "sensor": _constant(lambda: SensorGeometry(boxes=False)),
    "depth": _lazy("vision_pipelines", "DepthEstimationTeacher", "DepthSettings", "a model folder"),
    "detect": _lazy("vision_pipelines", "ObjectDetectionTeacher", "DetectionSettings", "a model folder"),
    "vggt": _lazy("vggt", "VggtDepthTeacher.from_pretrained", "VggtSettings", "a path"),
    "checkpoint": lambda *args: TeacherGeometry(_open_checkpoint(*args), named=True),
    "maps": lambda kind, where, given: LabelMapTeacher.from_name(where, given),
}
