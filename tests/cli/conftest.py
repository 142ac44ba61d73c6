"""The shipped student is loaded once for all tests of the command."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from dollhouse.inference.pipeline import DollhousePipeline

_load = DollhousePipeline.from_pretrained
_load_shipped = cache(_load)


@pytest.fixture(autouse=True)
def _one_shipped_student(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: Any = None, **settings: Any) -> DollhousePipeline:
        return (_load_shipped if model in (None, "nano") else _load)(model, **settings)

    monkeypatch.setattr(DollhousePipeline, "from_pretrained", load)
