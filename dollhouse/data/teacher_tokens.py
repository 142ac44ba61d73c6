"""A teacher's token probabilities in the vocabulary of a student.

Two forms. *Shared*: teacher and student have one base vocabulary, so the teacher's token ids are the student's, but for
the tokens that end an answer. *Aligned*: they do not. The answer is tokenized by the student, and where both tokenizers
split it at the same character, each of the teacher's alternatives gives its probability to the first token that the
student's tokenizer makes of its text. Alternatives with the same first token are summed. With equal tokenizers this is
the shared form; otherwise it is an approximation, since a first token may be shorter or longer than the alternative.

Axes: T answer tokens of the teacher, A of the student, K alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.records.types import TeacherAnswer

TokenForm = Literal["shared", "aligned"]


def token_form(teacher: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TokenForm:
    """Return the form in which a student learns from a teacher with this provenance."""
    return "shared" if teacher.get("vocabulary") == vocabulary_hash(tokenizer) else "aligned"


def student_answer(
    answer: TeacherAnswer, form: TokenForm, ends: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> TeacherAnswer:
    """Return an answer with the student's token ids in the shared form, without token ids in the aligned.

    An answer with a special token of the teacher's, other than its last, has no token ids either.
    """
    if form == "aligned" or answer.token_ids is None:
        return replace(answer, token_ids=None, top_ids=None)
    base, end = tokenizer.vocab_size, int(tokenizer.eos_token_id)
    ids = np.where(np.isin(answer.token_ids, ends), end, answer.token_ids) if ends else answer.token_ids
    if (ids[:-1] == end).any() or any(id >= base and id != end for id in ids):
        return TeacherAnswer(answer.text)
    top_ids, log_probs = answer.top_ids, answer.top_log_probs
    if ends and top_ids is not None and log_probs is not None:
        is_end = np.isin(top_ids, ends)
        usable = is_end | (top_ids < base)  # what lies beyond is special, and another token of the student's
        top_ids = np.where(is_end, end, np.where(usable, top_ids, 0)).astype(np.int32)
        log_probs = np.where(usable, log_probs, -np.inf)
        several = is_end.sum(1) > 1
        for row in np.flatnonzero(several):
            places = np.flatnonzero(is_end[row])
            log_probs[row, places[0]] = np.logaddexp.reduce(log_probs[row, places])
            log_probs[row, places[1:]] = -np.inf
    return TeacherAnswer(answer.text, ids.astype(np.int32), top_ids, log_probs)


def aligned_tokens(
    answer: TeacherAnswer, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Return the teacher's alternatives at each of the student's tokens ``ids`` of the answer, end token included.

    Returns token ids (A, K) and log probabilities (A, K), -inf where there are none; None where no token has any.
    """
    texts, log_probs = answer.top_texts, answer.top_log_probs
    if not texts or log_probs is None:
        return None
    end, width = int(tokenizer.eos_token_id), len(texts[0])
    starts: dict[str, int] = {}  # the text before each of the teacher's tokens -> its position
    before = ""
    for position, row in enumerate(texts):
        starts.setdefault(_spaced(before), position)
        before += row[0] or ""
    top_ids = np.zeros((len(ids), width), dtype=np.int32)
    top = np.full((len(ids), width), -np.inf, dtype=np.float32)
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    prefixes = tokenizer.batch_decode([list(ids[:number]) for number in range(len(ids))], **options)
    prefixes = [_spaced(prefix) for prefix in prefixes]
    for number, prefix in enumerate(prefixes):
        where = starts.get(prefix) if number == 0 or prefix != prefixes[number - 1] else None
        if where is None or (texts[where][0] is None) != (ids[number] == end) or texts[where][0] == "":
            continue
        sums: dict[int, float] = {}
        first = _first_tokens(texts[where], prefix, tokenizer, end)
        first[0] = int(ids[number])  # the chosen one goes on as the answer does
        for id, value in zip(first, log_probs[where].tolist(), strict=True):
            if id is not None and np.isfinite(value):
                sums[id] = float(np.logaddexp(sums.get(id, -np.inf), value))
        top_ids[number, : len(sums)], top[number, : len(sums)] = list(sums), list(sums.values())
    return (top_ids, top) if np.isfinite(top).any() else None


def _first_tokens(
    texts: Sequence[str | None], prefix: str, tokenizer: PreTrainedTokenizerBase, end: int
) -> list[int | None]:
    """Return the first token that the student's tokenizer makes of each alternative; None where it makes none."""
    pieces = [(text or "").lower() if prefix else _spaced(text or "") for text in texts]
    encoded = tokenizer(pieces, add_special_tokens=False)["input_ids"]
    return [
        end if text is None else (row[0] if text.strip() and row else None)
        for text, row in zip(texts, encoded, strict=True)
    ]


def _spaced(text: str) -> str:
    """Return a beginning of an answer as the student's text has it: lower case, after one space."""
    return f" {text.lstrip().lower()}" if text else ""
