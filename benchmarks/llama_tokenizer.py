"""A tokenizer of its own for a small LLaVA-3D, in the layout of LLaMA's: byte-pair encoding with bytes to fall back on.

Knows texts, not what they are about; reading a checkpoint's tokenizer is :mod:`.prompt`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dollhouse.errors import StorageError

SPACE = "\u2581"
#: ids 0, 1, 2, ... of every vocabulary, as LLaMA has them
FIRST = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))

Merges = Sequence[tuple[str, str]]


def learn_pieces(texts: Iterable[str], words: Sequence[str], size: int) -> tuple[list[str], Merges]:
    """Pieces and merges for a vocabulary of at most ``size``, learnt from ``texts``.

    Every one of ``words`` becomes one piece (with the space before it) as long as ``size`` allows: they are repeated
    until no merge is more frequent.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(SPACE, prepend_scheme="first"), pre_tokenizers.Punctuation()]
    )
    corpus = list(texts)
    often = [word for word in words for _ in range(len(corpus) + 10)]
    trainer = trainers.BpeTrainer(vocab_size=size - len(FIRST), show_progress=False)
    learner.train_from_iterator([*corpus, *often], trainer)
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    return pieces, [(first, second) for first, second in learnt["merges"]]


def write_tokenizer(folder: Path, pieces: Iterable[str], merges: Merges = ()) -> None:
    """``tokenizer.json`` and ``tokenizer_config.json`` of a checkpoint folder; ``pieces`` follow :data:`FIRST`.

    Raises StorageError where they cannot be written.
    """
    vocabulary = {piece: number for number, piece in enumerate([*FIRST, *pieces])}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges), byte_fallback=True, unk_token=FIRST[0], fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1)]
    )
    told = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = json.dumps(told | {"legacy": False, "model_max_length": 4096})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write the tokenizer in {folder}: {error.strerror or error}") from error
