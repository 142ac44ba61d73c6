"""Random students ramble: here their answers are cut short. Photos are those of the student's own tests."""

from __future__ import annotations

import pytest

from dollhouse.evaluation.probing import ablations
from tests.models.conftest import photos  # noqa: F401

LONGEST = 6  #: tokens


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "MAX_ANSWER_TOKENS", LONGEST)
