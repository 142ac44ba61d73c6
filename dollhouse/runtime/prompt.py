"""The question's part of a prompt, see :mod:`dollhouse.models.dollhouse.special_tokens`."""

from __future__ import annotations

from collections.abc import Sequence

MAX_TOKENIZER = 1 << 26  #: bytes of tokenizer.json; large vocabularies have 35 MB
ANSWER_TOKEN = "<answer>"  # ends the question, begins the answer


def thinking_tokens(count: int) -> list[str]:
    """Return the names of ``count`` thinking tokens: <think_1>, <think_2>, ..."""
    return [f"<think_{number}>" for number in range(1, count + 1)]


def question_text(question: str, thinking: int, placement: str, chat_format: Sequence[str] | None = None) -> str:
    """Return the question's part of a prompt; the answer follows it.

    ``chat_format``: texts of a chat template before and after the question.
    """
    thinking_text = thinking_tokens(thinking) if placement == "after_question" else []
    before, after = chat_format or (" ", "")
    return "".join([before, question.strip().lower(), after, *thinking_text, ANSWER_TOKEN])
