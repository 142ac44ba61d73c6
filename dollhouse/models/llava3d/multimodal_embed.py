"""Prompt embeddings with visual tokens and positions inserted (``docs/specs/llava3d.md``, sections 4 to 6).

Axes: B batch, T ids, L embeddings after insertion, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dollhouse.models.tensors import IGNORE

IMAGE_TOKEN_ID = -200  #: placeholder of an image or a scene
LOCATION_TOKEN_ID = -300  #: placeholder of one click, or of the centre of one box


class PositionEmbedding(nn.Module):
    """Embed raw coordinates in metres, neither clipped nor normalised, by an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # the official name; its index 2 is the ReLU
        self.position_embedding_head = nn.Sequential(
            nn.Linear(3, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, points: Tensor) -> Tensor:
        """Embed points (..., 3) in metres, world axes, as (..., width) in the dtype of the weights."""
        return self.position_embedding_head(points.to(next(self.parameters()).dtype))


@dataclass(frozen=True, eq=False)
class MultimodalInputs:
    """Inputs of the language model; mask and labels are None where none were given."""

    inputs_embeds: Tensor  #: (B, L, D), padded on the right with zeros
    attention_mask: Tensor | None  #: (B, L) bool
    labels: Tensor | None  #: (B, L)


def embed_multimodal(
    embed: nn.Module,
    input_ids: Tensor,
    visual: Sequence[Tensor | None],
    clicks: Tensor,
    attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    max_length: int | None = None,
) -> MultimodalInputs:
    """Embed ids, and replace placeholders by visual tokens and clicks.

    Args:
        embed: ids -> embeddings.
        input_ids: (B, T), with IMAGE_TOKEN_ID and LOCATION_TOKEN_ID among them.
        visual: embeddings (M, D) of each IMAGE_TOKEN_ID, in order over the whole batch. A row without one consumes an
            entry all the same, as in the official code; that entry may be None.
        clicks: (n, D) embeddings of the LOCATION_TOKEN_IDs, in order over the whole batch.
        attention_mask: (B, T); masked ids are removed first.
        labels: (B, T).
        max_length: longer rows are cut off at their end.

    Raises:
        ValueError: where the number of images or clicks differs from that of their placeholders.
    """
    mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    images, points = iter(visual), iter(clicks)
    rows, row_labels = [], []
    for row in range(len(input_ids)):
        ids = input_ids[row][mask[row]]
        targets = labels[row][mask[row]] if labels is not None else torch.full_like(ids, IGNORE)
        embeddings, targets = _embed_row(embed, ids, targets, images, points)
        rows.append(embeddings[:max_length])
        row_labels.append(targets[:max_length])
    for rest, kind in ((images, "images"), (points, "clicks")):
        if next(rest, rest) is not rest:
            raise ValueError(f"more {kind} than placeholders for them among the ids")
    lengths = torch.tensor([len(row) for row in rows], device=input_ids.device)
    inputs_embeds = pad_sequence(rows, batch_first=True)
    is_token = torch.arange(inputs_embeds.shape[1], device=input_ids.device) < lengths[:, None]
    return MultimodalInputs(
        inputs_embeds,
        None if attention_mask is None else is_token,
        None if labels is None else pad_sequence(row_labels, batch_first=True, padding_value=IGNORE),
    )


def _embed_row(
    embed: nn.Module, ids: Tensor, labels: Tensor, images: Iterator[Tensor | None], points: Iterator[Tensor]
) -> tuple[Tensor, Tensor]:
    words = embed(ids.clamp(min=0))
    pieces, targets = [], []
    start = 0
    for place in ((ids == IMAGE_TOKEN_ID) | (ids == LOCATION_TOKEN_ID)).nonzero().squeeze(-1).tolist():
        inserted = _next(images, "image") if ids[place] == IMAGE_TOKEN_ID else _next(points, "click")[None]
        pieces += [words[start:place], inserted.to(words.dtype)]
        targets += [labels[start:place], labels.new_full((len(inserted),), IGNORE)]
        start = place + 1
    if not (ids == IMAGE_TOKEN_ID).any():
        next(images, None)
    return torch.cat([*pieces, words[start:]]), torch.cat([*targets, labels[start:]])


def _next(source: Iterator[Tensor | None] | Iterator[Tensor], kind: str) -> Tensor:
    embedding = next(source, None)
    if embedding is None:
        raise ValueError(f"the ids have a placeholder for one more {kind} than was given")
    return embedding
