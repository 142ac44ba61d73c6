"""Made scenes that several tests evaluate on, built once."""

import pytest

from .stand_ins import made_scene


@pytest.fixture(scope="session")
def scenes():
    return [made_scene(number) for number in range(10)]
