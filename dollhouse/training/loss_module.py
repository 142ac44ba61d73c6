"""The objective: a batch through the student, every loss that the batch has targets for, and their weighted sum.

This is the module that the trainer steps. Knows nothing of optimisers, schedules or disks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dollhouse.data.collator import Batch
from dollhouse.data.feature_cache import FeatureCache
from dollhouse.data.oracle_objects import gt_objects, noisy_gt_objects
from dollhouse.data.tensors import IGNORE
from dollhouse.data.tokenization import SparseTeacherLogits
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration, PerceptionOutput
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.training.losses import text_kl, text_loss
from dollhouse.training.losses.grounding import GroundingProbe
from dollhouse.training.losses.thinking_probe import ThinkingProbe
from dollhouse.training.perception_losses import perception_losses

#: losses that use the predicted depth map
NEED_DEPTH = frozenset({"depth_reg", "depth_ce", "depth_kl", "spatial", "multiview"})


class LossModule(nn.Module):
    """Student and weighting in one module; ``forward(batch)`` gives the loss and its parts.

    A batch marked ``use_gt_assignment`` has its patches grouped by the teacher's instances instead of by the
    student's own votes, so that the box head learns before the votes are any good. With ``frozen_eyes`` no
    gradient is computed for anything before the object tokens. With ``read_teacher`` the language model reads the
    teacher's boxes, roughened, instead of the student's, and photos are not looked at at all. Frozen eyes look as
    they will when the student is used; with a ``store``, only at what is not kept there. ``teacher_width`` is that of
    the teacher's features (0: it has none), ``temperature`` softens what it says for the loss text_kl.
    """

    def __init__(
        self,
        student: DollhouseForConditionalGeneration,
        weighting: nn.Module,
        losses: Sequence[str],
        frozen_eyes: bool = False,
        read_teacher: bool = False,
        store: FeatureCache | None = None,
        teacher_width: int = 0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.weighting = weighting
        self.losses = tuple(losses)
        self.frozen_eyes = frozen_eyes
        self.read_teacher = read_teacher
        self.store = store
        self.temperature = temperature
        self.teacher_map: nn.Linear | None = None
        if "spatial" in self.losses and teacher_width:
            self.teacher_map = nn.Linear(student.config.trunk_width, teacher_width)
        self.grounding: GroundingProbe | None = None
        if "grounding" in self.losses:
            config = student.config
            text = config.get_text_config()
            self.grounding = GroundingProbe(text.hidden_size, text.num_hidden_layers, config.max_referenced_views)
        self.thoughts = ThinkingProbe(student.config) if "thinking_probe" in self.losses else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """One batch -> {"loss": weighted sum, and each loss by its name; with a slash: a part of one}."""
        perception = self.look(batch)
        parts: dict[str, Tensor] = {}
        if perception is not None:
            parts.update(self.perception_losses(perception, batch, self.as_teacher(perception, batch)))
        if "text" in self.losses and batch.question_ids:
            parts.update(self.language_losses(self.prefix(perception, batch), batch))
        if not parts:
            raise SceneError("these scenes have no targets for any of the losses " + ", ".join(self.losses))
        return {"loss": self.weighting(parts), **{name: value.detach() for name, value in parts.items()}}

    def look(self, batch: Batch) -> PerceptionOutput | None:
        """What the student sees; no gradient where its eyes are frozen."""
        if self.student.config.blind or self.read_teacher or self.store is not None:
            return None
        patch_assignment = batch.patch_assignment if batch.use_gt_assignment else None
        rgbd = batch.rgbd_inputs if self.student.config.use_rgbd else None
        if self.frozen_eyes:
            return self.with_depth(self.look_frozen(batch.pixel_values, patch_assignment, rgbd), batch, rgbd)
        perception = self.student.encode_scene(
            batch.pixel_values, patch_assignment, rgbd, refine_poses=not self.training
        )
        return self.with_depth(perception, batch, None if self.training else rgbd)

    def with_depth(self, perception: PerceptionOutput, batch: Batch, rgbd: RGBDInputs | None) -> PerceptionOutput:
        """Add the predicted depth if one of the losses needs it."""
        if NEED_DEPTH & set(self.losses):
            log_depth = self.student.predict_log_depth(perception, batch.pixel_values, rgbd)
            return replace(perception, log_depth=log_depth, encoder_output=None)
        return perception

    def look_frozen(
        self, pixel_values: Tensor, patch_assignment: Tensor | None = None, rgbd: RGBDInputs | None = None
    ) -> PerceptionOutput:
        """What the student sees when it is used, without gradient."""
        with torch.no_grad():
            return self.student.encode_scene(pixel_values, patch_assignment, rgbd, refine_poses=True)

    def kept_objects(self, batch: Batch, store: FeatureCache) -> ProposalOutput:
        """The objects of a batch, of which only those are looked for that are not kept."""

        def look(row: int) -> ProposalOutput:
            one = slice(row, row + 1)
            rgbd = batch.rgbd_inputs.take(one) if self.student.config.use_rgbd else None
            return self.look_frozen(batch.pixel_values[one], None, rgbd).objects

        kept = store.objects(batch.sample_indices, look)
        device = batch.pixel_values.device
        return ProposalOutput(**{name: value.to(device) for name, value in vars(kept).items()})

    def as_teacher(self, perception: PerceptionOutput, batch: Batch) -> Tensor | None:
        """The trunk's features brought to the teacher's width (B, V, P, D); None where there is nothing to meet.

        Raises RecipeError where the features of this batch are not as wide as those that the run began with.
        """
        width = 0 if batch.teacher is None else batch.teacher.features.shape[-1]
        if "spatial" not in self.losses or not width:
            return None
        if self.teacher_map is None or self.teacher_map.out_features != width:
            expected = 0 if self.teacher_map is None else self.teacher_map.out_features
            raise RecipeError(
                f"the teacher's features are {width} wide here and {expected} in the first scenes: "
                "distil from the records of one teacher"
            )
        mapped: Tensor = self.teacher_map(perception.patches)
        return mapped

    def perception_losses(self, perception: PerceptionOutput, batch: Batch, mapped: Tensor | None) -> dict[str, Tensor]:
        """The losses of what is seen, those with targets; ``mapped`` as :meth:`as_teacher` has it."""
        patch = self.student.config.get_vision_config().patch_size
        return perception_losses(self.losses, perception, batch, self.student.bins, patch, mapped)

    def prefix(self, perception: PerceptionOutput | None, batch: Batch) -> Tensor:
        """The language prefix (B, N, D)."""
        if self.student.config.blind:
            return self.student.blind_prefix.expand(len(batch.pixel_values), -1, -1)
        if perception is not None:
            objects = perception.objects
        elif self.store is not None:
            objects = self.kept_objects(batch, self.store)
        else:
            objects = noisy_gt_objects(batch, self.student.config)
        return self.student.embed_objects(objects)

    def language_losses(self, prefix: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Text: what was answered, and what the teacher might have. Grounding: what is known at each name.

        Thoughts: what is known at the thinking tokens.
        """
        thought: list[Tensor] = []
        if self.thoughts is not None and self.thoughts.of_scene:
            scene, scene_states = self.student.encode_prefix_with_states(prefix)
            thought.append(self.thoughts.about_scenes(scene_states, batch.boxes))
        else:
            scene = self.student.encode_prefix(prefix)
        of_questions = self.thoughts is not None and not self.thoughts.of_scene
        facts = self.true_facts(batch) if self.grounding is not None or of_questions else None
        logits, labels, lengths, grounded, mentions = [], [], [], [], 0
        head = self.student.get_output_embeddings()
        for ids, label, owner, mention in zip(
            batch.question_ids, batch.question_labels, batch.scene_of_question, batch.mentions, strict=True
        ):
            if facts is not None:
                states = self.student.question_hidden_states(scene, ids, owner)
                last = states[-1]
                if self.grounding is not None and len(mention.names):
                    grounded.append(len(mention.names) * self.grounding(states, facts, owner, mention))
                    mentions += len(mention.names)
                if self.thoughts is not None and of_questions:
                    thought.append(self.thoughts.about_questions(states, ids, facts, owner, mention))
            else:
                last = self.student.encode_questions(scene, ids, owner)
            answers = label[:, 1:] != IGNORE
            logits.append(head(last[:, :-1][answers]))
            labels.append(label[:, 1:][answers])
            lengths.append(answers.sum(1, keepdim=True).expand_as(answers)[answers].float())
        said, counts = torch.cat(logits), torch.cat(lengths)
        parts = {"text": text_loss(said, torch.cat(labels), counts)}
        if "text_kl" in self.losses and (
            top := SparseTeacherLogits.join(batch.top_tokens, [len(one) for one in labels])
        ):
            known = torch.isfinite(top.log_probs).any(-1)
            parts["text_kl"] = text_kl(
                said[known], top.ids[known], top.log_probs[known], counts[known], self.temperature
            )
        if grounded:
            parts["grounding"] = torch.stack(grounded).sum() / mentions
        if sum(map(len, thought)):
            parts["thinking_probe"] = torch.cat(thought).mean()
        return parts

    def true_facts(self, batch: Batch) -> Tensor:
        """What the teacher knows of each object (B, N, F)."""
        with torch.no_grad():
            return self.student.multi_modal_projector.geometry_features(gt_objects(batch, self.student.config)).float()
