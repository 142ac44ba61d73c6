"""Start a student from a pretrained causal language model folder and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.special_tokens import END_TOKEN, PAD_TOKEN, special_tokens
from dollhouse.models.pretrained import check_parameters, load_pretrained
from dollhouse.system.read_files import decoding

#: Settings that may differ from the recipe's: the tokenizer decides them, or nothing does.
UNCHECKED = ("vocab_size", "max_position_embeddings")


def read_language_config(folder: Path, wanted: Mapping[str, Any]) -> PreTrainedConfig:
    """Read the config of the causal LM in ``folder``.

    Raises ModelError where there is none, or if settings differ from ``wanted``, naming each.
    """
    config: PreTrainedConfig = load_pretrained(AutoConfig, folder, "no causal language model there")
    with decoding(folder / "config.json", "the configuration of a language model", ModelError):
        check_parameters(folder, lambda: AutoModelForCausalLM.from_config(config, trust_remote_code=False))
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
    tokenizer: PreTrainedTokenizerBase = load_pretrained(AutoTokenizer, folder, "its tokenizer cannot be read")
    tokenizer.add_special_tokens({"additional_special_tokens": special_tokens(thinking)})
    tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side = PAD_TOKEN, END_TOKEN, "left"
    return tokenizer


def load_language_model(model: DollhouseForConditionalGeneration, folder: Path) -> None:
    """Load the language model's weights from ``folder``; embeddings of added tokens are the mean of all others.

    Raises ModelError where weights are missing or misshapen.
    """
    options = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    fault = "its weights cannot be read as safetensors"
    pretrained, loading = load_pretrained(AutoModelForCausalLM, folder, fault, **options)
    if wrong := sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]])):
        raise ModelError(f"{folder}: {len(wrong)} weights are missing or misshapen: {', '.join(wrong[:5])}")
    size, known = model.config.get_text_config().vocab_size, len(pretrained.get_input_embeddings().weight)
    if known < size:
        pretrained.resize_token_embeddings(size, mean_resizing=False)
        for table in (pretrained.get_input_embeddings(), pretrained.get_output_embeddings()):
            with torch.no_grad():
                table.weight[known:] = table.weight[:known].mean(0)
    model.language_model.load_state_dict(pretrained.state_dict(), strict=True, assign=True)
    model.language_model.tie_weights()
