"""The exceptions that users meet: each message says what is wrong, where, and what to do.

Knows nothing of what raises them. The command line turns any of them into one line and exit code 2.
"""


class DollhouseError(Exception):
    """Base of every error that a user can cause and mend."""


class SceneError(DollhouseError):
    """A scene (photos, frames, poses, boxes, a room's name) cannot be read as it stands."""


class QuestionError(DollhouseError):
    """A question or a question file cannot be used."""


class RecipeError(DollhouseError):
    """A recipe, or an override given on the command line, is not valid."""


class ModelError(DollhouseError):
    """A model folder or a checkpoint is missing, incomplete or not to be trusted."""


class TeacherError(DollhouseError):
    """A teacher cannot be run, or cannot look at this scene."""


class StorageError(DollhouseError):
    """A result could not be written, for instance because the disk is full."""


class ScoreError(DollhouseError):
    """Answers cannot be scored as they stand, or a scorer's package is not installed."""
