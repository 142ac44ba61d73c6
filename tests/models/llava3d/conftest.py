"""Fixtures of the LLaVA-3D tests."""

from tests.models.llava3d.tiny_llava3d import checkpoint  # noqa: F401
