"""Fixtures of the inference tests."""

from tests.models.conftest import photos as photos
