"""Tokenized questions and answers, packed into chunks of similar length.

Axes: R questions of a chunk, T text, K mentions or top tokens, A answer tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dollhouse.data.object_mentions import Mention, MentionFinder
from dollhouse.data.targets import ObjectTargets
from dollhouse.data.teacher_tokens import aligned_tokens
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.special_tokens import END_TOKEN, question_text
from dollhouse.models.tensors import IGNORE, Tensors
from dollhouse.questions.written_steps import write_steps
from dollhouse.records.types import TeacherAnswer


@dataclass
class ReferredObjects(Tensors):
    """Objects that the questions of a chunk name."""

    names: Tensor  #: (K, 4): row in the chunk, the name's last token, true object, view named before (-1 none)
    pairs: Tensor  #: (K, 6) of questions that name several: row, the question's last token, view, three objects (-1)


@dataclass
class SparseTeacherLogits(Tensors):
    """The teacher's most likely tokens at every answer token of a chunk, row by row.

    The order is that of ``labels[labels != IGNORE]``. Log-probabilities are -inf where the teacher returned none, and
    as padding where fewer than K are known.
    """

    ids: Tensor  #: (A, K)
    log_probs: Tensor  #: (A, K) natural logarithms

    @staticmethod
    def join(chunks: Sequence[SparseTeacherLogits | None], counts: Sequence[int]) -> SparseTeacherLogits | None:
        """Concatenate chunks of ``counts`` answer tokens; None where all chunks are None."""
        known = [chunk for chunk in chunks if chunk is not None]
        if not known:
            return None
        width, device = max(chunk.ids.shape[1] for chunk in known), known[0].ids.device
        ids = torch.zeros(sum(counts), width, dtype=torch.long, device=device)
        log_probs = torch.full((sum(counts), width), -torch.inf, device=device)
        start = 0
        for chunk, count in zip(chunks, counts, strict=True):
            if chunk is not None:
                top_k = chunk.ids.shape[1]
                ids[start : start + count, :top_k] = chunk.ids
                log_probs[start : start + count, :top_k] = chunk.log_probs
            start += count
        return SparseTeacherLogits(ids, log_probs)


class TokenizedQA(NamedTuple):
    """A tokenized question with its answer."""

    ids: list[int]
    start: int  #: number of tokens before the answer
    mentions: tuple[Mention, ...] = ()
    top_ids: NDArray[np.int32] | None = None  #: (answer tokens, K) the teacher's most likely tokens at each
    top_log_probs: NDArray[np.float32] | None = None  #: (answer tokens, K) natural logarithms


@dataclass
class PackedQuestions:
    """The questions of a batch of scenes, in chunks of similar length."""

    ids: list[Tensor] = field(default_factory=list)  #: (R, T) each
    labels: list[Tensor] = field(default_factory=list)  #: (R, T) each, IGNORE outside the answer
    scene: list[Tensor] = field(default_factory=list)  #: (R,) each, row of the question's scene
    mentions: list[ReferredObjects] = field(default_factory=list)
    top_tokens: list[SparseTeacherLogits | None] = field(default_factory=list)


def tokenize_questions(
    tokenizer: PreTrainedTokenizerBase,
    config: DollhouseConfig,
    questions: Sequence[tuple[str, str]],
    objects: ObjectTargets | None = None,
    finder: MentionFinder | None = None,
    teacher_answers: Sequence[TeacherAnswer | None] | None = None,
    written_steps: bool = False,
) -> list[TokenizedQA]:
    """Tokenize questions with answers, and find the mentions of ``objects``.

    Args:
        finder: finds the mentions; None: no mentions.
        teacher_answers: one per question. Where an answer has token ids, which are the tokenizer's, these replace the
            ids of its text, and the teacher's most likely tokens are added; otherwise these are aligned by their text.
        written_steps: write the objects mentioned before each answer (:mod:`~dollhouse.questions.written_steps`).
    """
    count, placement = config.num_thinking_tokens, config.thinking_placement
    prompts = [question_text(question, count, placement, config.chat_format) for question, _ in questions]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
    found = [finder.find(ids, objects) if finder is not None and objects is not None else () for ids in prompt_ids]
    texts = [answer.strip().lower() for _, answer in questions]
    if written_steps and objects is not None:
        named = [[mention.object for mention in mentions] for mentions in found]
        steps = [[(config.labels[objects.label[row]], objects.center[row]) for row in rows] for rows in named]
        texts = [write_steps(*pair) for pair in zip(steps, texts, strict=True)]
    answers = [" " + text + END_TOKEN for text in texts]
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"] if answers else []
    rows = []
    known = teacher_answers or [None] * len(questions)
    for prompt, answer, teacher, mentions in zip(prompt_ids, answer_ids, known, found, strict=True):
        if teacher is None or teacher.token_ids is None:
            top = (teacher and aligned_tokens(teacher, answer, tokenizer)) or ()
            rows.append(TokenizedQA(list(prompt) + list(answer), len(prompt), mentions, *top))
        else:
            ids = list(prompt) + teacher.token_ids.tolist()
            rows.append(TokenizedQA(ids, len(prompt), mentions, teacher.top_ids, teacher.top_log_probs))
    return rows


def pack_questions(questions: Sequence[Sequence[TokenizedQA]], pad: int, chunks: int) -> PackedQuestions:
    """Pack the questions of all scenes by length into at most ``chunks`` chunks with the least padding."""
    rows = [(row, scene) for scene, of_scene in enumerate(questions) for row in of_scene]
    rows.sort(key=lambda row: len(row[0].ids))
    packed = PackedQuestions()
    if not rows:
        return packed
    for low, high in pairwise(chunk_bounds([len(row.ids) for row, _ in rows], chunks)):
        chunk = [row for row, _ in rows[low:high]]
        ids = torch.full((len(chunk), len(chunk[-1].ids)), pad)
        labels = torch.full(ids.shape, IGNORE)
        names, pairs = [], []
        for number, row in enumerate(chunk):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            labels[number, row.start : len(row.ids)] = torch.tensor(row.ids[row.start :])
            names += [[number, mention.position, mention.object, mention.view] for mention in row.mentions]
            if len(row.mentions) > 1:
                objects = [mention.object for mention in row.mentions[:3]] + [-1]
                pairs.append([number, row.start - 1, row.mentions[1].view, *objects[:3]])
        packed.ids.append(ids)
        packed.labels.append(labels)
        packed.scene.append(torch.tensor([scene for _, scene in rows[low:high]]))
        tables = [torch.tensor(names, dtype=torch.long), torch.tensor(pairs, dtype=torch.long)]
        packed.mentions.append(ReferredObjects(tables[0].reshape(-1, 4), tables[1].reshape(-1, 6)))
        packed.top_tokens.append(teacher_top_tokens(chunk))
    return packed


def chunk_bounds(lengths: Sequence[int], chunks: int) -> list[int]:
    """Return where at most ``chunks`` parts of rising ``lengths`` begin and end, so that padding is least."""
    ends = [end for end in range(1, len(lengths) + 1) if end == len(lengths) or lengths[end] > lengths[end - 1]]
    best = {0: (0, [0])}  # end of the parts so far -> their tokens with padding, their bounds
    for _ in range(chunks):
        longer = {
            end: min((cost + (end - begin) * lengths[end - 1], [*bounds, end]) for begin, (cost, bounds) in shorter)
            for end in ends
            if (shorter := [(begin, found) for begin, found in best.items() if begin < end])
        }
        best |= {end: min(found, best.get(end, found)) for end, found in longer.items()}
    return best[len(lengths)][1]


def teacher_top_tokens(chunk: Sequence[TokenizedQA]) -> SparseTeacherLogits | None:
    """Return the teacher's top tokens at the answer tokens of a chunk; None where no row has any."""
    if not any(row.top_ids is not None and row.top_ids.shape[1] for row in chunk):
        return None
    rows: list[SparseTeacherLogits | None] = []
    for row in chunk:
        known = row.top_ids is not None and row.top_log_probs is not None
        values = (torch.as_tensor(row.top_ids).long(), torch.as_tensor(row.top_log_probs).float()) if known else None
        rows.append(SparseTeacherLogits(*values) if values else None)
    return SparseTeacherLogits.join(rows, [len(row.ids) - row.start for row in chunk])
