"""What is asked in a batch: questions and answers as tokens, packed with others of like length.

Knows nothing of photos, models or losses.

Axes: R questions of a chunk, T text, K mentions or kept alternatives, A answer tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dollhouse.data.object_mentions import Mention, MentionFinder
from dollhouse.data.targets import ObjectTargets
from dollhouse.data.tensors import IGNORE, Tensors
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.special_tokens import END_TOKEN, question_text
from dollhouse.records.types import TeacherAnswer


@dataclass
class ReferredObjects(Tensors):
    """Objects that the questions of a chunk name."""

    names: Tensor  #: (K, 4): row in the chunk, the name's last token, true object, view named before (-1 none)
    pairs: Tensor  #: (K, 6) of questions that name several: row, the question's last token, view, three objects (-1)


@dataclass
class SparseTeacherLogits(Tensors):
    """The teacher's most likely tokens at every answer token of a chunk, row by row.

    The order is that of ``labels[labels != IGNORE]``. Where the teacher told nothing, all of a token's
    log-probabilities are -inf, and so is what fills up a token of which fewer alternatives are known.
    """

    ids: Tensor  #: (A, K)
    log_probs: Tensor  #: (A, K) natural logarithms

    @staticmethod
    def join(chunks: Sequence[SparseTeacherLogits | None], counts: Sequence[int]) -> SparseTeacherLogits | None:
        """Chunks of so many answer tokens, one after the other; None where the teacher told nothing in any."""
        told = [chunk for chunk in chunks if chunk is not None]
        if not told:
            return None
        width, device = max(chunk.ids.shape[1] for chunk in told), told[0].ids.device
        ids = torch.zeros(sum(counts), width, dtype=torch.long, device=device)
        log_probs = torch.full((sum(counts), width), -torch.inf, device=device)
        at = 0
        for chunk, count in zip(chunks, counts, strict=True):
            if chunk is not None:
                kept = chunk.ids.shape[1]
                ids[at : at + count, :kept], log_probs[at : at + count, :kept] = chunk.ids, chunk.log_probs
            at += count
        return SparseTeacherLogits(ids, log_probs)


class TokenizedQA(NamedTuple):
    """One tokenised question with its answer."""

    ids: list[int]
    start: int  #: number of tokens before the answer
    mentions: tuple[Mention, ...] = ()
    top_ids: NDArray[np.int32] | None = None  #: (answer tokens, K) the teacher's most likely tokens at each
    top_log_probs: NDArray[np.float32] | None = None  #: (answer tokens, K) natural logarithms


def question_tokens(
    tokenizer: PreTrainedTokenizerBase,
    config: DollhouseConfig,
    questions: Sequence[tuple[str, str]],
    objects: ObjectTargets | None = None,
    finder: MentionFinder | None = None,
    said: Sequence[TeacherAnswer | None] | None = None,
) -> list[TokenizedQA]:
    """Questions with answers -> tokens, with the mentions of ``objects`` where both are given.

    ``said``, one a question, is for a teacher whose vocabulary is the tokenizer's: where it tells token ids they are
    the answer instead of the text's own, and its most likely tokens come along.
    """
    count, placement = config.num_thinking_tokens, config.thinking_placement
    asked = [question_text(question, count, placement) for question, _ in questions]
    answers = [" " + answer.strip().lower() + END_TOKEN for _, answer in questions]
    asked_ids = tokenizer(asked, add_special_tokens=False)["input_ids"] if asked else []
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"] if answers else []
    told = []
    by_teacher = said if said is not None else [None] * len(questions)
    for question, answer, spoken in zip(asked_ids, answer_ids, by_teacher, strict=True):
        mentions = finder.find(question, objects) if finder is not None and objects is not None else ()
        if spoken is None or spoken.token_ids is None:
            told.append(TokenizedQA(list(question) + list(answer), len(question), mentions))
        else:
            ids = list(question) + spoken.token_ids.tolist()
            told.append(TokenizedQA(ids, len(question), mentions, spoken.top_ids, spoken.top_log_probs))
    return told


def pack_questions(
    questions: Sequence[Sequence[TokenizedQA]], pad: int, chunks: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[ReferredObjects], list[SparseTeacherLogits | None]]:
    """Questions of all scenes -> chunks of like length, so that a long description does not pad a short answer."""
    rows = [(asked, owner) for owner, of_scene in enumerate(questions) for asked in of_scene]
    rows.sort(key=lambda row: len(row[0].ids))
    if not rows:
        return [], [], [], [], []
    bounds = np.linspace(0, len(rows), min(chunks, len(rows)) + 1).round().astype(int)
    ids_chunks, label_chunks, owner_chunks, mention_chunks, top_chunks = [], [], [], [], []
    for low, high in pairwise(bounds):
        chunk = rows[low:high]
        length = len(chunk[-1][0].ids)
        ids = torch.full((len(chunk), length), pad)
        labels = torch.full((len(chunk), length), IGNORE)
        names, pairs = [], []
        for row, (asked, _) in enumerate(chunk):
            ids[row, : len(asked.ids)] = torch.tensor(asked.ids)
            labels[row, asked.start : len(asked.ids)] = torch.tensor(asked.ids[asked.start :])
            names += [[row, one.place, one.object, one.view] for one in asked.mentions]
            if len(asked.mentions) > 1:
                objects = [one.object for one in asked.mentions[:3]] + [-1]
                pairs.append([row, asked.start - 1, asked.mentions[1].view, *objects[:3]])
        ids_chunks.append(ids)
        label_chunks.append(labels)
        owner_chunks.append(torch.tensor([owner for _, owner in chunk]))
        mention_chunks.append(
            ReferredObjects(
                torch.tensor(names, dtype=torch.long).reshape(-1, 4),
                torch.tensor(pairs, dtype=torch.long).reshape(-1, 6),
            )
        )
        top_chunks.append(top_tokens([asked for asked, _ in chunk]))
    return ids_chunks, label_chunks, owner_chunks, mention_chunks, top_chunks


def top_tokens(chunk: Sequence[TokenizedQA]) -> SparseTeacherLogits | None:
    """What the teacher's alternatives are at the answer tokens of a chunk; None where it told none."""
    width = max((asked.top_ids.shape[1] for asked in chunk if asked.top_ids is not None), default=0)
    if not width:
        return None
    counts = [len(asked.ids) - asked.start for asked in chunk]
    ids = torch.zeros(sum(counts), width, dtype=torch.long)
    log_probs = torch.full((sum(counts), width), -torch.inf)
    at = 0
    for asked, count in zip(chunk, counts, strict=True):
        if asked.top_ids is not None and asked.top_log_probs is not None:
            kept = asked.top_ids.shape[1]
            ids[at : at + count, :kept] = torch.from_numpy(asked.top_ids.astype(np.int64))
            log_probs[at : at + count, :kept] = torch.from_numpy(asked.top_log_probs.astype(np.float32))
        at += count
    return SparseTeacherLogits(ids, log_probs)
