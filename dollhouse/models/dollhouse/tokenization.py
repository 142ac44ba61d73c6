"""Train a small byte-level BPE tokenizer for students trained from scratch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.special_tokens import (
    ANSWER_TOKEN,
    END_TOKEN,
    PAD_TOKEN,
    SCENE_TOKEN,
    is_thinking_token,
    special_tokens,
    thinking_tokens,
)


def train_tokenizer(texts: Iterable[str], words: Sequence[str], size: int, thinking: int) -> PreTrainedTokenizerFast:
    """Train a lower-casing byte-level BPE of at most ``size`` tokens; each of ``words`` becomes one token.

    ``words`` (labels and colours) are repeated in the training text until no merge is more frequent.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special_tokens(thinking),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [text.lower() for text in texts]
    often = [f" {word}" for word in words] * (len(corpus) + 10)
    tokenizer.train_from_iterator([*corpus, *often], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=END_TOKEN,
        additional_special_tokens=[SCENE_TOKEN, ANSWER_TOKEN, *thinking_tokens(thinking)],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return 12 hex digits that are equal for tokenizers that share their base vocabulary.

    Added tokens, such as a student's or those of a chat template, do not count: a student that starts from the language
    model of its teacher has the teacher's vocabulary.
    """
    base = tokenizer.vocab_size
    entries = sorted(
        (token, id) for token, id in tokenizer.get_vocab().items() if id < base and not is_thinking_token(token)
    )
    return sha256(json.dumps(entries).encode()).hexdigest()[:12]


def fill_token_ids(config: DollhouseConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the tokenizer's ids of special tokens, labels and colours into ``config``."""
    config.scene_token_id = tokenizer.convert_tokens_to_ids(SCENE_TOKEN)
    config.answer_token_id = tokenizer.convert_tokens_to_ids(ANSWER_TOKEN)
    config.thinking_ids = tokenizer.convert_tokens_to_ids(thinking_tokens(config.num_thinking_tokens))
    config.pad_token_id = tokenizer.pad_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.label_ids = [tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in config.labels]
    config.colour_ids = [tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in config.colours]
