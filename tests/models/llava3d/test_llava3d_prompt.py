"""Prompts, boxes in questions, and the tokenizer of a checkpoint folder."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from transformers import LlamaConfig

from dollhouse.errors import ModelError, QuestionError
from dollhouse.models.llava3d.prompt import conversation, encoder, expand_boxes, load_tokenizer, prompt_ids

SENTENCES = (
    "A chat between a curious human and an assistant. USER: ",
    "\nWhat color is the chair? ASSISTANT:",
    " and",  # as after <boxes>: SentencePiece gives it a second space
    "  two  spaces ",
    ", ",
    "na\u00efve 2.5 m \u2014 \u6f22\u5b57 \u2581",
    "",
    " ",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write tokenizer files like LLaMA's: a SentencePiece model trained on this project's own text."""
    pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    shutil.copy(Path(__file__).parent / "llama_like.model", tmp_path / "tokenizer.model")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False, "padding_side": "right"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(special | settings))
    return tmp_path


@pytest.mark.parametrize("legacy", [False, True])
def test_ids_are_those_of_sentencepiece(folder: Path, legacy: bool) -> None:
    import sentencepiece

    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"legacy": legacy}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    encode = encoder(load_tokenizer(folder, LlamaConfig(vocab_size=600)))
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    rng = random.Random(0)
    noise = ["".join(rng.choices("abc XY  .,\n\t012\u00e9\u6f22-'?/", k=rng.randint(1, 25))) for _ in range(300)]
    for text in (*SENTENCES, *noise):
        assert list(encode(text)) == reference.encode(text.replace("\u2581", " ")), repr(text)


def test_pieces_and_places(folder: Path) -> None:
    tokenizer = load_tokenizer(folder, LlamaConfig(vocab_size=600))
    prompt = conversation([("Is <boxes> near <boxes>?", None)])
    ids = prompt_ids(prompt, encoder(tokenizer), tokenizer.bos_token_id)
    assert [token for token in ids if token < 0] == [-200, -300, -300]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    decoded = tokenizer.decode([token for token in ids if token >= 0], skip_special_tokens=True)
    assert re.sub(r"\s+", " ", decoded) == re.sub(r"<image>|<boxes>", "", prompt).replace("\n", " ").replace("  ", " ")


def test_tokenizers_that_do_not_fit_are_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_tokenizer(empty, LlamaConfig())
    with pytest.raises(ModelError, match=r"600 tokens.*does not match its model \(500 tokens"):
        load_tokenizer(folder, LlamaConfig(vocab_size=500))
    (empty / "tokenizer.json").write_text("no tokenizer")
    (empty / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load_tokenizer(empty, LlamaConfig())
    assert "\n" not in str(caught.value)


def test_boxes_are_expanded() -> None:
    assert expand_boxes("At <boxes>?", 1) == "At <boxes>?"
    assert expand_boxes("At <boxes>?", 3) == "At <boxes>, <boxes>, <boxes>?"
    assert expand_boxes("<boxes> or <boxes>?", 2) == "<boxes> or <boxes>?"
    assert expand_boxes("No place?", 0) == "No place?"
    for text, count, message in (
        ("<boxes> or <boxes>?", 3, "2 <boxes> but 3"),
        ("<boxes>?", 0, "1 <boxes> but 0"),
        ("<image>\nWhat?", 0, "leave out <image>"),
        ("<video>\nWhat?", 0, "leave out <image>"),
    ):
        with pytest.raises(QuestionError, match=message):
            expand_boxes(text, count)
