"""Random students ramble: here their answers are cut short. Photos are those of the student's own tests."""

from __future__ import annotations

import pytest

from dollhouse.evaluation.probing import ablations as controls
from tests.models.conftest import photos  # noqa: F401

LONGEST = 6  #: tokens


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "LONGEST_ANSWER", LONGEST)
