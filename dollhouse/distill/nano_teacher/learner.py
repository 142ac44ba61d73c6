"""A LLaVA-3D while it learns: one room through the model, every loss that is asked for, and their weighted sum.

This is the module that the trainer steps. Knows nothing of optimisers, schedules or disks.

Axes: V views, S image size, P tokens of the prefix, M voxel tokens, R questions, T text, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from dollhouse.distill.batches import IGNORE, Batch
from dollhouse.distill.dictation import true_objects
from dollhouse.distill.grounding import Grounding
from dollhouse.distill.losses import text_loss
from dollhouse.distill.nano_teacher.readouts import VoxelReadout
from dollhouse.distill.weighting import UncertaintyWeighting
from dollhouse.student.config import DollhouseConfig
from dollhouse.student.objects import object_facts
from dollhouse.teachers.llava3d.model import LLaVA3DModel, PosedViews, SceneFeatures
from dollhouse.teachers.llava3d.preprocess import CLIP_MEAN, CLIP_STD


class Learner(nn.Module):
    """Model, read-outs and weighting in one module; ``forward(batch)`` gives the loss and its parts."""

    def __init__(self, model: LLaVA3DModel, named: DollhouseConfig, head: Sequence[int], losses: Sequence[str]) -> None:
        """``named`` holds what can be named, with its ids; ``head`` are the ids before the scene in every prompt."""
        super().__init__()
        text = model.config.text
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

    def read_scene(self, tokens: Tensor) -> DynamicCache:
        """Voxel tokens (M, D) -> keys and values of all that comes before a question (P = head and scene)."""
        language_model = self.model.language_model
        words = language_model.get_input_embeddings()(self.head)
        cache = DynamicCache(config=self.model.config.text)
        prefix = torch.cat([words, tokens.to(words.dtype)])
        language_model.model(inputs_embeds=prefix[None], past_key_values=cache, use_cache=True)
        return cache

    def hidden_states_from(self, scene: DynamicCache, question_ids: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (R, T, D) of right-padded questions (R, T) after 0, 1, ... blocks; ``scene`` stays as it was.

        Each question sees the scene and itself only, at the positions it would have alone.
        """
        own = DynamicCache()
        for number, layer in enumerate(scene.layers):
            rows = (len(question_ids), -1, -1, -1)
            own.update(layer.keys.expand(*rows), layer.values.expand(*rows), number)
        output = self.model.language_model.model(
            input_ids=question_ids, past_key_values=own, use_cache=True, output_hidden_states=True
        )
        return tuple(output.hidden_states)

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
        scene = self.read_scene(tokens)
        facts = object_facts(true_objects(batch, self.named), self.named.max_named_views).float()
        head = self.model.language_model.lm_head
        logits, labels, lengths, grounded, mentions = [], [], [], [], 0
        for ids, label, owner, mention in zip(
            batch.question_ids, batch.question_labels, batch.scene_of_question, batch.mentions, strict=True
        ):
            states = self.hidden_states_from(scene, ids)
            answers = label[:, 1:] != IGNORE
            logits.append(head(states[-1][:, :-1][answers]))
            labels.append(label[:, 1:][answers])
            lengths.append(answers.sum(1, keepdim=True).expand_as(answers)[answers].float())
            if "grounding" in self.losses and len(mention.names):
                grounded.append(len(mention.names) * self.grounding(states, facts, owner, mention))
                mentions += len(mention.names)
        parts = {"text": text_loss(torch.cat(logits), torch.cat(labels), torch.cat(lengths))}
        if grounded:
            parts["grounding"] = torch.stack(grounded).sum() / mentions
        return parts


def posed_views(batch: Batch) -> PosedViews:
    """The room of a batch of one as the model sees it: what ``teachers.llava3d.preprocess`` makes of the same scene."""
    images = batch.pixel_values[0]
    views, _, height, width = images.shape
    mean, std = (images.new_tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
    intrinsics = torch.eye(4, device=images.device).repeat(views, 1, 1)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = batch.focal[0] * width
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = (width - 1) / 2, (height - 1) / 2  # the first pixel's centre is (0, 0)
    return PosedViews((images - mean) / std, batch.depth[0], batch.level_from_camera[0], intrinsics)
