"""Fixtures shared by the scene tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real sample scenes; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the sample scenes are not beside the repository")
    return SHARED_DATA
