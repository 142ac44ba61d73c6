"""What files of saved scenes and of ScanNet's annotation hold; apart from their readers, which photos need too."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError
from pydantic.alias_generators import to_camel

from dollhouse.errors import SceneError, first_fault

# Lists in JSON, arrays after validation.
Row3 = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3), AfterValidator(np.array)]
Row4 = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]
Matrix3 = Annotated[list[Row3], Field(min_length=3, max_length=3), AfterValidator(np.array)]
Matrix4 = Annotated[list[Row4], Field(min_length=4, max_length=4), AfterValidator(np.array)]
Positive3 = Annotated[
    list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=3, max_length=3), AfterValidator(np.array)
]
SegmentId = Annotated[int, Field(ge=0, lt=2**63)]
Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], content: Any, where: object, kind: str) -> Model:
    """Return the content of a file as a model; SceneError "<where> is not <kind> (...)" where it does not fit."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SceneError(f"{where} is not {kind} ({first_fault(error)})") from error


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BoxEntry(_Strict):
    """The fields of :class:`dollhouse.scenes.scene.Box`, under the same names."""

    id: PositiveInt
    label: str = Field(min_length=1)
    center: Row3
    size: Positive3
    yaw: FiniteFloat
    has_front: bool = False
    colour: str | None = None
    score: FiniteFloat | None = None


class ViewEntry(_Strict):
    """A view of a saved scene; its images are files."""

    name: str
    intrinsics: Matrix3 | None = None
    world_from_camera: Matrix4 | None = None
    depth: bool = False
    depth_intrinsics: Matrix3 | None = None
    instances: bool = False


class SceneEntry(_Strict):
    """``scene.json``."""

    format: Literal["dollhouse scene 1"]
    name: str
    metric: bool = True
    metadata: dict[str, Any] = {}
    views: list[ViewEntry] = Field(min_length=1)
    boxes: list[BoxEntry] | None = None


class _Annotation(BaseModel):
    model_config = ConfigDict(strict=True, alias_generator=to_camel)


class Segments(_Annotation):
    """ScanNet's segments of mesh vertices."""

    seg_indices: list[SegmentId]  #: the segment of each vertex


class Group(_Annotation):
    """ScanNet's object of segments."""

    object_id: int = Field(ge=0)
    label: str = Field(pattern=r"\S")
    segments: list[SegmentId] = Field(min_length=1)


class Aggregation(_Annotation):
    """ScanNet's objects."""

    seg_groups: list[Any]  #: one :class:`Group` an object
