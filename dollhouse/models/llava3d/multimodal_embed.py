"""Where visual tokens and clicks go among the words (``specs/llava3d.md``, section 6).

Knows embeddings, not where they come from. Axes: B batch, T ids, L embeddings after the splice, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

IMAGE_TOKEN = -200  #: id that stands for an image or a scene
LOCATION_TOKEN = -300  #: id that stands for one click, or the centre of one box
IGNORED = -100  #: label of a place that carries no loss


@dataclass(frozen=True, eq=False)
class Spliced:
    """What the language model reads. Mask and labels are None where none were given."""

    inputs_embeds: Tensor  #: (B, L, D), padded on the right with zeros
    attention_mask: Tensor | None  #: (B, L) bool
    labels: Tensor | None  #: (B, L)


def splice(
    embed: nn.Module,
    input_ids: Tensor,
    visual: Sequence[Tensor | None],
    clicks: Tensor,
    attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    max_length: int | None = None,
) -> Spliced:
    """Word embeddings with the visual tokens and clicks at their ids.

    Args:
        embed: ids -> embeddings.
        input_ids: (B, T), with IMAGE_TOKEN and LOCATION_TOKEN among them.
        visual: embeddings (M, D) of each IMAGE_TOKEN, in order over the whole batch. A row without one uses up an
            entry all the same, as the official code does; that entry may be None.
        clicks: (n, D) embeddings of the LOCATION_TOKENs, in order over the whole batch.
        attention_mask: (B, T); masked ids are taken out before anything else.
        labels: (B, T).
        max_length: what is longer is cut off at its end.

    Raises:
        ValueError: where images or clicks are too few or too many.
    """
    mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    images, points = iter(visual), iter(clicks)
    rows, row_labels = [], []
    for row in range(len(input_ids)):
        ids = input_ids[row][mask[row]]
        told = labels[row][mask[row]] if labels is not None else torch.full_like(ids, IGNORED)
        embeddings, told = _splice_row(embed, ids, told, images, points)
        rows.append(embeddings[:max_length])
        row_labels.append(told[:max_length])
    for left, kind in ((images, "images"), (points, "clicks")):
        if next(left, left) is not left:
            raise ValueError(f"more {kind} than places for them among the ids")
    lengths = torch.tensor([len(row) for row in rows], device=input_ids.device)
    inputs_embeds = pad_sequence(rows, batch_first=True)
    found = torch.arange(inputs_embeds.shape[1], device=input_ids.device) < lengths[:, None]
    return Spliced(
        inputs_embeds,
        None if attention_mask is None else found,
        None if labels is None else pad_sequence(row_labels, batch_first=True, padding_value=IGNORED),
    )


def _splice_row(
    embed: nn.Module, ids: Tensor, labels: Tensor, images: Iterator[Tensor | None], points: Iterator[Tensor]
) -> tuple[Tensor, Tensor]:
    words = embed(ids.clamp(min=0))
    pieces, told = [], []
    start = 0
    for place in ((ids == IMAGE_TOKEN) | (ids == LOCATION_TOKEN)).nonzero().squeeze(-1).tolist():
        inserted = _next(images, "image") if ids[place] == IMAGE_TOKEN else _next(points, "click")[None]
        pieces += [words[start:place], inserted.to(words.dtype)]
        told += [labels[start:place], labels.new_full((len(inserted),), IGNORED)]
        start = place + 1
    if not (ids == IMAGE_TOKEN).any():
        next(images, None)
    return torch.cat([*pieces, words[start:]]), torch.cat([*told, labels[start:]])


def _next(source: Iterator[Tensor | None] | Iterator[Tensor], kind: str) -> Tensor:
    found = next(source, None)
    if found is None:
        raise ValueError(f"the ids have a place for one more {kind} than was given")
    return found
