"""What shape the student has: plain values with defaults and checks, saved as ``config.json``.

Knows nothing of weights, torch modules or recipes.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from dollhouse.student.scratchpad import PLACEMENTS


class VggtConfig(PreTrainedConfig):
    """Shape of a VGGT encoder; the defaults are VGGT-1B (``specs/vggt.md``, section 1).

    Args:
        image_size: side in pixels of the square image that ``pos_embed`` of the DINO patch embedding is stored for.
            Any other height and width, multiples of ``patch_size``, can be fed.
        patch_size: side of a patch in pixels.
        hidden_size: C, the width of a token; what the encoder returns is 2C wide.
        num_hidden_layers: rounds; a round is one frame block and one global block.
        num_attention_heads, mlp_ratio: of the frame and global blocks.
        num_register_tokens: beside the one camera token, in front of every frame's patches.
        aa_block_size: frame blocks that run before as many global blocks.
        aa_order: which of "frame" and "global" goes first in a round.
        rope_theta: base of the rotary frequencies.
        layerscale_value: initial layer scale of the frame, global and camera blocks.
        patch_embed: "dinov2" (a DINOv2 ViT with registers), "conv" (one strided convolution), or
            "stem" (a small convolutional stem, for encoders trained from scratch).
        dino: num_hidden_layers, num_attention_heads, mlp_ratio, num_register_tokens, layerscale_value of the ViT.
        heads: which of "camera", "depth", "point" the model has; and "track", whose parameters are held, not used.
        camera_head: num_hidden_layers, num_attention_heads, mlp_ratio of the camera head's trunk.
        dpt_head: features, out_channels and layers (which rounds are read) of the depth and point heads.
        track_head: the sizes of the track head (:mod:`dollhouse.student.vggt_track`).
        views_at_once: views that are worked on together where no gradient is needed: memory for the rest is only
            their tokens, keys and values. None: all.
        licence: what the weights may be used for; None where they are the user's own.

    Raises:
        ValueError: where the values contradict each other.
    """

    model_type = "dollhouse_vggt"

    image_size: int = 518
    patch_size: int = 14
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    mlp_ratio: float = 4.0
    num_register_tokens: int = 4
    aa_block_size: int = 1
    aa_order: list[str] | tuple[str, ...] = ("frame", "global")
    rope_theta: float = 100.0
    layerscale_value: float = 0.01
    initializer_range: float = 0.02
    patch_embed: str = "dinov2"
    dino: dict[str, Any] | None = None
    heads: list[str] | tuple[str, ...] = ("camera", "depth", "point")
    camera_head: dict[str, Any] | None = None
    dpt_head: dict[str, Any] | None = None
    track_head: dict[str, Any] | None = None
    views_at_once: int | None = None
    licence: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.heads, self.aa_order = list(self.heads), list(self.aa_order)
        self.dino = _filled("dino", self.dino, _DINO)
        self.camera_head = _filled("camera_head", self.camera_head, _CAMERA_HEAD)
        self.dpt_head = _filled("dpt_head", self.dpt_head, _DPT_HEAD)
        self.track_head = _filled("track_head", self.track_head, _TRACK_HEAD)
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        if self.patch_embed not in ("dinov2", "conv", "stem"):
            raise ValueError(f"patch_embed is {self.patch_embed!r}; choose dinov2, conv or stem")
        if self.patch_embed == "stem" and self.patch_size != 14:
            raise ValueError(f"the stem makes patches of 14 pixels, not {self.patch_size}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 x num_attention_heads "
                f"(4 x {self.num_attention_heads}), since rotary positions split a head in four"
            )
        if self.num_hidden_layers % self.aa_block_size:
            raise ValueError(
                f"num_hidden_layers {self.num_hidden_layers} is no multiple of aa_block_size {self.aa_block_size}"
            )
        if sorted(self.aa_order) != ["frame", "global"]:
            raise ValueError(f"aa_order is {self.aa_order}; it names frame and global, in either order")
        if unknown := set(self.heads) - {"camera", "depth", "point", "track"}:
            raise ValueError(f"no such heads: {', '.join(sorted(unknown))}; known are camera, depth, point and track")
        if self.views_at_once is not None and self.views_at_once < 1:
            raise ValueError(f"views_at_once is {self.views_at_once}; give 1 or more, or None for all")
        layers = self.dpt_head["layers"] if self.dpt_head else []
        if {"depth", "point"} & set(self.heads) and (len(layers) != 4 or max(layers) >= self.num_hidden_layers):
            raise ValueError(f"dpt_head reads layers {layers}: name four of 0..{self.num_hidden_layers - 1}")


class DollhouseConfig(PreTrainedConfig):
    """The whole student. ``text_config`` is any causal language model's config.

    Args:
        vision_config: the encoder (:class:`VggtConfig`, or its dict).
        text_config: the language model (a transformers config, or its dict with ``model_type``).
        image_size: width in pixels to which photos are brought; a multiple of 14.
        trunk_width, trunk_layers, trunk_heads: the trunk's blocks.
        object_layers: blocks over object slots.
        num_objects: object slots, each one token of the language prefix.
        prefix: "objects" (a token an object), or "pooled" (their mean, one token a scene, as the paper has it).
        max_named_views: views whose sightings the object tokens carry ("in view 2").
        num_views: photos of a scene that are looked at by default.
        labels, colours: what the heads can name, lower case.
        front_labels: the labels whose objects have a front.
        label_ids, colour_ids: the tokens of those words, filled in with the tokenizer.
        num_thinking_tokens, thinking_placement: Hidden CoT, see :mod:`dollhouse.student.scratchpad`.
        thinking_passes: how often the thinking tokens are gone over, see :mod:`dollhouse.student.thinking`.
        scene_token_id, answer_token_id, thinking_ids: special tokens, filled in with the tokenizer.
        blind: no eyes; a learned constant prefix instead (the control model).
        depth_from: "trunk" (a head of the student's own), or "encoder" (VGGT's depth head, whose scale is its own,
            brought to metres by one factor a scene that the trunk tells).
        sensors: depth and poses are looked at beside the photos (:mod:`dollhouse.student.sensors`): a teacher.
        depth_bins: bins of log depth that a second depth head chooses among; 0: there is no such head.
        depth_bin_range: nearest and farthest depth of these bins, metres.
        relation_head: whether a head tells left or right, above or below, of pairs of objects.
        licence: what the weights may be used for.

    Raises:
        ValueError: where the values contradict each other.
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
    max_named_views: int = 8
    num_views: int = 4
    labels: list[str] | tuple[str, ...] = ()
    colours: list[str] | tuple[str, ...] = ()
    front_labels: list[str] | tuple[str, ...] = ()
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
    sensors: bool = False
    depth_bins: int = 0
    depth_bin_range: list[float] | tuple[float, float] = (0.3, 12.0)
    relation_head: bool = False
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
        if self.depth_from not in ("trunk", "encoder"):
            raise ValueError(f"depth_from is {self.depth_from!r}; choose trunk or encoder")
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
        if not isinstance(self.text_config, PreTrainedConfig):
            text = dict(self.text_config or {"model_type": "gpt_neox"})
            self.text_config = AutoConfig.for_model(text.pop("model_type"), **text)
        self.labels, self.colours, self.front_labels = list(self.labels), list(self.colours), list(self.front_labels)
        self.label_ids, self.colour_ids = [list(ids) for ids in self.label_ids], [list(ids) for ids in self.colour_ids]
        self.thinking_ids = list(self.thinking_ids)
        super().__post_init__(**kwargs)


_DINO = {
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4.0,
    "num_register_tokens": 4,
    "layerscale_value": 1.0,
}
_CAMERA_HEAD = {"num_hidden_layers": 4, "num_attention_heads": 16, "mlp_ratio": 4.0}
_DPT_HEAD = {"features": 256, "out_channels": [256, 512, 1024, 1024], "layers": [4, 11, 17, 23]}

_TRACK_HEAD = {
    "features": 128,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "virtual_tracks": 64,
    "levels": 7,
    "radius": 4,
}


def _filled(name: str, given: dict[str, Any] | None, defaults: dict[str, Any]) -> dict[str, Any]:
    """``given`` over ``defaults``; raises ValueError on a key that ``defaults`` lacks."""
    if unknown := set(given or {}) - set(defaults):
        raise ValueError(f"{name} does not know {', '.join(sorted(unknown))}; it takes {', '.join(defaults)}")
    return {**defaults, **(given or {})}
