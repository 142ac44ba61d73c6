"""Pretrained language models of three kinds, each with its kind of tokenizer and chat template."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from dollhouse.errors import RecipeError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import torch_session
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.scenes.open import open_scene
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.estimate.memory import module_parameters
from dollhouse.training.model_init import student_config
from dollhouse.training.recipes import check_recipe, read_recipe
from dollhouse.training.tokenizer import chat_format, pretrained_tokenizer
from dollhouse.training.train import distill
from tests.fixtures.recipes import tiny_tree

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "paper.md"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace(
    "assistant\n{% endif %}", "assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
#: name of the kind -> settings of a small one, and its template
KINDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "pythia": ({"model_type": "gpt_neox", **SIZES}, None),
    "smollm2": ({"model_type": "llama", "num_key_value_heads": 2, "tie_word_embeddings": True, **SIZES}, CHATML),
    "qwen3": (
        {"model_type": "qwen3", "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True, **SIZES},
        THINKING,
    ),
}
#: of the models' cards
PARAMETERS = {"pythia": 1_414_647_808, "smollm2": 1_711_376_384, "qwen3": 1_720_574_976}
BEFORE = "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n"
FORMATS = {
    "pythia": None,
    "smollm2": [
        "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    ],
    "qwen3": [
        "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ],
}


def write_language_model(folder: Path, kind: str) -> None:
    """Write a random model with a byte-level tokenizer, whose vocabulary is smaller than the table of embeddings."""
    settings, template = KINDS[kind]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<|im_start|>", "<|im_end|>"] if template else ["<|endoftext|>"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=marks[-1], additional_special_tokens=marks)
    fast.chat_template = template
    fast.save_pretrained(folder)
    sizes = dict(settings)
    config = AutoConfig.for_model(sizes.pop("model_type"), vocab_size=320 if kind == "qwen3" else len(fast), **sizes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def recipe_of(folder: Path, kind: str, **student: Any) -> Recipe:
    tree = tiny_tree()
    tree["student"] |= {"language_weights": str(folder), "text": KINDS[kind][0], "grid_size": 2, **student}
    tree["data"] |= {"scenes": "rooms:train/0-1"}
    tree["stages"] = {
        "all": {
            "steps": 2,
            "batch_size": 2,
            "losses": ["text", "voting", "grounding", "thinking_probe"],
            "train": ["encoder", "trunk", "voting_head", "proposal_head", "projector", "language_model"],
            "learning_rate": 1e-4,
            "muon_learning_rate": 0,
        }
    }
    return check_recipe(tree, "made")


@pytest.mark.parametrize("kind", KINDS)
def test_trained_and_asked_through_its_template(kind: str, tmp_path: Path) -> None:
    write_language_model(tmp_path / kind, kind)
    recipe = recipe_of(tmp_path / kind, kind)
    stage = dry_run(recipe)[0]
    assert set(stage.losses) >= {"text", "voting", "grounding", "thinking_probe"}
    assert all(name.startswith("grounding.pairs") for name in stage.without_gradient)  # no question names two objects
    model_folder = distill(recipe, tmp_path / "run", progress=False)
    pipeline = DollhousePipeline.from_pretrained(model_folder)
    processor, model = pipeline.processor, pipeline.model
    assert processor.chat_format == model.config.chat_format == FORMATS[kind]
    before, after = FORMATS[kind] or (" ", "")
    prompt = processor.tokenizer.decode(processor.question_ids("Is there a Bed?"))
    assert prompt == f"{before}is there a bed?{after}<answer>"
    scene = open_scene("rooms:train/0")
    session = torch_session(pipeline.encode_scene(scene))
    ids = torch.tensor([processor.question_ids("is there a bed?")])
    with torch.inference_mode():
        cached = model.encode_questions(model.encode_prefix(session.prefix), ids, torch.zeros(1, dtype=torch.long))
        inputs = processor(images=[view.image for view in session.scene.views], text=["is there a bed?"])
        embeds = model.get_input_embeddings()(inputs["input_ids"])
        places = inputs["input_ids"] == model.config.scene_token_id
        embeds = embeds.masked_scatter(places.unsqueeze(-1), session.prefix.to(embeds.dtype))
        whole = model.language_model.base_model(inputs_embeds=embeds).last_hidden_state
    torch.testing.assert_close(cached[0, -1], whole[0, -1], rtol=1e-4, atol=1e-4)
    answers = session.answer(["is there a bed?", "how many lamps are there?"])
    assert len(answers) == 2
    original = AutoModelForCausalLM.from_pretrained(tmp_path / kind).get_input_embeddings().weight
    assert (model.get_input_embeddings().weight[:256] - original[:256]).abs().max() < 0.01


def test_a_template_is_refused_or_left_out(tmp_path: Path) -> None:
    write_language_model(tmp_path / "pythia", "pythia")
    recipe = recipe_of(tmp_path / "pythia", "pythia", chat_template=True)
    tokenizer = pretrained_tokenizer(recipe)
    assert tokenizer is not None
    with pytest.raises(RecipeError, match="has no chat template"):
        chat_format(recipe, tokenizer)
    tokenizer.chat_template = CHATML
    assert chat_format(recipe_of(tmp_path / "pythia", "pythia", chat_template=False), tokenizer) is None
    tokenizer.chat_template = "{{ messages[0].content }} {{ messages[0].content }}"
    with pytest.raises(RecipeError, match="the question 2 times"):
        chat_format(recipe, tokenizer)
    tokenizer.chat_template = "{{ 1 / 0 }}"
    with pytest.raises(Exception, match="chat template fails"):
        chat_format(recipe, tokenizer)


def guide_recipe(kind: str) -> Recipe:
    """Return the recipe of the guide's command for a model, without its weights."""
    line = next(line for line in GUIDE.read_text().splitlines() if line.endswith(f"--out runs/{kind}"))
    words = [word for word in shlex.split(line)[3:-2] if not word.startswith("student.language_weights=")]
    return read_recipe("paper", words)


@pytest.mark.parametrize("kind", KINDS)
def test_full_size_has_the_parameters_of_the_released_model(kind: str) -> None:
    config = student_config(guide_recipe(kind))
    config.label_ids, config.colour_ids = [[0] for _ in config.labels], [[0] for _ in config.colours]
    with torch.device("meta"):
        rows = module_parameters(DollhouseForConditionalGeneration(config))
    assert next(row.parameters for row in rows if row.name == "language_model") == PARAMETERS[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["smollm2", "qwen3"])
def test_full_size_step_fits(kind: str) -> None:
    """Every shape of a step of the paper's losses, in a small student around the language model."""
    from tests.training.test_stand_ins import SMALL, with_stand_ins

    recipe = guide_recipe(kind)
    student = read_recipe("paper", [*SMALL, f"student.text={re.sub(chr(39), chr(34), str(recipe.student.text))}"])
    with with_stand_ins(student) as complete:
        for stage in dry_run(complete):
            assert set(complete.stages[stage.name].losses) <= set(stage.losses)
            assert not stage.without_gradient
