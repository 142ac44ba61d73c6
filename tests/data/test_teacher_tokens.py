"""A teacher's token probabilities in a student's vocabulary: shared, or aligned by the text of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dollhouse.data.teacher_tokens import aligned_tokens, student_answer, token_form
from dollhouse.data.tokenization import pack_questions, tokenize_questions
from dollhouse.models.dollhouse.serialization import SHIPPED, load_student
from dollhouse.models.dollhouse.special_tokens import END_TOKEN, PAD_TOKEN, special_tokens
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.models.generation import GeneratedTokens
from dollhouse.records.types import TeacherAnswer
from dollhouse.teachers.local_model import token_answer
from dollhouse.training.losses.text import text_kl
from tests.teachers.tiny_models import tiny_tokenizer


def student_of(tokenizer: Any) -> Any:
    """Add a student's tokens, as where its language model is pretrained."""
    tokenizer.add_special_tokens({"additional_special_tokens": special_tokens(4)})
    tokenizer.pad_token, tokenizer.eos_token = PAD_TOKEN, END_TOKEN
    return tokenizer


def generated(tokenizer: Any, text: str, end: int, vocabulary: int, top_k: int) -> tuple[TeacherAnswer, torch.Tensor]:
    """An answer with random distributions whose likeliest tokens are those of ``text``, and the log probabilities."""
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(len(ids), vocabulary)))
    capitals = [id for id in range(vocabulary) if tokenizer.decode([id]) != tokenizer.decode([id]).lower()]
    logits[:, capitals] = -50.0  # a student's answers have none
    logits[range(len(ids)), ids] = logits.max(1).values + 1
    log_probs = logits.log_softmax(1)
    top, top_ids = log_probs.topk(top_k)
    tokens = GeneratedTokens(ids, list(top_ids.int().numpy()), list(top.float().numpy()))
    return token_answer(tokenizer, tokens, [end]), log_probs


def test_identity_is_that_of_the_base_vocabulary() -> None:
    teacher, student = tiny_tokenizer(), student_of(tiny_tokenizer())
    assert len(student) > len(teacher)
    assert vocabulary_hash(teacher) == vocabulary_hash(student)
    assert token_form({"vocabulary": vocabulary_hash(teacher)}, student) == "shared"
    _, processor, _ = load_student(None)
    assert vocabulary_hash(processor.tokenizer) != vocabulary_hash(student)
    assert token_form({}, student) == "aligned"


def test_identity_of_the_shipped_student_is_pinned() -> None:
    """It is part of the ids of its records."""
    _, processor, _ = load_student(None)
    assert vocabulary_hash(processor.tokenizer) == "7f2e60d8c8b6"


def test_shared_tokens_end_as_the_students_do() -> None:
    teacher, student = tiny_tokenizer(), student_of(tiny_tokenizer())
    end, image = teacher.eos_token_id, teacher.convert_tokens_to_ids("<image>")
    answer, log_probs = generated(teacher, "a chair", end, len(teacher), len(teacher))
    shared = student_answer(answer, "shared", [end], student)
    assert shared.token_ids is not None
    assert shared.top_ids is not None
    assert shared.top_log_probs is not None
    assert shared.token_ids.tolist() == [*answer.token_ids.tolist()[:-1], student.eos_token_id]
    assert image not in shared.top_ids, "another token of the student has this id"
    # with the whole vocabulary the divergence is exact: zero for a student with the teacher's probabilities
    logits = torch.full((len(log_probs), len(student)), -1e4)
    logits[:, : student.vocab_size] = log_probs[:, : student.vocab_size].float()
    logits[:, student.eos_token_id] = log_probs[:, end].float()
    special = [teacher.bos_token_id, teacher.pad_token_id, image]
    logits[:, student.vocab_size + 1] = log_probs[:, special].logsumexp(1).float()  # the rest is one outcome
    lengths = torch.full((len(log_probs),), float(len(log_probs)))
    arguments = torch.from_numpy(shared.top_ids).long(), torch.from_numpy(shared.top_log_probs), lengths, 1.0
    assert abs(float(text_kl(logits, *arguments))) < 1e-5
    assert float(text_kl(logits.roll(1, 0), *arguments)) > 0.1


def test_several_end_tokens_are_one_outcome() -> None:
    student = student_of(tiny_tokenizer())
    log_probs = np.log(np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], dtype=np.float32))
    ids = np.array([5, 258], dtype=np.int32)
    answer = TeacherAnswer("x", ids, np.array([[5, 258, 300], [258, 259, 7]], dtype=np.int32), log_probs)
    shared = student_answer(answer, "shared", [258, 259, 300], student)
    end = student.eos_token_id
    assert shared.token_ids.tolist() == [5, end]
    assert shared.top_ids.tolist() == [[5, end, end], [end, end, 7]]
    np.testing.assert_allclose(np.exp(shared.top_log_probs), [[0.5, 0.5, 0], [0.9, 0, 0.1]], atol=1e-6)
    inside = TeacherAnswer("x", np.array([258, 5], dtype=np.int32), answer.top_ids, log_probs)
    assert student_answer(inside, "shared", [258], student).token_ids is None


def rows(answer: TeacherAnswer, tokenizer: Any, text: str) -> tuple[list[int], list[dict[int, float]]]:
    ids = tokenizer(f" {text}{END_TOKEN}", add_special_tokens=False)["input_ids"]
    aligned = aligned_tokens(answer, ids, tokenizer)
    assert aligned is not None
    return ids, [
        {int(id): float(value) for id, value in zip(*row, strict=True) if np.isfinite(value)}
        for row in zip(*aligned, strict=True)
    ]


def text_answer(*positions: Sequence[tuple[str | None, float]]) -> TeacherAnswer:
    """An answer by the texts and probabilities of its alternatives."""
    texts = [[text for text, _ in row] for row in positions]
    log_probs = np.log(np.array([[value for _, value in row] for row in positions], dtype=np.float32))
    return TeacherAnswer("".join(row[0] or "" for row in texts), None, None, log_probs, texts)


def test_alternatives_are_aligned_by_their_text() -> None:
    """The teacher splits "A chair" into three tokens; the student has words."""
    _, processor, _ = load_student(None)
    tokenizer = processor.tokenizer

    def id_of(word: str) -> int:
        (id,) = tokenizer(word, add_special_tokens=False)["input_ids"]
        return id

    answer = text_answer(
        [("A", 0.7), ("The", 0.2), ("", 0.05)],
        [(" ch", 0.6), (" table", 0.3), (" Table", 0.1)],
        [("air", 0.8), ("est", 0.1), (None, 0.1)],
        [(None, 0.9), (" .", 0.05), (" and", 0.05)],
    )
    ids, got = rows(answer, tokenizer, "a chair")
    assert ids == [id_of(" a"), id_of(" chair"), tokenizer.eos_token_id]
    assert got[0] == pytest.approx({id_of(" a"): np.log(0.7), id_of(" the"): np.log(0.2)}, abs=1e-5)
    assert got[1] == pytest.approx({id_of(" chair"): np.log(0.6), id_of(" table"): np.log(0.4)}, abs=1e-5)
    assert got[2][tokenizer.eos_token_id] == pytest.approx(np.log(0.9), abs=1e-5)


def test_aligned_form_is_the_shared_one_where_tokenizers_are_equal() -> None:
    teacher, student = tiny_tokenizer(), student_of(tiny_tokenizer())
    end = teacher.eos_token_id
    answer, _ = generated(teacher, " a chair", end, teacher.vocab_size + 2, 12)
    shared = student_answer(answer, "shared", [end], student)
    ids, got = rows(student_answer(answer, "aligned", [end], student), student, "a chair")
    assert ids == shared.token_ids.tolist()
    same = 0
    for number, row in enumerate(got):
        for id, value in zip(shared.top_ids[number].tolist(), shared.top_log_probs[number].tolist(), strict=True):
            if id in row and number:
                same += 1
                assert row[id] == pytest.approx(value, abs=1e-5)
    assert same >= len(ids) - 1


def test_positions_inside_a_teachers_token_have_no_target() -> None:
    student = student_of(tiny_tokenizer())  # letters
    answer = text_answer([("chair", 0.9), ("chest", 0.1)], [(None, 1.0), ("s", 1e-9)])
    ids, got = rows(answer, student, "chair")
    assert len(ids) == 7  # space, letters, end
    assert [bool(row) for row in got[2:]] == [False, False, False, False, True]
    assert got[0] == pytest.approx({ids[0]: 0.0}, abs=1e-5), "both alternatives begin with a space"


def test_batches_have_aligned_targets() -> None:
    model, processor, _ = load_student(SHIPPED)
    answer = text_answer([("A", 0.7), ("The", 0.3)], [(" chair", 0.6), (" table", 0.4)], [(None, 0.9), ("s", 0.1)])
    questions = [("what is this?", "A chair"), ("where?", "here")]
    tokenized = tokenize_questions(
        processor.tokenizer, model.config, questions, teacher_answers=[answer, TeacherAnswer("here")]
    )
    (top,) = pack_questions([tokenized], 0, 1).top_tokens
    assert top is not None
    known = torch.isfinite(top.log_probs).any(-1).tolist()
    assert sum(known) == 3
    assert known in (sorted(known), sorted(known, reverse=True)), "those of the first question, and all of them"
    assert (top.log_probs.exp().sum(-1) <= 1.0001).all()
