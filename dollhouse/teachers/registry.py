"""Teachers and geometry teachers by name, ``NAME`` or ``NAME:WHERE``, with settings given as text.

A teacher's module, and torch with it, is imported only when that teacher is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from dollhouse.errors import TeacherError
from dollhouse.teachers.geometry import GeometryTeacher, SensorGeometry, TeacherGeometry
from dollhouse.teachers.protocol import Teacher

Texts = Mapping[str, str]  #: settings as the user writes them
S = TypeVar("S")

TEACHERS = (
    "annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER (or checkpoint alone: the "
    "shipped student), file:ANSWERS.jsonl"
)
GEOMETRY_TEACHERS = (
    "own (the teacher's), scene (its sensor and annotations), sensor (its depth alone), depth:FOLDER, detect:FOLDER, "
    "vggt:PATH, checkpoint:FOLDER, none"
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
        raise TeacherError(f"no teacher {name!r}; there are {TEACHERS}")
    return _TEACHERS[kind](where, settings or {})


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
    for name in names:
        kind, _, where = name.partition(":")
        if kind == "own":
            _no_settings(kind, by_kind[kind])
            opened.append(TeacherGeometry(teacher))
        elif kind in _GEOMETRY_TEACHERS:
            opened.append(_GEOMETRY_TEACHERS[kind](where, by_kind[kind]))
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


def _no_settings(kind: str, given: Texts) -> None:
    if given:
        raise TeacherError(f"{kind} has no settings, so {next(iter(given))} cannot be set")


def _required(kind: str, where: str, what: str) -> str:
    if not where:
        raise TeacherError(f"{kind} needs {what}: write {kind}:{what.upper().split()[-1]}")
    return where


def _annotations(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.annotations import AnnotationsTeacher

    _no_settings("annotations", given)
    return AnnotationsTeacher()


def _huggingface(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.huggingface import HuggingFaceSettings, HuggingFaceTeacher

    settings = read_settings("huggingface", HuggingFaceSettings, given)
    return HuggingFaceTeacher(_required("huggingface", where, "a model folder"), settings)


def _endpoint(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.openai_server import OpenAISettings, OpenAITeacher

    return OpenAITeacher(_required("endpoint", where, "a url"), read_settings("endpoint", OpenAISettings, given))


@dataclass(frozen=True)
class _LLaVA3DLoading:
    """Settings of :meth:`LLaVA3DTeacher.from_official`."""

    dtype: Literal["bfloat16", "float16", "float32", "float64"] = "bfloat16"
    official_faults: bool = False
    clip_folder: str = ""


def _llava3d(where: str, given: Texts) -> Teacher:
    import torch

    from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher

    names = {field.name for field in fields(_LLaVA3DLoading)}
    loading = read_settings("llava3d", _LLaVA3DLoading, {key: given[key] for key in given if key in names})
    return LLaVA3DTeacher.from_official(
        _required("llava3d", where, "a checkpoint folder"),
        settings=read_settings("llava3d", LLaVA3DSettings, {key: given[key] for key in given if key not in names}),
        dtype=getattr(torch, loading.dtype),
        official_faults=loading.official_faults,
        clip_folder=loading.clip_folder or None,
    )


def _checkpoint(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.dollhouse import DollhouseTeacher, DollhouseTeacherSettings

    return DollhouseTeacher.from_pretrained(where or None, read_settings("checkpoint", DollhouseTeacherSettings, given))


def _file(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.file import FileSettings, FileTeacher

    return FileTeacher(Path(_required("file", where, "a file")), read_settings("file", FileSettings, given))


def _scene(where: str, given: Texts) -> GeometryTeacher:
    _no_settings("scene", given)
    return SensorGeometry()


def _sensor(where: str, given: Texts) -> GeometryTeacher:
    _no_settings("sensor", given)
    return SensorGeometry(boxes=False)


def _depth(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.depth_estimation import DepthEstimationTeacher, DepthSettings

    settings = read_settings("depth", DepthSettings, given)
    return DepthEstimationTeacher(_required("depth", where, "a model folder"), settings)


def _detect(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.object_detection import DetectionSettings, ObjectDetectionTeacher

    settings = read_settings("detect", DetectionSettings, given)
    return ObjectDetectionTeacher(_required("detect", where, "a model folder"), settings)


def _vggt(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.vggt import VggtDepthTeacher, VggtSettings

    return VggtDepthTeacher.from_pretrained(
        _required("vggt", where, "a path"), read_settings("vggt", VggtSettings, given)
    )


def _checkpoint_geometry(where: str, given: Texts) -> GeometryTeacher:
    return TeacherGeometry(_checkpoint(where, given), named=True)


_TEACHERS: dict[str, Callable[[str, Texts], Teacher]] = {
    "annotations": _annotations,
    "huggingface": _huggingface,
    "endpoint": _endpoint,
    "llava3d": _llava3d,
    "checkpoint": _checkpoint,
    "file": _file,
}
_GEOMETRY_TEACHERS: dict[str, Callable[[str, Texts], GeometryTeacher]] = {
    "scene": _scene,
    "sensor": _sensor,
    "depth": _depth,
    "detect": _detect,
    "vggt": _vggt,
    "checkpoint": _checkpoint_geometry,
}
