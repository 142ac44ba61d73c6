"""Distil a large 3D vision-language teacher into a small student that needs only photos.

The public API is listed in ``__init__.pyi``; each name loads its module on first use, so importing this is quick.
"""

import os

import lazy_loader

__version__ = "0.1.0"

#: ONNX Runtime, which reads it when it is imported, would write an id of the machine and report to its maker
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        from dollhouse.errors import missing_package

        raise missing_package(error) from error
