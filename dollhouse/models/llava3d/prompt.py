"""Prompts and token ids of LLaVA-3D's official evaluation (``docs/specs/llava3d.md``, sections 5 and 6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaConfig
from transformers.utils import is_protobuf_available, is_sentencepiece_available

from dollhouse.errors import ModelError, QuestionError
from dollhouse.models.llava3d.multimodal_embed import IMAGE_TOKEN_ID, LOCATION_TOKEN_ID
from dollhouse.models.pretrained import load_pretrained

IMAGE, BOXES = "<image>", "<boxes>"
# "human" as in the official evaluation; the official training has "user" (docs/specs/llava3d.md, section 6)
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
END = "</s>"

Encode = Callable[[str], Sequence[int]]  #: text -> ids, without any begin or end token


def conversation(turns: Sequence[tuple[str, str | None]]) -> str:
    """Format a conversation about one image or scene.

    The image placeholder is inserted before the first question. The last answer is None to be generated.
    """
    text = f"{SYSTEM} "
    for number, (question, answer) in enumerate(turns):
        reply = "" if answer is None else f" {answer}{END}"
        text += f"USER: {IMAGE + chr(10) if number == 0 else ''}{question} ASSISTANT:{reply}"
    return text


def prompt_ids(prompt: str, encode: Encode, bos: int) -> list[int]:
    """Tokenize a prompt piece by piece between placeholders, with one ``bos`` in front."""
    ids = [bos]
    for piece in re.split(f"({IMAGE}|{BOXES})", prompt):
        if piece in (IMAGE, BOXES):
            ids.append(IMAGE_TOKEN_ID if piece == IMAGE else LOCATION_TOKEN_ID)
        else:
            ids.extend(encode(piece))
    return ids


def expand_boxes(question: str, count: int) -> str:
    """Repeat a single ``<boxes>`` in a question ``count`` times.

    Raises QuestionError where the numbers differ, or where the question contains an image placeholder.
    """
    if IMAGE in question or "<video>" in question:
        raise QuestionError(f"{question!r}: leave out <image> and <video>; the scene is inserted before the question")
    places = question.count(BOXES)
    if places == 1 and count > 1:
        return question.replace(BOXES, ", ".join([BOXES] * count))
    if places and places != count:
        raise QuestionError(f"{question!r}: has {places} <boxes> but {count} objects; give one object for each")
    return question


def load_tokenizer(folder: Path, config: LlamaConfig) -> Any:
    """Load the tokenizer of a checkpoint folder; raises ModelError on a mismatch with the model."""
    if not any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise ModelError(f"{folder}: has no tokenizer (tokenizer.model or tokenizer.json); copy the whole checkpoint")
    installed = is_sentencepiece_available() and is_protobuf_available()
    if not installed and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder}/tokenizer.model needs two more libraries: pip install sentencepiece protobuf")
    tokenizer = load_pretrained(AutoTokenizer, folder, "its tokenizer cannot be read", config=config)
    found = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if found != (config.bos_token_id, config.eos_token_id) or len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"{folder}: its tokenizer ({len(tokenizer)} tokens, begin and end {found}) does not match its model "
            f"({config.vocab_size} tokens, {(config.bos_token_id, config.eos_token_id)}); copy the whole checkpoint"
        )
    return tokenizer


def encoder(tokenizer: Any) -> Encode:
    """Return an encoder equal to SentencePiece, which adds a space before every piece."""

    def encode(text: str) -> Sequence[int]:
        text = text.replace("\u2581", " ")
        # the fast tokenizer adds its space only where there is none; SentencePiece, used in training, always does
        return tokenizer.encode(" " + text if text.startswith(" ") else text, add_special_tokens=False)

    return encode
