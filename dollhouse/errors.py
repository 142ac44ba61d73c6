"""Exceptions for users: each message says what is wrong, where, and what to do.

The command prints any of them as one line and ends with exit code 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class DollhouseError(Exception):
    """Base of every error that a user can cause and correct."""


class SceneError(DollhouseError):
    """A scene (photos, frames, poses, boxes, a room's name) cannot be read."""


class SeveralScenesError(SceneError):
    """A folder or file is read, but holds several scenes where one is wanted."""


class QuestionError(DollhouseError):
    """A question or a question file cannot be used."""


class RecipeError(DollhouseError):
    """A recipe, or an override given on the command line, is not valid."""


class ModelError(DollhouseError):
    """A model folder or a checkpoint is missing, incomplete or damaged."""


class TeacherError(DollhouseError):
    """A teacher cannot be run, or cannot use this scene."""


class StorageError(DollhouseError):
    """A result could not be written, for instance because the disk is full."""


class AddressError(DollhouseError):
    """A server cannot listen on an address, or be reached by a name."""


class ScoreError(DollhouseError):
    """Answers cannot be scored, or a scorer's package is not installed."""


class MissingPackageError(DollhouseError, ImportError):
    """A package that only an extra installs is missing."""


def missing_package(error: ModuleNotFoundError) -> Exception:
    """Return the error for a package that ``dollhouse[train]`` installs; ``error`` itself for a module of this one."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "dollhouse"):
        return error
    return MissingPackageError(f"this needs {package}, which is not installed: pip install 'dollhouse[train]'")


def first_fault(error: ValidationError) -> str:
    """Describe the first fault of a pydantic ValidationError in one line: "views.0.name: Field required"."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
