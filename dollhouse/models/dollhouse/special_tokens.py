"""Hidden CoT: the thinking tokens, and where they stand in the sequence.

A thinking token is a row of the vocabulary that the processor inserts and nobody ever reads or samples
(paper, section II). Two placements:

- ``before_question``: ``[V][T1..TK][Q][A]``, the paper's. Under causal attention the tokens cannot see the
  question, so their keys and values belong to the scene and cost nothing per question.
- ``after_question``: ``[V][Q][T1..TK][A]``. They can see what is asked.

Knows nothing of models; it only lays out text and ids.
"""

from __future__ import annotations

SCENE_TOKEN = "<scene>"  # one stands for each token of the visual prefix
ANSWER_TOKEN = "<answer>"  # ends the question, begins the answer
PAD_TOKEN = "<pad>"
END_TOKEN = "<end>"
PLACEMENTS = ("before_question", "after_question")


def thinking_tokens(count: int) -> list[str]:
    """The names of ``count`` thinking tokens: <think_1>, <think_2>, ..."""
    return [f"<think_{number}>" for number in range(1, count + 1)]


def is_thinking_token(token: str) -> bool:
    """Whether ``token`` is one of :func:`thinking_tokens`, however many there are."""
    return token.startswith("<think_") and token.endswith(">")


def special_tokens(thinking: int) -> list[str]:
    """Every token that stands outside ordinary text, in the order of their ids."""
    return [PAD_TOKEN, END_TOKEN, SCENE_TOKEN, ANSWER_TOKEN, *thinking_tokens(thinking)]


def scene_text(prefix_length: int, thinking: int, placement: str) -> str:
    """The part of a prompt that belongs to the scene."""
    thoughts = thinking_tokens(thinking) if placement == "before_question" else []
    return "".join([SCENE_TOKEN] * prefix_length + thoughts)


def question_text(question: str, thinking: int, placement: str) -> str:
    """The part of a prompt that belongs to one question; the answer follows it."""
    thoughts = thinking_tokens(thinking) if placement == "after_question" else []
    return "".join([" ", question.strip().lower(), *thoughts, ANSWER_TOKEN])
