"""The student: every path to an answer gives the same answer, and what is saved comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import dollhouse.models.dollhouse  # noqa: F401  registers the Auto classes
from dollhouse.errors import ModelError, StorageError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.serialization import load_student, save_student, single_weights
from dollhouse.scenes.scene import Scene, View
from dollhouse.system.checksums import HASHES
from tests.models.conftest import tiny_pipeline

QUESTIONS = ["is the red chair near the table?", "which is taller, the lamp or the blue chair?", "lamp?"]


def scene_of(photos: list[np.ndarray]) -> Scene:
    return Scene("made", tuple(View(str(i), lambda photo=photo: photo) for i, photo in enumerate(photos)))


def test_packed_questions_equal_one_sequence_each(photos: list[np.ndarray]) -> None:
    """One prefix and many questions gives the logits of the plain sequence."""
    pipeline = tiny_pipeline()
    model, processor = pipeline.model, pipeline.processor
    other = [255 - photo for photo in photos]
    pixels = torch.stack([torch.from_numpy(processor.image_processor(p)["pixel_values"])[0] for p in (photos, other)])
    ids = [processor.question_ids(question) for question in QUESTIONS]
    length = max(map(len, ids))
    packed = torch.tensor([row + [0] * (length - len(row)) for row in ids] * 2)
    owners = torch.tensor([0, 0, 0, 1, 1, 1])
    with torch.inference_mode():
        scene = model.encode_prefix(model.get_image_features(pixels))
        hidden = model.encode_questions(scene, packed, owners)
        again = model.encode_questions(scene, packed, owners)
        logits = model.get_output_embeddings()(hidden)
        for row in range(6):
            tokens = processor.tokenizer(
                processor.prompt(QUESTIONS[row % 3]), add_special_tokens=False, return_tensors="pt"
            )
            plain = model(input_ids=tokens["input_ids"], pixel_values=pixels[owners[row] : owners[row] + 1]).logits
            count = len(ids[row % 3])
            torch.testing.assert_close(logits[row, :count], plain[0, -count:], atol=2e-5, rtol=1e-4)
    assert torch.equal(hidden, again), "asking must not change the scene's cache"


def test_thinking_tokens_are_never_sampled(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    with torch.no_grad():  # make every silent token the likeliest
        pipeline.model.get_output_embeddings().weight[pipeline.model.suppress_tokens()] *= 100
    inputs = pipeline.processor(images=photos, text=QUESTIONS)
    generated = pipeline.model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    allowed_pad = pipeline.model.config.pad_token_id
    silent = set(pipeline.model.suppress_tokens()) - {allowed_pad}
    assert not silent & set(generated.flatten().tolist())


def test_labels_count_answer_tokens_only(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    inputs = pipeline.processor(images=photos, text=QUESTIONS[0])
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -2:] = inputs["input_ids"][:, -2:]
    loss = pipeline.model(**inputs, labels=labels).loss
    logits = pipeline.model(**inputs).logits
    expected = torch.nn.functional.cross_entropy(logits[0, -3:-1], labels[0, -2:])
    torch.testing.assert_close(loss, expected)


def test_photos_and_places_come_together(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    inputs = pipeline.processor(images=photos, text=QUESTIONS[0])
    with pytest.raises(ValueError, match="no pixel_values"):
        pipeline.model(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="places"):
        pipeline.model(input_ids=inputs["input_ids"][:, 1:], pixel_values=inputs["pixel_values"])


@pytest.mark.parametrize("tied", [False, True])
def test_saved_folder_loads_everywhere(tmp_path: Path, photos: list[np.ndarray], tied: bool) -> None:
    pipeline = tiny_pipeline(tied=tied)
    save_student(pipeline.model, pipeline.processor, tmp_path / "model")
    again = DollhousePipeline.from_pretrained(tmp_path / "model")
    assert AutoConfig.from_pretrained(tmp_path / "model").model_type == "dollhouse"
    auto = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    inputs = processor(images=photos, text=QUESTIONS)
    with torch.inference_mode():
        ours = again.model(**again.processor(images=photos, text=QUESTIONS)).logits
        theirs = auto(**inputs).logits
    assert torch.equal(ours, theirs)
    rounded = {name: value.to(torch.bfloat16).float() for name, value in pipeline.model.state_dict().items()}
    assert all(torch.equal(rounded[name], value) for name, value in again.model.state_dict().items())


def test_bad_folders_are_named(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, tmp_path / "model")
    with pytest.raises(ModelError, match="no model folder"):
        load_student(tmp_path / "nowhere")
    pickled = tmp_path / "model.bin"
    torch.save({"a": 1}, pickled)
    with pytest.raises(ModelError, match="pickles are not loaded"):
        load_student(pickled)
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match=r"model\.safetensors: is damaged or was changed.*copy the folder again"):
        load_student(tmp_path / "model")
    sums = (tmp_path / "model" / HASHES).read_bytes()
    (tmp_path / "model" / HASHES).unlink()  # of a model without checksums
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        load_student(tmp_path / "model")
    (tmp_path / "model" / HASHES).write_bytes(sums)
    weights.unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        load_student(tmp_path / "model")
    weights.write_bytes(whole)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="not a Dollhouse model"):
        load_student(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors"])
def test_a_flipped_bit_is_named(tmp_path: Path, name: str) -> None:
    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-9] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises((StorageError, ModelError), match=name):
        load_student(tmp_path / "model")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    """On saving; and on loading, from a folder without checksums."""
    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, tmp_path / "model")
    with torch.no_grad():
        next(pipeline.model.language_model.parameters()).view(-1)[3] = value
    with pytest.raises(ModelError, match=r"language_model.* values that are not finite"):
        save_student(pipeline.model, pipeline.processor, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "model" / HASHES).unlink()
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in single_weights(pipeline.model).items()}
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"language_model.* values that are not finite"):
        load_student(tmp_path / "model")


@pytest.mark.parametrize(
    "heads", [{"depth_bins": 4}, {"relation_head": True}, {"depth_bins": 4, "relation_head": True}]
)
def test_a_head_comes_alone_or_with_others(heads: dict[str, int]) -> None:
    """A loss may ask for one head that the model lacks; the others are not missed."""
    model = tiny_pipeline("before_question").model
    before = {name for name, _ in model.named_children()}
    model.add_heads(**heads)
    made = {name for name, _ in model.named_children()} - before
    assert made == {"depth_bin_head" if name == "depth_bins" else name for name in heads}
    assert all(float(weight.detach().abs().max()) < 1 for name in made for weight in getattr(model, name).parameters())
