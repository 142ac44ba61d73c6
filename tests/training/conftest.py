"""Fixtures of tests that train."""

from __future__ import annotations

from typing import Any

import pytest

from dollhouse.data import dataset as module
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.tokenization import TokenizedQA
from tests.fixtures.teacher_targets import teacher_answers, with_teacher


@pytest.fixture
def synthetic_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the targets of a synthetic teacher to all samples."""
    targets, tokens = SceneTargetSource.targets, module.tokenize_questions

    def with_top_tokens(tokenizer: Any, config: Any, questions: Any, *rest: Any) -> list[TokenizedQA]:
        objects, finder = rest[:2]
        return tokens(
            tokenizer,
            config,
            questions,
            objects,
            finder,
            teacher_answers(tokenizer, [answer for _, answer in questions]),
        )

    monkeypatch.setattr(SceneTargetSource, "targets", lambda self, *rest: with_teacher(targets(self, *rest)))
    monkeypatch.setattr(module, "tokenize_questions", with_top_tokens)
