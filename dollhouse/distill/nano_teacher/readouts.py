"""What every voxel token of a LLaVA-3D must tell while it learns: what it shows, and where that is.

A language model that reads three hundred tokens finds out slowly what they mean. Here a token says its object's label
and colour in the language model's own words (the nearest word embedding, so that a question's words find their tokens
by likeness), and the box around it. The read-outs are used in training only.

Axes: M voxel tokens, N patches of all views, D text width, L labels, C colours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.distill.batches import BoxTargets
from dollhouse.distill.losses import direction


class VoxelReadout(nn.Module):
    """Reads label, colour and box out of voxel tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.nothing = nn.Parameter(torch.randn(1, width))  #: the word for floor, walls and ceiling
        self.sureness = nn.Parameter(torch.zeros(2))
        self.measures = nn.Linear(width, 3 + 3 + 2 + 3)

    def forward(
        self, tokens: Tensor, label_words: Tensor, colour_words: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Tokens (M, D), words (L, D) and (C, D) -> label logits (M, L + 1), colour logits (M, C), measures.

        Measures are the box's centre, the logarithm of its size, its front's direction, and the voxel's own place.
        """
        said = self.norm(tokens)
        labels = said @ F.normalize(torch.cat([label_words, self.nothing]), dim=-1).T * self.sureness[0].exp()
        colours = said @ F.normalize(colour_words, dim=-1).T * self.sureness[1].exp()
        return labels, colours, self.measures(said).float().split([3, 3, 2, 3], -1)

    def loss(
        self,
        tokens: Tensor,
        words: tuple[Tensor, Tensor],
        voxel_of_patch: Tensor,
        points: Tensor,
        member: Tensor,
        boxes: BoxTargets,
    ) -> Tensor:
        """Every patch asks the token of its voxel; objects together weigh as much as what is behind them, which fills
        most of the patches and would else be the answer to all of them.

        Args:
            tokens: (M, D).
            words: embeddings of labels (L, D) and colours (C, D).
            voxel_of_patch: (N,).
            points: (M, 3) where voxels are.
            member: (N, K) one-hot over the true boxes, zeros for what shows none.
            boxes: the K true boxes, in the axes of ``points``; K may be 0.
        """
        labels, colours, (center, log_size, front, place) = self(tokens, *words)
        own_place = (place - points).abs().sum(-1).mean()
        shown = member.amax(-1) > 0 if len(boxes.label) else torch.zeros_like(voxel_of_patch, dtype=torch.bool)
        background = labels.shape[-1] - 1
        if not bool(shown.any()):
            return F.cross_entropy(labels[voxel_of_patch], torch.full_like(voxel_of_patch, background)) + own_place
        truth = boxes.take(member.argmax(-1))
        label = torch.where(shown, truth.label, torch.full_like(truth.label, background))
        named = F.cross_entropy(labels[voxel_of_patch], label, reduction="none")
        named = torch.stack([part.mean() for part in (named[shown], named[~shown]) if len(part)]).mean()
        coloured = torch.where(shown, truth.colour, torch.full_like(truth.colour, -1))
        hue = F.cross_entropy(colours[voxel_of_patch], coloured, ignore_index=-1, reduction="sum")
        at, box = voxel_of_patch[shown], truth.take(shown)
        far = (center[at] - box.center).abs().sum(-1) / (0.3 + box.size[:, :2].mean(-1))  # a small box forgives less
        extent = (log_size[at] - box.size.clamp(min=1e-2).log()).abs().sum(-1)
        turned = (front[at] - direction(box.yaw)).abs().sum(-1) * box.has_front
        measured = (far.clamp(max=20) + extent + 0.5 * turned).mean()
        return named + 0.5 * hue / (coloured >= 0).sum().clamp(min=1) + 0.5 * measured + own_place
