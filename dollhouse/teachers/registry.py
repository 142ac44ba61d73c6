"""One door for every teacher: finds who ``NAME`` or ``NAME:WHERE`` is, and gives them their settings.

Knows the names; a teacher's module (and torch with it) is imported when that teacher is called for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from dollhouse.errors import TeacherError
from dollhouse.teachers.geometry import GeometryTeacher, SensorGeometry, TeacherGeometry
from dollhouse.teachers.protocol import Teacher

Texts = Mapping[str, str]  #: settings as a user writes them
S = TypeVar("S")

TEACHERS = (
    "annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER (or checkpoint alone: the "
    "shipped student), file:ANSWERS.jsonl"
)
GEOMETRIES = (
    "own (the teacher's), scene (its sensor and annotations), sensor (its depth alone), depth:FOLDER, detect:FOLDER, "
    "vggt:PATH, checkpoint:FOLDER, none"
)


def open_teacher(name: str, settings: Texts | None = None) -> Teacher:
    """The teacher that ``name`` means (``TEACHERS``). Raises TeacherError for no such teacher or setting, and what the
    teacher itself raises where its model or file cannot be used.
    """
    kind, where = _split(name)
    if kind not in _TEACHERS:
        raise TeacherError(f"no teacher {name!r}; there are {TEACHERS}")
    return _TEACHERS[kind](where, settings or {})


def open_geometry_teachers(
    names: Sequence[str], teacher: Teacher, settings: Texts | None = None
) -> list[GeometryTeacher]:
    """The geometry teachers that ``names`` mean (``GEOMETRIES``), in the order in which they are asked.

    Settings are named with their teacher: ``detect.threshold``. Raises as :func:`open_teacher`.
    """
    given = dict(settings or {})
    kinds = [_split(name)[0] for name in names]
    for key in given:
        if key.partition(".")[0] not in kinds:
            raise TeacherError(f"setting {key}: no geometry teacher of that name was asked for ({', '.join(kinds)})")
    opened: list[GeometryTeacher] = []
    for name in names:
        kind, where = _split(name)
        own = {key.partition(".")[2]: value for key, value in given.items() if key.partition(".")[0] == kind}
        if kind == "own":
            _settle_none(kind, own)
            opened.append(TeacherGeometry(teacher))
        elif kind in _GEOMETRIES:
            opened.append(_GEOMETRIES[kind](where, own))
        elif kind != "none":
            raise TeacherError(f"no geometry teacher {name!r}; there are {GEOMETRIES}")
    return opened


def read_settings(kind: str, settings: type[S], given: Texts) -> S:
    """Settings of a dataclass from texts. Raises TeacherError naming the one that is unknown or does not fit."""
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


def _split(name: str) -> tuple[str, str]:
    kind, _, where = name.partition(":")
    return kind, where


def _settle_none(kind: str, given: Texts) -> None:
    if given:
        raise TeacherError(f"{kind} has no settings, so {next(iter(given))} cannot be set")


def _needed(kind: str, where: str, what: str) -> str:
    if not where:
        raise TeacherError(f"{kind} needs {what}: write {kind}:{what.upper().split()[-1]}")
    return where


def _annotations(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.annotations import AnnotationsTeacher

    _settle_none("annotations", given)
    return AnnotationsTeacher()


def _huggingface(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.huggingface import HuggingFaceSettings, HuggingFaceTeacher

    settings = read_settings("huggingface", HuggingFaceSettings, given)
    return HuggingFaceTeacher(_needed("huggingface", where, "a model folder"), settings)


def _endpoint(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.openai_server import OpenAISettings, OpenAITeacher

    return OpenAITeacher(_needed("endpoint", where, "a url"), read_settings("endpoint", OpenAISettings, given))


def _llava3d(where: str, given: Texts) -> Teacher:
    import torch

    from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher

    loading = {"dtype": "bfloat16", "official_faults": "false", "clip_folder": ""}
    chosen = loading | {key: value for key, value in given.items() if key in loading}
    dtypes = TypeAdapter(Literal["bfloat16", "float16", "float32", "float64"])
    try:
        dtype = dtypes.validate_python(chosen["dtype"])
        faults = TypeAdapter(bool).validate_python(chosen["official_faults"])
    except ValidationError as error:
        raise TeacherError(f"dtype or official_faults of llava3d: {error.errors()[0]['msg']}") from error
    return LLaVA3DTeacher.from_official(
        _needed("llava3d", where, "a checkpoint folder"),
        settings=read_settings("llava3d", LLaVA3DSettings, {key: given[key] for key in given if key not in loading}),
        dtype=getattr(torch, dtype),
        official_faults=faults,
        clip_folder=chosen["clip_folder"] or None,
    )


def _checkpoint(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.dollhouse import DollhouseTeacher, DollhouseTeacherSettings

    return DollhouseTeacher.from_pretrained(where or None, read_settings("checkpoint", DollhouseTeacherSettings, given))


def _file(where: str, given: Texts) -> Teacher:
    from dollhouse.teachers.file import FileSettings, FileTeacher

    return FileTeacher(Path(_needed("file", where, "a file")), read_settings("file", FileSettings, given))


def _scene(where: str, given: Texts) -> GeometryTeacher:
    _settle_none("scene", given)
    return SensorGeometry()


def _sensor(where: str, given: Texts) -> GeometryTeacher:
    _settle_none("sensor", given)
    return SensorGeometry(boxes=False)


def _depth(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.pipelines import DepthPipeline, DepthSettings

    return DepthPipeline(_needed("depth", where, "a model folder"), read_settings("depth", DepthSettings, given))


def _detect(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.pipelines import DetectionPipeline, DetectionSettings

    settings = read_settings("detect", DetectionSettings, given)
    return DetectionPipeline(_needed("detect", where, "a model folder"), settings)


def _vggt(where: str, given: Texts) -> GeometryTeacher:
    from dollhouse.teachers.vggt import VggtDepth, VggtSettings

    return VggtDepth.open(_needed("vggt", where, "a path"), read_settings("vggt", VggtSettings, given))


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
_GEOMETRIES: dict[str, Callable[[str, Texts], GeometryTeacher]] = {
    "scene": _scene,
    "sensor": _sensor,
    "depth": _depth,
    "detect": _detect,
    "vggt": _vggt,
    "checkpoint": _checkpoint_geometry,
}
