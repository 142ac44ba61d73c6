"""A LLaVA-3D while it learns: one room through the model, every loss that is asked for, and their weighted sum.

This is the module that the trainer steps. Knows nothing of optimisers, schedules or disks.

Axes: M voxel tokens, L ids of all questions of a room, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from dollhouse.distill.asked import Mentions
from dollhouse.distill.batches import Batch
from dollhouse.distill.dictation import true_objects
from dollhouse.distill.grounding import Grounding
from dollhouse.distill.losses import text_loss
from dollhouse.distill.nano_teacher.readouts import VoxelReadout
from dollhouse.distill.tensors import IGNORE
from dollhouse.distill.weighting import UncertaintyWeighting
from dollhouse.student.config import DollhouseConfig
from dollhouse.student.objects import object_facts
from dollhouse.teachers.llava3d.model import LLaVA3DModel, PosedViews, SceneFeatures
from dollhouse.teachers.llava3d.preprocess import CLIP_MEAN, CLIP_STD

EVERYBODY = -1  #: owner of what comes before the questions


class Learner(nn.Module):
    """Model, read-outs and weighting in one module; ``forward(batch)`` gives the loss and its parts."""

    head: Tensor

    def __init__(self, model: LLaVA3DModel, named: DollhouseConfig, head: Sequence[int], losses: Sequence[str]) -> None:
        """``named`` holds what can be named, with its ids; ``head`` are the ids before the scene in every prompt."""
        super().__init__()
        text = model.config.text
        for part in (model.language_model, model.vision_tower):
            # on short sequences faster than the fused kernel, which also misreads a mask of another dtype than its own
            part.set_attn_implementation("eager")
        self.model = model
        self.named = named
        self.losses = tuple(losses)  #: of the stage under way
        self.register_buffer("head", torch.tensor(list(head)), persistent=False)
        self.voxels = VoxelReadout(text.hidden_size)
        self.grounding = Grounding(text.hidden_size, text.num_hidden_layers, named.max_named_views, every_view=False)
        self.weighting = UncertaintyWeighting(("votes", "text", "grounding"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """One room -> {"loss": weighted sum, and each loss by its name}."""
        scene = self.model.get_scene_features(posed_views(batch))
        tokens = self.model.scene_tokens(scene)
        parts: dict[str, Tensor] = {}
        if "votes" in self.losses:
            parts["votes"] = self._voting_loss(scene, tokens, batch)
        if "text" in self.losses and batch.question_ids:
            parts.update(self._speaking_losses(tokens, batch))
        return {"loss": self.weighting(parts), **{name: value.detach() for name, value in parts.items()}}

    def read(self, tokens: Tensor, questions: Packed) -> tuple[Tensor, ...]:
        """Voxel tokens (M, D) and questions -> hidden states (L, D) of the questions' ids after 0, 1, ... blocks.

        One sequence of prefix and questions, in which each question sees the prefix and itself only, at the positions
        it would have alone: the same as a sequence for each, with the prefix computed once and never copied.
        """
        language_model = self.model.language_model
        words = language_model.get_input_embeddings()(torch.cat([self.head, questions.ids]))
        prefix = len(self.head) + len(tokens)
        embeds = torch.cat([words[: len(self.head)], tokens.to(words.dtype), words[len(self.head) :]])
        before = torch.arange(prefix, device=embeds.device)
        positions = torch.cat([before, prefix + questions.positions])
        owner = torch.cat([torch.full_like(before, EVERYBODY), questions.owner])
        seen = (owner == EVERYBODY) | (owner == owner[:, None])
        seen = seen & (positions <= positions[:, None])
        mask = torch.zeros(seen.shape, device=embeds.device).masked_fill_(~seen, torch.finfo(torch.float32).min)
        output = language_model.model(
            inputs_embeds=embeds[None],
            attention_mask=mask[None, None],
            position_ids=positions[None],
            use_cache=False,
            output_hidden_states=True,
        )
        return tuple(states[0, prefix:] for states in output.hidden_states)

    def _voting_loss(self, scene: SceneFeatures, tokens: Tensor, batch: Batch) -> Tensor:
        table = self.model.language_model.get_input_embeddings().weight
        words = [
            torch.stack([table[torch.tensor(ids, device=table.device)].mean(0) for ids in several])
            for several in (self.named.label_ids, self.named.colour_ids)
        ]
        boxes = batch.boxes[0]
        assert boxes is not None  # rooms have boxes
        return self.voxels.loss(
            tokens, (words[0], words[1]), scene.voxel_of_patch, scene.points, batch.member[0], boxes
        )

    def _speaking_losses(self, tokens: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Text: cross-entropy over answer tokens. Grounding: what is known at each name."""
        questions = pack(batch)
        states = self.read(tokens, questions)
        answers = questions.labels != IGNORE
        before = answers.nonzero().squeeze(-1) - 1
        lengths = torch.bincount(questions.owner[answers])[questions.owner[answers]].float()
        logits = self.model.language_model.lm_head(states[-1][before])
        parts = {"text": text_loss(logits, questions.labels[answers], lengths)}
        if "grounding" in self.losses and len(questions.mentions.names):
            facts = object_facts(true_objects(batch, self.named), self.named.max_named_views).float()
            owner = torch.zeros(1, dtype=torch.long, device=facts.device)  # all of them in one row, about one room
            parts["grounding"] = self.grounding([one[None] for one in states], facts, owner, questions.mentions)
        return parts


@dataclass(frozen=True, eq=False)
class Packed:
    """The questions of one room one after another, without padding."""

    ids: Tensor  #: (L,)
    labels: Tensor  #: (L,) IGNORE but on the answers
    owner: Tensor  #: (L,) which question an id is of
    positions: Tensor  #: (L,) place in its question
    mentions: Mentions  #: of one row, their places those among the L


def pack(batch: Batch) -> Packed:
    """The questions of a batch of one room, all in one chunk."""
    ids, labels = batch.question_ids[0], batch.question_labels[0]
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    lengths = torch.where(labels != IGNORE, places + 1, 0).amax(1)  # an answer ends its question
    kept = places < lengths[:, None]
    starts = lengths.cumsum(0) - lengths
    owner = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)

    def in_one_row(mentions: Tensor) -> Tensor:
        row, place, *others = mentions.unbind(1)
        return torch.stack([torch.zeros_like(row), place + starts[row], *others], 1)

    mentions = Mentions(*[in_one_row(getattr(batch.mentions[0], field.name)) for field in fields(Mentions)])
    return Packed(ids[kept], labels[kept], owner[kept], places[kept], mentions)


def posed_views(batch: Batch) -> PosedViews:
    """The room of a batch of one as the model sees it: what ``teachers.llava3d.preprocess`` makes of the same scene."""
    images = batch.pixel_values[0]
    views, _, height, width = images.shape
    mean, std = (images.new_tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
    intrinsics = torch.eye(4, device=images.device).repeat(views, 1, 1)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = batch.focal[0] * width
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = (width - 1) / 2, (height - 1) / 2  # the first pixel's centre is (0, 0)
    return PosedViews((images - mean) / std, batch.depth[0], batch.level_from_camera[0], intrinsics)
