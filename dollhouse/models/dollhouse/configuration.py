"""Configuration of the Dollhouse student, saved as ``config.json``."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from dollhouse.models.dollhouse.special_tokens import PLACEMENTS
from dollhouse.models.vggt.configuration import VggtConfig


class DollhouseConfig(PreTrainedConfig):
    """Configuration of :class:`~dollhouse.models.dollhouse.modeling.DollhouseForConditionalGeneration`.

    Args:
        vision_config: the encoder (:class:`VggtConfig`, or its dict).
        text_config: the language model (a transformers config, or its dict with ``model_type``).
        image_size: longer side in pixels to which photos are resized; a multiple of 14.
        trunk_width, trunk_layers, trunk_heads: the trunk's blocks.
        object_layers: transformer blocks over object slots.
        num_objects: object slots, each one token of the language prefix.
        prefix: "objects" (one token per object) or "pooled" (their mean, one token per scene, as in the paper).
        grid_size: side of the grid of cells of each view that follow in the prefix, a token each; 0: none.
        max_referenced_views: views whose observations the object tokens carry ("in view 2").
        num_views: photos of a scene that are encoded by default.
        labels, colours: classes of the heads, lower case.
        oriented_labels: labels whose objects have a front.
        label_ids, colour_ids: token ids of these words, filled in with the tokenizer.
        num_thinking_tokens, thinking_placement: Hidden CoT, see :mod:`dollhouse.models.dollhouse.special_tokens`.
        chat_format: texts before and after a question, of the chat template of a pretrained language model; None: none.
        thinking_passes: passes over the thinking tokens (:mod:`dollhouse.models.dollhouse.thinking_tokens`).
        scene_token_id, answer_token_id, thinking_ids: special tokens, filled in with the tokenizer.
        blind: whether the prefix is a learned constant instead of encoded photos (the control model).
        depth_from: "trunk" (the student's own depth head), "stem" (the same, with the finer maps of an EfficientNet
            patch embedding) or "encoder" (VGGT's depth head, multiplied by one predicted factor per scene, since its
            scale is not metric).
        canonical_depth: whether depth heads predict depth divided by the focal length (in units of ``image_size``
            pixels), so that depth is exactly proportional to a known focal length.
        use_rgbd: whether depth and poses are inputs too (:mod:`dollhouse.models.dollhouse.rgbd_embedding`): a teacher.
        depth_bins: classes of the depth bin head; 0: no such head.
        depth_bin_range: nearest and farthest depth of these bins, metres.
        relation_head: whether a head classifies pairs of objects as left or right, above or below.
        answer_temperature: divides the log odds of answers' confidences, fitted on photos of real rooms
            (``benchmarks/calibrate_answers.py``).
        min_confidence: answers of a lower confidence, so calibrated, are marked as unsure.
        licence: licence of the weights.

    Raises:
        ValueError: if the values contradict each other.
    """

    model_type = "dollhouse"
    sub_configs = {"vision_config": VggtConfig, "text_config": AutoConfig}  # noqa: RUF012
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    image_size: int = 518
    trunk_width: int = 1024
    trunk_layers: int = 2
    trunk_heads: int = 16
    object_layers: int = 2
    num_objects: int = 32
    prefix: str = "objects"
    grid_size: int = 0
    chat_format: list[str] | tuple[str, str] | None = None
    max_referenced_views: int = 8
    num_views: int = 4
    labels: list[str] | tuple[str, ...] = ()
    colours: list[str] | tuple[str, ...] = ()
    oriented_labels: list[str] | tuple[str, ...] = ()
    label_ids: list[list[int]] | tuple[list[int], ...] = ()
    colour_ids: list[list[int]] | tuple[list[int], ...] = ()
    num_thinking_tokens: int = 8
    thinking_placement: str = "before_question"
    thinking_passes: int = 1
    scene_token_id: int = 2
    answer_token_id: int = 3
    thinking_ids: list[int] | tuple[int, ...] = ()
    blind: bool = False
    depth_from: str = "trunk"
    canonical_depth: bool = False
    use_rgbd: bool = False
    depth_bins: int = 0
    depth_bin_range: list[float] | tuple[float, float] = (0.3, 12.0)
    relation_head: bool = False
    answer_temperature: float = 1.0
    min_confidence: float = 0.0
    licence: str = "Apache-2.0"

    def get_vision_config(self) -> VggtConfig:
        """The encoder's config."""
        assert isinstance(self.vision_config, VggtConfig)
        return self.vision_config

    def __post_init__(self, **kwargs: Any) -> None:
        if self.thinking_placement not in PLACEMENTS:
            raise ValueError(f"thinking_placement is {self.thinking_placement!r}; choose {' or '.join(PLACEMENTS)}")
        if self.thinking_passes < 1 or (self.thinking_passes > 1 and not self.num_thinking_tokens):
            raise ValueError(
                f"thinking_passes is {self.thinking_passes} over {self.num_thinking_tokens} thinking tokens; "
                "give 1 or more, and more than 1 only where there are thinking tokens"
            )
        if self.prefix not in ("objects", "pooled"):
            raise ValueError(f"prefix is {self.prefix!r}; choose objects or pooled")
        if self.grid_size < 0:
            raise ValueError(f"grid_size is {self.grid_size}; give 0 for no cells, or the side of the grid")
        if self.depth_from not in ("trunk", "stem", "encoder"):
            raise ValueError(f"depth_from is {self.depth_from!r}; choose trunk, stem or encoder")
        if self.answer_temperature <= 0:
            raise ValueError(f"answer_temperature is {self.answer_temperature}; give a number above 0")
        near, far = self.depth_bin_range
        if self.depth_bins < 0 or self.depth_bins == 1 or not 0 < near < far:
            raise ValueError(
                f"depth_bins {self.depth_bins} in depth_bin_range {near} to {far}: "
                "give 0 for none or at least 2, from a depth above 0 to a larger one"
            )
        self.depth_bin_range = [float(near), float(far)]
        if isinstance(self.vision_config, dict):
            self.vision_config = VggtConfig(**self.vision_config)
        elif self.vision_config is None:
            self.vision_config = VggtConfig()
        if self.depth_from == "encoder" and "depth" not in self.get_vision_config().heads:
            raise ValueError("depth_from is 'encoder', which has no depth head: name depth among its heads")
        if self.depth_from == "stem" and self.get_vision_config().patch_embed != "efficientnet":
            raise ValueError("depth_from is 'stem', whose finer maps only patch_embed: efficientnet has")
        if not isinstance(self.text_config, PreTrainedConfig):
            text = dict(self.text_config or {"model_type": "gpt_neox"})
            self.text_config = AutoConfig.for_model(text.pop("model_type"), **text)
        for name in ("labels", "colours", "oriented_labels", "thinking_ids"):
            setattr(self, name, list(getattr(self, name)))
        self.label_ids, self.colour_ids = [list(ids) for ids in self.label_ids], [list(ids) for ids in self.colour_ids]
        super().__post_init__(**kwargs)
