"""Configuration of LLaVA-3D, read from a checkpoint's ``config.json`` and compared with what this code computes.

The released ``config.json`` was not available: values that ``docs/specs/llava3d.md`` marks (cfg) come from the official
training scripts. A checkpoint that differs is refused unless the user accepts the setting by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.errors import ModelError
from dollhouse.models.checkpoints import read_json

#: Settings expected in the released checkpoint (``docs/specs/llava3d.md``, section 1).
EXPECTED: Mapping[str, Any] = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "flat",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_vision_tower": "clip-vit-large-patch14-336",
    "mm_video_tower": "SpatialAwareModule",
    "mm_vision_select_layer": -2,
    "num_frames": 20,
    "tokenizer_model_max_length": 4096,
    "tokenizer_padding_side": "right",
    "image_aspect_ratio": "square",
}
#: Defaults of the official code; a key that is not listed must be in ``config.json``.
OFFICIAL_DEFAULTS: Mapping[str, Any] = {
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "flat",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": True,
    "tokenizer_padding_side": "right",
    "image_aspect_ratio": "square",
}
_BY_LAST_PART = ("mm_vision_tower", "mm_video_tower")  #: names that may be a path or start with an owner
_NEVER_ACCEPTED = ("mm_projector_type", "mm_vision_select_feature", "mm_patch_merge_type", "mm_use_im_start_end")

#: CLIP ViT-L/14-336, the vision tower of LLaVA-3D.
CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
LICENCE = (
    "LLaVA-3D: CC BY-NC-SA 4.0 (non-commercial, share-alike); Vicuna-7B v1.5: Llama 2 Community License; "
    "CLIP ViT-L/14-336: MIT. What is distilled from them is to be treated as non-commercial."
)
_LLAMA_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_LLAMA_OPTIONS = ("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "attention_bias")
_LLAMA_OTHERS = ("rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id")
LLAMA_KEYS = _LLAMA_SIZES + _LLAMA_OPTIONS + _LLAMA_OTHERS


@dataclass(frozen=True)
class Llava3DConfig:
    """Sizes of the model, and two corrections of the official evaluation (``docs/guides/llava3d.md``)."""

    text: LlamaConfig = field(default_factory=lambda: LlamaConfig(max_position_embeddings=4096, rms_norm_eps=1e-5))
    vision: CLIPVisionConfig = field(default_factory=lambda: CLIPVisionConfig(**CLIP_LARGE))
    select_layer: int = -2  #: index of the hidden state of the vision tower that is used
    num_frames: int = 20  #: views of a scene
    max_length: int = 4096  #: tokens of a prompt, visual ones included
    image_aspect_ratio: str = "square"  #: of a single image: "square" crops its middle, "pad" pads it
    voxel_size: float = 0.2  #: metres
    max_scene_tokens: int = 2560  #: voxels in the prompt
    geometry_dtype: torch.dtype = torch.float32  #: of depth, poses and intrinsics; officially bfloat16
    unseeded_subset: bool = False  #: whether surplus voxels are dropped at random without a seed, as officially
    subset_seed: int = 0
    licence: str = LICENCE

    @property
    def image_size(self) -> int:
        """Side of the input images in pixels."""
        return int(self.vision.image_size)


def read_config(
    folder: Path, accept: Collection[str] = (), clip_folder: Path | None = None, **options: Any
) -> Llava3DConfig:
    """Read the config of a checkpoint folder.

    Args:
        folder: with ``config.json``.
        accept: settings whose difference from :data:`EXPECTED` the user accepts: ``num_frames``,
            ``tokenizer_model_max_length``, ``image_aspect_ratio`` and ``mm_vision_select_layer`` are then taken from
            the checkpoint, the others are ignored.
        clip_folder: source of the vision tower's sizes; default CLIP ViT-L/14-336.
        options: fields of :class:`Llava3DConfig` that no checkpoint has.

    Raises:
        ModelError: where ``config.json`` is missing, belongs to another kind of model, or differs from EXPECTED.
    """
    path = folder / "config.json"
    settings = read_json(path)
    if "LlavaLlamaForCausalLM" not in settings.get("architectures", ()):
        found = settings.get("architectures") or settings.get("model_type")
        raise ModelError(f"{path}: not a LLaVA-3D checkpoint: architecture {found!r}, expected LlavaLlamaForCausalLM")
    if problems := _differences(settings, accept):
        raise ModelError(
            f"{path}: differs from the LLaVA-3D implemented here: {'; '.join(problems)}; "
            "if a difference is known to be right, name the setting in accept"
        )
    if missing := [key for key in _LLAMA_SIZES if key not in settings]:
        raise ModelError(f"{path}: lacks {', '.join(missing)}; copy the whole checkpoint again")
    try:
        return Llava3DConfig(
            text=LlamaConfig(**{key: settings[key] for key in LLAMA_KEYS if key in settings}),
            vision=_vision_config(settings, clip_folder),
            select_layer=int(settings["mm_vision_select_layer"]),
            num_frames=int(settings.get("num_frames", EXPECTED["num_frames"])),
            max_length=int(settings.get("tokenizer_model_max_length", EXPECTED["tokenizer_model_max_length"])),
            image_aspect_ratio=str(settings.get("image_aspect_ratio", EXPECTED["image_aspect_ratio"])),
            **options,
        )
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise ModelError(f"{path}: impossible sizes: {' '.join(str(error).split())[:200]}") from error


def _differences(settings: Mapping[str, Any], accept: Collection[str]) -> list[str]:
    problems = []
    for key, expected in EXPECTED.items():
        if key in accept and key not in _NEVER_ACCEPTED:
            continue
        found = settings.get(key, OFFICIAL_DEFAULTS.get(key))
        same = type(found) is type(expected) and found == expected
        if key in _BY_LAST_PART and isinstance(found, str):
            same = found.rstrip("/").endswith(expected)
        if not same:
            default = f", which means {found!r}" if key in OFFICIAL_DEFAULTS else ""
            problems.append(
                f"{key} is {repr(found) if key in settings else 'missing' + default}, expected {expected!r}"
            )
    return problems


def _vision_config(settings: Mapping[str, Any], clip_folder: Path | None) -> CLIPVisionConfig:
    sizes = settings.get("vision_config")
    if clip_folder is not None:
        clip = read_json(clip_folder / "config.json")
        sizes = clip.get("vision_config", clip)
    if sizes is None:
        return CLIPVisionConfig(**CLIP_LARGE)
    if not isinstance(sizes, Mapping):
        raise TypeError("vision_config should be an object")
    # a CLIP folder lists only what differs from the configuration's defaults
    return CLIPVisionConfig(**{key: sizes[key] for key in (*CLIP_LARGE, "layer_norm_eps") if key in sizes})
