"""Student and losses in one module: a batch in, the weighted sum of all losses with targets out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dollhouse.data.collator import Batch
from dollhouse.data.object_cache import ObjectCache
from dollhouse.data.oracle_objects import gt_objects, noisy_gt_objects
from dollhouse.data.tokenization import SparseTeacherLogits
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.modeling_perception import PerceptionOutput
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.tensors import IGNORE
from dollhouse.training.losses.grounding import GroundingProbe
from dollhouse.training.losses.text import text_kl, text_loss
from dollhouse.training.losses.thinking_probe import ThinkingProbe
from dollhouse.training.perception_losses import perception_losses

DEPTH_LOSSES = {"depth_reg", "depth_ce", "depth_kl", "spatial", "multiview"}  #: losses that need the depth map


class LossModule(nn.Module):
    """The module that the trainer steps.

    Args:
        frozen_perception: compute nothing before the object tokens with gradients; perception runs as in inference.
        use_gt_objects: give the language model noisy true boxes and skip perception.
        object_cache: with frozen perception, compute the objects of each sample once.
        teacher_width: width of the teacher's features; 0: it has none.
    """

    def __init__(
        self,
        student: DollhouseForConditionalGeneration,
        weighting: nn.Module,
        losses: Sequence[str],
        *,
        frozen_perception: bool = False,
        use_gt_objects: bool = False,
        object_cache: ObjectCache | None = None,
        teacher_width: int = 0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.weighting = weighting
        self.losses = tuple(losses)
        self.frozen_perception = frozen_perception
        self.use_gt_objects = use_gt_objects
        self.object_cache = object_cache
        self.temperature = temperature
        config = student.config
        text, views = config.get_text_config(), config.max_referenced_views
        maps = "spatial" in self.losses and teacher_width
        self.teacher_map = nn.Linear(config.trunk_width, teacher_width) if maps else None
        grounds = "grounding" in self.losses
        self.grounding = GroundingProbe(text.hidden_size, text.num_hidden_layers, views) if grounds else None
        self.thinking_probe = ThinkingProbe(config) if "thinking_probe" in self.losses else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted sum as "loss", and each loss by name; names with a slash are parts of a loss.

        Raises SceneError where the batch has no targets for any loss.
        """
        perception = self.perceive(batch)
        parts: dict[str, Tensor] = {}
        if perception is not None:
            parts |= self.perception_losses(perception, batch, self.map_to_teacher(perception, batch))
        if "text" in self.losses and batch.question_ids:
            parts |= self.language_losses(self.language_prefix(perception, batch), batch)
        if not parts:
            raise SceneError("these scenes have no targets for any of the losses " + ", ".join(self.losses))
        return {"loss": self.weighting(parts), **{name: value.detach() for name, value in parts.items()}}

    def perceive(
        self, batch: Batch, refine_poses: bool | None = None, rgbd: RGBDInputs | None = None
    ) -> PerceptionOutput | None:
        """Encode the photos of a batch; None where perception is skipped or cached.

        Poses are refined as in inference if perception is frozen or evaluated, unless ``refine_poses`` is given.
        """
        if self.student.config.blind or self.use_gt_objects or self.object_cache is not None:
            return None
        assignment = batch.patch_assignment if batch.use_gt_assignment else None
        rgbd = batch.rgbd_inputs if self.student.config.use_rgbd and rgbd is None else rgbd
        as_in_inference = self.frozen_perception or not self.training
        refine = as_in_inference if refine_poses is None else refine_poses
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_perception):
            perception = self.student.encode_scene(
                batch.pixel_values,
                assignment,
                rgbd,
                refine_poses=refine,
                focal=batch.known_focal,
                encoded=None if batch.features is None else batch.features.output(),
            )
        if not DEPTH_LOSSES & set(self.losses):
            return perception
        log_depth = self.student.predict_log_depth(perception, batch.pixel_values, rgbd if as_in_inference else None)
        return replace(perception, log_depth=log_depth, encoder_output=None)

    def _cached_objects(self, batch: Batch, cache: ObjectCache) -> ProposalOutput:
        def encode(row: int) -> ProposalOutput:
            rows = slice(row, row + 1)
            rgbd = batch.rgbd_inputs.take(rows) if self.student.config.use_rgbd else None
            encoded = None if batch.features is None else batch.features.take(rows).output()
            with torch.no_grad():
                scene = self.student.encode_scene(
                    batch.pixel_values[rows], None, rgbd, refine_poses=True, encoded=encoded
                )
                return scene.objects

        return cache.objects(batch.sample_indices, encode).to(batch.pixel_values.device)

    def map_to_teacher(self, perception: PerceptionOutput, batch: Batch) -> Tensor | None:
        """Map the trunk's features to the teacher's width (B, V, P, D); None where no loss compares them.

        Raises RecipeError where the teacher's features differ in width from those at the start of the run.
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
        return self.teacher_map(perception.patches)  # type: ignore[no-any-return]

    def perception_losses(self, perception: PerceptionOutput, batch: Batch, mapped: Tensor | None) -> dict[str, Tensor]:
        """Return the losses of perception that have targets; ``mapped`` is from :meth:`map_to_teacher`."""
        patch = self.student.config.get_vision_config().patch_size
        return perception_losses(self.losses, perception, batch, self.student.bins, patch, mapped)

    def language_prefix(self, perception: PerceptionOutput | None, batch: Batch) -> Tensor:
        """Return the language prefix (B, N, D)."""
        if self.student.config.blind:
            return self.student.blind_prefix.expand(len(batch.pixel_values), -1, -1)
        if perception is not None:
            return self.student.embed_scene(perception, batch.label_ids)
        if self.object_cache is not None:
            objects = self._cached_objects(batch, self.object_cache)
        else:
            objects = noisy_gt_objects(batch, self.student.config)
        return self.student.embed_objects(objects, batch.label_ids)

    def language_losses(self, prefix: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of answers, and of the probes on hidden states."""
        probe = self.thinking_probe
        thinking: list[Tensor] = []
        if probe is not None and probe.before_question:
            scene, scene_states = self.student.encode_prefix_with_states(prefix)
            thinking.append(probe.scene_errors(scene_states, batch.boxes))
        else:
            scene = self.student.encode_prefix(prefix)
        question_probe = None if probe is None or probe.before_question else probe
        features = self.true_features(batch) if self.grounding is not None or question_probe is not None else None
        logits, labels, lengths, grounding, mentions = [], [], [], [], 0
        head = self.student.get_output_embeddings()
        for ids, label, rows, referred in zip(
            batch.question_ids, batch.question_labels, batch.scene_of_question, batch.mentions, strict=True
        ):
            if features is not None:
                states = self.student.question_hidden_states(scene, ids, rows)
                last = states[-1]
                if self.grounding is not None and len(referred.names):
                    grounding.append(len(referred.names) * self.grounding(states, features, rows, referred))
                    mentions += len(referred.names)
                if question_probe is not None:
                    thinking.append(question_probe.question_errors(states, ids, features, rows, referred))
            else:
                last = self.student.encode_questions(scene, ids, rows)
            answers = label[:, 1:] != IGNORE
            logits.append(head(last[:, :-1][answers]))
            labels.append(label[:, 1:][answers])
            lengths.append(answers.sum(1, keepdim=True).expand_as(answers)[answers].float())
        predicted, length = torch.cat(logits), torch.cat(lengths)
        parts = {"text": text_loss(predicted, torch.cat(labels), length)}
        joined = SparseTeacherLogits.join(batch.top_tokens, [len(chunk) for chunk in labels])
        top = joined if "text_kl" in self.losses else None
        if top is not None:
            known = torch.isfinite(top.log_probs).any(-1)
            kl_inputs = (predicted[known], top.ids[known], top.log_probs[known], length[known])
            parts["text_kl"] = text_kl(*kl_inputs, self.temperature)
        if grounding:
            parts["grounding"] = torch.stack(grounding).sum() / mentions
        if sum(map(len, thinking)):
            parts["thinking_probe"] = torch.cat(thinking).mean()
        return parts

    @torch.no_grad()
    def true_features(self, batch: Batch) -> Tensor:
        """Return geometry features (B, N, F) of the true objects."""
        objects = gt_objects(batch, self.student.config)
        return self.student.multi_modal_projector.geometry_features(objects).float()
