"""Special tokens, and the layout of the sequence with thinking tokens (Hidden CoT).

A thinking token is a vocabulary row that the processor inserts and that is never generated (paper, section II):

- ``before_question``: ``[V][T1..TK][Q][A]``, the paper's placement. Under causal attention the tokens do not attend
  to the question, so their keys and values are computed once per scene.
- ``after_question``: ``[V][Q][T1..TK][A]``. They attend to the question.
"""

from __future__ import annotations

from dollhouse.runtime.prompt import ANSWER_TOKEN as ANSWER_TOKEN
from dollhouse.runtime.prompt import question_text as question_text
from dollhouse.runtime.prompt import thinking_tokens as thinking_tokens

SCENE_TOKEN = "<scene>"  # placeholder of one token of the visual prefix
PAD_TOKEN = "<pad>"
END_TOKEN = "<end>"
PLACEMENTS = ("before_question", "after_question")


def is_thinking_token(token: str) -> bool:
    """Return whether ``token`` is the name of a thinking token."""
    return token.startswith("<think_") and token.endswith(">")


def special_tokens(thinking: int) -> list[str]:
    """Return all special tokens in the order of their ids."""
    return [PAD_TOKEN, END_TOKEN, SCENE_TOKEN, ANSWER_TOKEN, *thinking_tokens(thinking)]


def scene_text(prefix_length: int, thinking: int, placement: str) -> str:
    """Return the scene's part of a prompt."""
    thinking_text = thinking_tokens(thinking) if placement == "before_question" else []
    return "".join([SCENE_TOKEN] * prefix_length + thinking_text)
