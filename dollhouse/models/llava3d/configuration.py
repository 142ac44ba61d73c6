"""The shape of a LLaVA-3D, read from a checkpoint's ``config.json`` and compared with what this code computes.

Knows nothing of weights. The released ``config.json`` could not be seen when this was written: what
``specs/llava3d.md`` marks (cfg) comes from the training scripts, so a checkpoint that says otherwise is refused
until the user has looked at the difference and accepts it by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.errors import ModelError

#: What the released checkpoint is expected to say (``specs/llava3d.md``, section 1).
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
#: What the official code takes where the key is missing; a key that is not here must be there.
OFFICIAL_DEFAULTS: Mapping[str, Any] = {
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "flat",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": True,
    "tokenizer_padding_side": "right",
    "image_aspect_ratio": "square",
}
_BY_LAST_PART = ("mm_vision_tower", "mm_video_tower")  #: names that may be a path or have an owner before them
_NOT_TO_BE_ACCEPTED = ("mm_projector_type", "mm_vision_select_feature", "mm_patch_merge_type", "mm_use_im_start_end")

#: CLIP ViT-L/14-336, the only vision tower that was released with LLaVA-3D.
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
_OURS = "dollhouse"  #: key of config.json under which a checkpoint trained here says what no official one does
_LLAMA_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_LLAMA_FORMS = ("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "attention_bias")
_LLAMA_OTHERS = ("rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id")
_LLAMA_KEYS = _LLAMA_SIZES + _LLAMA_FORMS + _LLAMA_OTHERS


#: The world in which patches have their places. "scene": the scene's own, as officially. "named_view": the level
#: frame of the view that a question names, of the first where it names none; so that left and right, near and far can
#: be told, since nothing else tells the language model which patch is of which view.
AXES = ("scene", "named_view")


@dataclass(frozen=True)
class Llava3DConfig:
    """Sizes, and the two places where the official evaluation departs from what is right (``docs/llava3d.md``)."""

    text: LlamaConfig = field(default_factory=lambda: LlamaConfig(max_position_embeddings=4096, rms_norm_eps=1e-5))
    vision: CLIPVisionConfig = field(default_factory=lambda: CLIPVisionConfig(**CLIP_LARGE))
    select_layer: int = -2  #: which hidden state of the vision tower is used
    num_frames: int = 20  #: views of a scene
    max_length: int = 4096  #: tokens of a prompt, visual ones included
    image_aspect_ratio: str = "square"  #: of a single image: "square" crops its middle, "pad" pads it
    voxel_size: float = 0.2  #: metres
    max_scene_tokens: int = 2560  #: voxels that the language model is shown
    geometry_dtype: torch.dtype = torch.float32  #: of depth, poses and intrinsics; bfloat16 in the official evaluation
    unseeded_subset: bool = False  #: whether too many voxels are thinned as officially: by chance, and left unsorted
    subset_seed: int = 0
    axes: Literal["scene", "named_view"] = "scene"  #: of the places it is told: see :data:`AXES`
    licence: str = LICENCE

    @property
    def image_size(self) -> int:
        return int(self.vision.image_size)

    @property
    def patches_per_side(self) -> int:
        return int(self.vision.image_size) // int(self.vision.patch_size)


def read_config(
    folder: Path, accept: Collection[str] = (), clip_folder: Path | None = None, **ours: Any
) -> Llava3DConfig:
    """The config of a checkpoint folder; ``ours`` are fields of :class:`Llava3DConfig` that no checkpoint knows.

    ``accept`` names settings whose difference from :data:`EXPECTED` the user has looked at: ``num_frames``,
    ``tokenizer_model_max_length``, ``image_aspect_ratio`` and ``mm_vision_select_layer`` are then taken from the
    checkpoint, the others are passed over. The vision tower's sizes come from ``clip_folder`` where one is given,
    else they are those of CLIP ViT-L/14-336.

    Raises:
        ModelError: where ``config.json`` is missing, is not of this kind of model, or contradicts what is expected.
    """
    path = folder / "config.json"
    settings = read_json(path)
    if "LlavaLlamaForCausalLM" not in settings.get("architectures", ()):
        found = settings.get("architectures") or settings.get("model_type")
        raise ModelError(f"{path}: not a LLaVA-3D checkpoint: says {found!r}, expected LlavaLlamaForCausalLM")
    if problems := list(_differences(settings, accept)):
        raise ModelError(
            f"{path}: not the LLaVA-3D that this code computes: {'; '.join(problems)}; "
            "where a difference is known to be right, name the setting in accept"
        )
    own = settings.get(_OURS, {})
    if not isinstance(own, Mapping) or own.get("axes", "scene") not in AXES:
        raise ModelError(f"{path}: {_OURS} should be an object whose axes are {' or '.join(AXES)}")
    missing = [key for key in _LLAMA_SIZES if key not in settings]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}; copy the whole checkpoint again")
    try:
        return Llava3DConfig(
            text=LlamaConfig(**{key: settings[key] for key in _LLAMA_KEYS if key in settings}),
            vision=_vision_config(settings, clip_folder),
            select_layer=int(settings["mm_vision_select_layer"]),
            num_frames=int(settings.get("num_frames", EXPECTED["num_frames"])),
            max_length=int(settings.get("tokenizer_model_max_length", EXPECTED["tokenizer_model_max_length"])),
            image_aspect_ratio=str(settings.get("image_aspect_ratio", EXPECTED["image_aspect_ratio"])),
            axes=own.get("axes", "scene"),
            licence=str(own.get("licence", LICENCE)),
            **ours,
        )
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise ModelError(f"{path}: sizes that no model can have: {' '.join(str(error).split())[:200]}") from error


def official_settings(config: Llava3DConfig) -> dict[str, Any]:
    """``config.json`` in the official layout; ``vision_config`` is added, since a small model needs it."""
    text = config.text.to_dict()
    llama = {key: text[key] for key in _LLAMA_KEYS if text.get(key) is not None}
    llama["rope_theta"] = config.text.rope_parameters["rope_theta"]
    vision = {key: getattr(config.vision, key) for key in CLIP_LARGE}
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava_llama",
        **llama,
        **EXPECTED,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_hidden_size": config.vision.hidden_size,
        "mm_vision_select_layer": config.select_layer,
        "num_frames": config.num_frames,
        "tokenizer_model_max_length": config.max_length,
        "image_aspect_ratio": config.image_aspect_ratio,
        "vision_config": vision,
        _OURS: {"axes": config.axes, "licence": config.licence},
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; ModelError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); a checkpoint folder has this file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: should hold a JSON object, holds a {type(value).__name__}")
    return value


def _differences(settings: Mapping[str, Any], accept: Collection[str]) -> list[str]:
    problems = []
    for key, expected in EXPECTED.items():
        if key in accept and key not in _NOT_TO_BE_ACCEPTED:
            continue
        found = settings.get(key, OFFICIAL_DEFAULTS.get(key))
        same = type(found) is type(expected) and found == expected
        if key in _BY_LAST_PART and isinstance(found, str):
            same = found.rstrip("/").endswith(expected)
        if not same:
            told = (
                repr(found)
                if key in settings
                else "missing" + (f", which means {found!r}" if key in OFFICIAL_DEFAULTS else "")
            )
            problems.append(f"{key} is {told}, expected {expected!r}")
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
    # A CLIP folder names only what differs from the configuration's own defaults.
    return CLIPVisionConfig(**{key: sizes[key] for key in (*CLIP_LARGE, "layer_norm_eps") if key in sizes})
