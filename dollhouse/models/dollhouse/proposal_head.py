"""Object proposals: clustered votes, pooled and refined into boxes and projected to language-model tokens; relations.

Axes: B batch, M patches of a scene, N object slots, D trunk width, L labels, C colours, V views, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.trunk import TrunkBlock
from dollhouse.models.dollhouse.voting_head import VoteOutput, full_precision
from dollhouse.models.fourier_features import FOURIER_WIDTH, fourier_features
from dollhouse.models.tensors import Tensors

BOX_FEATURES = 13  #: centre, log sizes, bottom, top, log volume, front, axis
FRONT = slice(9, 11)  #: the direction of the front among them
VIEW_FEATURES = 4  #: of an object in one view: u, v, log depth, root of its share of the view
#: of learned tokens, as of word embeddings; not zero, since layer norms of zeros multiply gradients until they overflow
INIT_STD = 0.02


@dataclass
class ProposalOutput(Tensors):
    """N object slots per scene. Geometry is in the level frame of the first view."""

    features: Tensor  #: (B, N, D)
    present: Tensor  #: (B, N) 1 for slots with an object, else 0
    label_logits: Tensor  #: (B, N, L), independent (sigmoid) scores
    colour_logits: Tensor  #: (B, N, C)
    center: Tensor  #: (B, N, 3) metres
    log_size: Tensor  #: (B, N, 3)
    front: Tensor  #: (B, N, 2) direction of the box's x axis
    axis: Tensor  #: (B, N, 2) the same with twice the angle
    view_observations: Tensor  #: (B, N, V, 4) VIEW_FEATURES; zeros in views that do not show it

    @property
    def score(self) -> Tensor:
        """(B, N) confidence."""
        return self.label_logits.float().sigmoid().amax(-1) * self.present


class ProposalHead(nn.Module):
    """Pool votes and patch tokens per object, refine them, and predict boxes."""

    def __init__(self, width: int, labels: int, colours: int, layers: int, heads: int) -> None:
        super().__init__()
        vote_features = labels + colours + 3 + 3 + 2 + 2 + 1
        self.vote_proj = nn.Linear(vote_features, width)
        self.patch_proj = nn.Linear(width, width)
        self.blocks = nn.ModuleList(TrunkBlock(width, heads, mlp_ratio=2.0) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.refine_fields = [labels, colours, 3, 3, 2, 2]
        self.refine = nn.Linear(width, sum(self.refine_fields))

    def forward(
        self, votes: VoteOutput, patches: Tensor, patch_assignment: Tensor, rows: int, columns: int
    ) -> ProposalOutput:
        """``patches`` (B, V, P, D); ``patch_assignment`` (B, M, N) one-hot, zero rows for background."""
        views = patches.shape[1]
        weight = patch_assignment * (votes.foreground.detach().unsqueeze(-1) + 0.05)
        mass = weight.sum(1)
        present = (mass > 0).float()
        share = (weight / mass.clamp(min=1e-6).unsqueeze(1)).transpose(1, 2)  # (B, N, M)

        with full_precision(share):
            labels = share @ votes.label_logits.float().softmax(-1)[..., :-1]
            colours = share @ votes.colour_logits.float().softmax(-1)
            center, log_size = share @ votes.center, share @ votes.log_size
            front, axis = share @ votes.front, share @ votes.axis
        pooled = torch.cat([labels, colours, center, log_size, front, axis, mass.log1p().unsqueeze(-1)], -1)
        features = self.vote_proj(pooled) + self.patch_proj(share.to(patches.dtype) @ patches.flatten(1, 2))
        features = features * present.unsqueeze(-1)
        for block in self.blocks:
            features = block(features)
        features = self.norm(features)
        residuals = self.refine(features).float().split(self.refine_fields, -1)
        return ProposalOutput(
            features=features,
            present=present,
            label_logits=residuals[0] + torch.logit(labels.clamp(1e-3, 1 - 1e-3)),
            colour_logits=residuals[1] + torch.log(colours.clamp(min=1e-3)),
            center=center + residuals[2],
            log_size=log_size + residuals[3],
            front=front + residuals[4],
            axis=axis + residuals[5],
            view_observations=view_observations(patch_assignment, votes.log_depth, views, rows, columns),
        )


def view_observations(patch_assignment: Tensor, log_depth: Tensor, views: int, rows: int, columns: int) -> Tensor:
    """Return where each view shows an object: (B, N, V, 4), from assignment (B, M, N) and log depth (B, M)."""
    u = (torch.arange(columns, device=patch_assignment.device) + 0.5) / columns * 2 - 1
    v = (torch.arange(rows, device=patch_assignment.device) + 0.5) / rows * 2 - 1
    place = torch.stack(torch.meshgrid(v, u, indexing="ij"), -1).flip(-1).reshape(1, 1, -1, 2)
    batch, _, slots = patch_assignment.shape
    shown = patch_assignment.view(batch, views, rows * columns, slots)
    place = place.expand(batch, views, -1, -1)
    features = torch.cat([place, log_depth.view(batch, views, -1, 1)], -1)
    total = shown.sum(2)
    mean = torch.einsum("bvpn,bvpf->bnvf", shown, features) / total.clamp(min=1).permute(0, 2, 1).unsqueeze(-1)
    return torch.cat([mean, (total / (rows * columns)).sqrt().permute(0, 2, 1).unsqueeze(-1)], -1)


#: of label distributions in object tokens: logits are of independent labels, and their softmax would be nearly uniform
SHARPNESS = 2.5


class ObjectProjector(nn.Module):
    """Project each object to one input embedding of the language model.

    It is the sum of projected features, projected geometry, and the word embeddings of labels and colours weighted by
    their probabilities, so that a question's words are similar to the tokens of the objects they name.
    """

    def __init__(self, width: int, text_width: int, views: int, grid_size: int = 0) -> None:
        super().__init__()
        self.views = views
        self.grid = GridProjector(width, text_width, views, grid_size) if grid_size else None
        features = 3 + 3 + 3 + 2 + 2 + 1 + FOURIER_WIDTH + VIEW_FEATURES * views + views
        self.geometry_mlp = nn.Sequential(
            nn.Linear(features, 2 * text_width), nn.GELU(), nn.Linear(2 * text_width, text_width)
        )
        self.feature_proj = nn.Linear(width, text_width)
        self.empty_embedding = nn.Parameter(INIT_STD * torch.randn(text_width))
        self.word_scale = nn.Parameter(torch.full((2,), 4.0))  # word embeddings are initialised small

    def geometry_features(self, objects: ProposalOutput) -> Tensor:
        """Return box and Fourier features, and observations in the views that questions may reference: (B, N, F)."""
        batch, slots = objects.present.shape
        view_observations = objects.view_observations.new_zeros(batch, slots, self.views, VIEW_FEATURES)
        named = min(self.views, objects.view_observations.shape[2])
        view_observations[:, :, :named] = objects.view_observations[:, :, :named]
        visible = (view_observations[..., 3] > 0).float()
        z, half_height = objects.center[..., 2:], 0.5 * objects.log_size[..., 2:].exp()
        front, axis = (F.normalize(field, dim=-1, eps=1e-3) for field in (objects.front, objects.axis))
        heights = z - half_height, z + half_height, objects.log_size.sum(-1, keepdim=True)
        box = objects.center, objects.log_size, *heights, front, axis, objects.score.unsqueeze(-1)
        return torch.cat([*box, fourier_features(objects.center), view_observations.flatten(2), visible], -1)

    def forward(self, objects: ProposalOutput, label_words: Tensor, colour_words: Tensor) -> Tensor:
        """Return tokens (B, N, H), given word embeddings of labels (L, H) and colours (C, H)."""
        labels = (SHARPNESS * objects.label_logits.float()).softmax(-1)
        colours = objects.colour_logits.float().softmax(-1)
        label_scale, colour_scale = self.word_scale
        words = label_scale * (labels @ label_words.float()) + colour_scale * (colours @ colour_words.float())
        token = words + self.geometry_mlp(self.geometry_features(objects)) + self.feature_proj(objects.features)
        present = objects.present.unsqueeze(-1)
        return token * present + self.empty_embedding * (1 - present)


class GridProjector(nn.Module):
    """Project cells of each view, pooled trunk features, to input embeddings of the language model.

    A learned embedding of the cell's place is added, and one of its view in the views that questions may reference.
    """

    def __init__(self, width: int, text_width: int, views: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, text_width)
        self.place = nn.Parameter(INIT_STD * torch.randn(size * size, text_width))
        self.view = nn.Parameter(INIT_STD * torch.randn(views, text_width))

    def pool(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Average patches (B, V, P, D) over size x size cells of each view: (B, V, size * size, D)."""
        maps = patches.flatten(0, 1).transpose(1, 2).unflatten(2, (rows, columns))
        cells = F.adaptive_avg_pool2d(maps, self.size).flatten(2).transpose(1, 2)
        return cells.unflatten(0, patches.shape[:2])

    def forward(self, cells: Tensor) -> Tensor:
        """Return tokens (B, V * size * size, H) of pooled cells (B, V, size * size, D), view by view."""
        tokens = self.proj(self.norm(cells)) + self.place
        named = min(cells.shape[1], len(self.view))
        views = F.pad(self.view[:named], (0, 0, 0, cells.shape[1] - named))
        return (tokens + views[:, None]).flatten(1, 2)


RELATIONS = ("right", "above")  #: of the second object to the first, in the level frame of the first view


class RelationHead(nn.Module):
    """Predict logits (B, N, N, 2) that the column's object is right of, and above, the row's.

    The logits of (i, j) and (j, i) add up to zero by construction.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        measures = 3 + 3  # centre and log size
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.first_box = nn.Linear(measures, width, bias=False)
        self.second_box = nn.Linear(measures, width, bias=False)
        self.classifier = nn.Linear(width, len(RELATIONS))

    def forward(self, objects: ProposalOutput) -> Tensor:
        measures = torch.cat([objects.center, objects.log_size], -1)
        first = self.first(objects.features) + self.first_box(measures)
        second = self.second(objects.features) + self.second_box(measures)
        logits = self.classifier(F.gelu(first.unsqueeze(2) + second.unsqueeze(1))).float()
        return logits - logits.transpose(1, 2)
