"""Start a student from a pretrained causal language model folder and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from dollhouse.errors import ModelError
from dollhouse.models.checked_tensors import require_finite
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.special_tokens import END_TOKEN, PAD_TOKEN, special_tokens

#: Settings that may differ from the recipe's: the tokenizer decides them, or nothing does.
UNCHECKED = ("vocab_size", "max_position_embeddings")


def read_language_config(folder: Path, wanted: Mapping[str, Any]) -> PreTrainedConfig:
    """Read the config of the causal LM in ``folder``.

    Raises:
        ModelError: if there is none, or if settings differ from ``wanted``, naming each.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no causal language model there ({_first_line(error)})") from None
    differing = [
        f"{name} {getattr(config, name, None)!r}, not {value!r}"
        for name, value in wanted.items()
        if name not in UNCHECKED and getattr(config, name, None) != value
    ]
    if differing:
        raise ModelError(f"{folder}: a language model of another shape than the recipe's: {'; '.join(differing)}")
    return config


def read_tokenizer(folder: Path, thinking: int) -> PreTrainedTokenizerBase:
    """Read the tokenizer in ``folder`` and add the student's special tokens; raises ModelError if there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be read ({_first_line(error)})") from None
    tokenizer.add_special_tokens({"additional_special_tokens": special_tokens(thinking)})
    tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side = PAD_TOKEN, END_TOKEN, "left"
    return tokenizer


def load_language_model(model: DollhouseForConditionalGeneration, folder: Path) -> None:
    """Load the language model's weights from ``folder``; embeddings of added tokens are the mean of all others.

    Raises:
        ModelError: if weights are missing or misshapen.
    """
    try:
        pretrained, loading = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{folder}: its weights cannot be read as safetensors ({_first_line(error)})") from None
    if wrong := sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]])):
        raise ModelError(f"{folder}: {len(wrong)} weights are missing or misshapen: {', '.join(wrong[:5])}")
    require_finite(pretrained.state_dict(), folder)
    size, known = model.config.get_text_config().vocab_size, len(pretrained.get_input_embeddings().weight)
    if known < size:
        pretrained.resize_token_embeddings(size, mean_resizing=False)
        for table in (pretrained.get_input_embeddings(), pretrained.get_output_embeddings()):
            with torch.no_grad():
                table.weight[known:] = table.weight[:known].mean(0)
    model.language_model.load_state_dict(pretrained.state_dict(), strict=True, assign=True)
    model.language_model.tie_weights()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
