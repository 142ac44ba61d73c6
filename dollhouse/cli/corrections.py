"""The options of verbs that correct axes, poses and units of scenes on opening."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, get_type_hints

import typer

from dollhouse.errors import SceneError

_option = partial(typer.Option, rich_help_panel="Corrections of a scene that is not what its format says")
#: the fields of Corrections: type, default and option
_OPTIONS: dict[str, tuple[Any, str | float, Any]] = {
    "axes": (Literal["opencv", "opengl"], "opencv", _option(help="Camera axes of the poses.")),
    "poses": (
        Literal["world_from_camera", "camera_from_world"],
        "world_from_camera",
        _option(help="Direction of the poses."),
    ),
    "depth_scale": (float, 1.0, _option(help="Factor on depth, such as 0.001 for millimetres.")),
    "pose_scale": (float, 1.0, _option(help="Factor on camera positions.")),
    "up": (Literal["x", "y", "z", "-x", "-y", "-z"], "z", _option(help="Axis of the scene's world that is up.")),
}


def with_corrections(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace a verb's parameter ``corrections`` by one option for each field of ``Corrections``."""

    def corrected(**values: Any) -> None:
        from dollhouse.scenes.corrections import Corrections

        try:
            corrections = Corrections(**{name: values.pop(name) for name in _OPTIONS})
        except ValueError as error:
            raise SceneError(f"a correction cannot be used: {error}") from error
        verb(**values, corrections=corrections)

    hints = get_type_hints(verb, localns={"Corrections": Any}, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(verb).parameters.items()
        if name != "corrections"
    ]
    for name, (kind, default, option) in _OPTIONS.items():
        annotation: Any = Annotated[kind, option]  # type: ignore[valid-type]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    corrected.__name__, corrected.__doc__ = verb.__name__, verb.__doc__
    corrected.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    corrected.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return corrected
