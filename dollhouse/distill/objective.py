"""The objective: a batch through the student, every loss that the batch has targets for, and their weighted sum.

This is the module that the trainer steps. Knows nothing of optimisers, schedules or disks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dollhouse.distill.batches import Batch
from dollhouse.distill.dictation import teacher_objects, true_objects
from dollhouse.distill.grounding import Grounding
from dollhouse.distill.losses import camera_loss, depth_loss, detection_loss, text_loss, vote_loss
from dollhouse.distill.tensors import IGNORE
from dollhouse.distill.thoughts import Thoughts
from dollhouse.errors import SceneError
from dollhouse.student.model import DollhouseForConditionalGeneration, Sight


class Objective(nn.Module):
    """Student and weighting in one module; ``forward(batch)`` gives the loss and its parts.

    A batch marked ``group_by_truth`` has its patches grouped by the teacher's instances instead of by the
    student's own votes, so that the box head learns before the votes are any good. With ``frozen_eyes`` no
    gradient is computed for anything before the object tokens. With ``read_teacher`` the language model reads the
    teacher's boxes, roughened, instead of the student's, and photos are not looked at at all.
    """

    def __init__(
        self,
        student: DollhouseForConditionalGeneration,
        weighting: nn.Module,
        losses: Sequence[str],
        frozen_eyes: bool = False,
        read_teacher: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.weighting = weighting
        self.losses = tuple(losses)
        self.frozen_eyes = frozen_eyes
        self.read_teacher = read_teacher
        self.grounding: Grounding | None = None
        if "grounding" in self.losses:
            config = student.config
            text = config.get_text_config()
            self.grounding = Grounding(text.hidden_size, text.num_hidden_layers, config.max_named_views)
        self.thoughts = Thoughts(student.config) if "thoughts" in self.losses else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """One batch -> {"loss": weighted sum, and each loss by its name}."""
        sight = self.look(batch)
        parts: dict[str, Tensor] = {}
        if sight is not None:
            parts.update(self.seeing_losses(sight, batch))
        if "text" in self.losses and batch.question_ids:
            parts.update(self.speaking_losses(self.prefix(sight, batch), batch))
        if not parts:
            raise SceneError("these scenes have no targets for any of the losses " + ", ".join(self.losses))
        return {"loss": self.weighting(parts), **{name: value.detach() for name, value in parts.items()}}

    def look(self, batch: Batch) -> Sight | None:
        """What the student sees; no gradient where its eyes are frozen."""
        if self.student.config.blind or self.read_teacher:
            return None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_eyes):
            member = batch.member if batch.group_by_truth else None
            return self.student.see(batch.pixel_values, member, batch.sensors if self.student.config.sensors else None)

    def seeing_losses(self, sight: Sight, batch: Batch) -> dict[str, Tensor]:
        """The losses of depth, cameras and objects, those with targets."""
        parts = {}
        if "depth_reg" in self.losses and bool((batch.depth > 0).any()):
            parts["depth_reg"] = depth_loss(sight.log_depth, batch.depth, batch.metric)
        if "camera" in self.losses and bool(batch.posed.all()):
            parts["camera"] = camera_loss(sight.cameras, batch.level_from_camera, batch.up, batch.focal)
        if "votes" in self.losses and bool((batch.patches.label != IGNORE).any()):
            parts["votes"] = vote_loss(sight.votes, batch.patches)
        if "detection" in self.losses and any(box is not None for box in batch.boxes):
            parts["detection"] = detection_loss(sight.objects, batch.boxes)
        return parts

    def prefix(self, sight: Sight | None, batch: Batch) -> Tensor:
        """The language prefix (B, N, D)."""
        if self.student.config.blind:
            return self.student.blind_prefix.expand(len(batch.pixel_values), -1, -1)
        objects = teacher_objects(batch, self.student.config) if sight is None else sight.objects
        return self.student.read_objects(objects)

    def speaking_losses(self, prefix: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Text: cross-entropy over the answer tokens of all chunks. Grounding: what is known at each name.

        Thoughts: what is known at the thinking tokens.
        """
        thought: list[Tensor] = []
        if self.thoughts is not None and self.thoughts.of_scene:
            scene, scene_states = self.student.read_scene_states(prefix)
            thought.append(self.thoughts.about_scenes(scene_states, batch.boxes))
        else:
            scene = self.student.read_scene(prefix)
        facts = self.true_facts(batch) if self.grounding is not None or self.thoughts is not None else None
        logits, labels, lengths, grounded, mentions = [], [], [], [], 0
        head = self.student.get_output_embeddings()
        for ids, label, owner, mention in zip(
            batch.question_ids, batch.question_labels, batch.scene_of_question, batch.mentions, strict=True
        ):
            states = self.student.hidden_states_from(scene, ids, owner)
            answers = label[:, 1:] != IGNORE
            logits.append(head(states[-1][:, :-1][answers]))
            labels.append(label[:, 1:][answers])
            lengths.append(answers.sum(1, keepdim=True).expand_as(answers)[answers].float())
            if self.grounding is not None and facts is not None and len(mention.names):
                grounded.append(len(mention.names) * self.grounding(states, facts, owner, mention))
                mentions += len(mention.names)
            if self.thoughts is not None and not self.thoughts.of_scene and facts is not None:
                thought.append(self.thoughts.about_questions(states, ids, facts, owner, mention))
        parts = {"text": text_loss(torch.cat(logits), torch.cat(labels), torch.cat(lengths))}
        if grounded:
            parts["grounding"] = torch.stack(grounded).sum() / mentions
        if sum(map(len, thought)):
            parts["thoughts"] = torch.cat(thought).mean()
        return parts

    def true_facts(self, batch: Batch) -> Tensor:
        """What the teacher knows of each object (B, N, F)."""
        with torch.no_grad():
            return self.student.multi_modal_projector.facts(true_objects(batch, self.student.config)).float()
