"""Dry runs and profiles: shapes and counts equal those of a real step; wrong shapes are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dollhouse.data.dataset import StepDataset
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.errors import ModelError, RecipeError
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.training.config import Recipe
from dollhouse.training.estimate import dry_run as module
from dollhouse.training.estimate.dry_run import StageEstimate, dry_run
from dollhouse.training.estimate.profile import profile_training
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from dollhouse.training.recipes import check_recipe
from dollhouse.training.run_folder import same_recipe
from dollhouse.training.stage import set_trainable
from dollhouse.training.train import distill, prepare_student

PERCEPTION_LOSSES = ["depth_reg", "camera", "voting", "detection"]
PERCEPTION_HEADS = ["trunk", "depth_head", "camera_head", "voting_head", "proposal_head"]


def tree(**student: Any) -> dict[str, Any]:
    """A recipe of the paper's form, small: frozen VGGT with its own depth head, then all losses."""
    vision = {
        "patch_embed": "conv",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "heads": ["depth"],
        "dpt_head": {"features": 8, "out_channels": [8, 8, 8, 8], "layers": [0, 1, 2, 3]},
    }
    text = {
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 600,
    }
    small = {"trunk_width": 32, "trunk_layers": 1, "trunk_heads": 2, "object_layers": 1, "num_objects": 6}
    stage = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "muon_learning_rate": 0.0}
    return {
        "name": "small",
        "precision": "float32",
        "student": {
            "image_size": 56,
            "vision": vision,
            "text": text,
            "depth_from": "encoder",
            "vocabulary": 400,
            **small,
            **student,
        },
        "data": {"scenes": "rooms:train/0-1", "views": 4, "questions_per_scene": 4, "workers": 0},
        "stages": {
            "pretrain_perception": {
                **stage,
                "losses": PERCEPTION_LOSSES,
                "train": PERCEPTION_HEADS,
                "gt_assignment_prob": 1.0,
            },
            "finetune_end_to_end": {
                **stage,
                "losses": ["text", *PERCEPTION_LOSSES],
                "train": [*PERCEPTION_HEADS, "projector", "language_model"],
            },
        },
    }


def recipe_of(settings: dict[str, Any]) -> Recipe:
    return check_recipe(settings, "test")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    settings = tree()
    settings["data"]["cache"] = str(tmp_path_factory.mktemp("cache"))
    return recipe_of(settings)


@pytest.fixture(scope="module")
def checks(recipe: Recipe) -> list[StageEstimate]:
    return dry_run(recipe)


def test_counts_are_those_of_a_real_step(recipe: Recipe, checks: list[StageEstimate], tmp_path: Path) -> None:
    model, processor, _ = prepare_student(recipe, tmp_path)
    source = SceneTargetSource(recipe.data, model.config)
    assert [check.name for check in checks] == ["pretrain_perception", "finetune_end_to_end"]
    for check in checks:
        stage = recipe.stages[check.name]
        set_trainable(stage, model)
        model.train().zero_grad()
        batch = StepDataset(source, stage.sampling(recipe.data), recipe.seed, processor.tokenizer, model.config)[0]
        weighting = StaticWeighting(dict.fromkeys(stage.losses, 1.0))
        parts = LossModule(model, weighting, stage.losses)(batch)
        parts["loss"].backward()
        reached = [name for name, value in model.named_parameters() if value.grad is not None]
        assert check.photos == tuple(batch.pixel_values.shape)
        assert check.vision_tokens == 2 * 4 * (5 + 16)
        assert set(check.losses) == set(parts) - {"loss"}
        assert check.gradients == len(reached)
        assert check.trained == sum(value.numel() for value in model.parameters() if value.requires_grad)
        assert check.trained + check.frozen == sum(value.numel() for value in model.parameters())
        assert check.weight_bytes == 4 * (check.trained + check.frozen)
        assert check.state_bytes >= 2 * 4 * sum(
            value.numel() for value in model.parameters() if value.grad is not None and value.ndim
        ), "AdamW has two state tensors per parameter"
        assert check.peak_bytes > check.weight_bytes + check.state_bytes
        assert check.flops > 6 * check.text_tokens * sum(p.numel() for p in model.trunk.parameters())


def test_frozen_encoder_has_no_gradients(checks: list[StageEstimate]) -> None:
    assert not checks[0].without_gradient
    assert not checks[1].without_gradient
    assert checks[0].trained < checks[1].trained


def test_encoder_is_trained_from_a_layer_on(recipe: Recipe) -> None:
    settings = tree()
    settings["data"] = recipe.data.model_dump()
    settings["stages"] = {
        "pretrain_perception": {
            **settings["stages"]["pretrain_perception"],
            "train": [*PERCEPTION_HEADS, "encoder"],
            "unfreeze_from_layer": 3,
        }
    }
    later = dry_run(recipe_of(settings))[0]
    settings["stages"]["pretrain_perception"]["unfreeze_from_layer"] = 0
    whole = dry_run(recipe_of(settings))[0]
    block = 12 * 32 * 32 + 13 * 32 + 2 * 32 + 4 * 16  # with layer scales and norms of queries and keys
    assert whole.trained - later.trained >= 6 * block
    settings["stages"]["pretrain_perception"]["unfreeze_from_layer"] = 9
    with pytest.raises(RecipeError, match="no round 9"):
        dry_run(recipe_of(settings))


def test_wrong_shapes_are_reported_with_their_stage(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of the projector differs from the width of the language model."""
    first_batches = module.without_memory

    def broken(build: Any) -> Any:
        fake, student = first_batches(build)
        with fake:
            student.multi_modal_projector.feature_proj = nn.Linear(32, 48)
        return fake, student

    monkeypatch.setattr(module, "without_memory", broken)
    with pytest.raises(RecipeError, match="stage finetune_end_to_end"):
        dry_run(recipe)


def test_wrong_encoder_weights_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pt")
    settings = tree(encoder_weights=str(tmp_path / "model.pt"))
    settings["data"] = recipe.data.model_dump()
    with pytest.raises(ModelError, match="do not match the model"):
        dry_run(recipe_of(settings))


def test_frozen_encoder_without_weights_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"give student\.encoder_weights"):
        distill(recipe, tmp_path, progress=False)


def test_profile_measures_speed_and_writes_no_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dollhouse.training.estimate.profile.distill", quietly)
    measured = profile_training(recipe, tmp_path, steps=2, peak_flops=1e15)
    assert [len(stage.seconds) for stage in measured.stages] == [2, 2]
    assert all(stage.tokens_per_second > 0 and 0 < stage.utilisation < 1 for stage in measured.stages)
    assert measured.peak_bytes > 1e7
    assert not list(tmp_path.rglob("*.safetensors"))


def quietly(*arguments: Any, **settings: Any) -> Path:
    return distill(*arguments, **settings, progress=False)


def test_official_encoder_and_pretrained_language_model(recipe: Recipe, tmp_path: Path) -> None:
    """Both are loaded, with the tokenizer; frozen encoder weights do not change."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedTokenizerFast

    from dollhouse.models.vggt.modeling import VggtModel

    settings = tree()
    encoder_folder, language_folder = tmp_path / "VGGT-1B-Commercial", tmp_path / "language"
    encoder_folder.mkdir()
    initial, _, _ = prepare_student(recipe, tmp_path / "first")
    official = VggtModel(initial.config.get_vision_config())
    official.to_official(encoder_folder / "model.safetensors")
    shape = {
        key: value for key, value in settings["student"]["text"].items() if key not in ("model_type", "vocab_size")
    }
    language = AutoModelForCausalLM.from_config(GPTNeoXConfig(vocab_size=260, **shape))
    language.save_pretrained(language_folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(language_folder)

    with_weights = tree(encoder_weights=str(encoder_folder), language_weights=str(language_folder))
    with_weights["data"] = recipe.data.model_dump()
    with_weights["student"]["text"].pop("vocab_size")
    folder = distill(recipe_of(with_weights).with_max_steps(1), tmp_path / "run", progress=False)
    model, processor, _ = load_student(folder)
    official_state = official.state_dict()
    assert all(
        torch.equal(value, official_state[name].bfloat16().float())
        for name, value in model.encoder.state_dict().items()
    )
    assert "VGGT-1B-Commercial" in model.config.licence
    assert len(processor.tokenizer) == 256 + 4 + 4
    near = model.get_input_embeddings().weight[:256] - language.get_input_embeddings().weight[:256]
    assert near.abs().max() < 0.02, (
        "a training step changes embeddings little; another initialisation would change them much"
    )

    with_weights["student"]["text"]["num_hidden_layers"] = 3
    with pytest.raises((ModelError, RecipeError), match="num_hidden_layers 2, not 3"):
        prepare_student(recipe_of(with_weights), tmp_path / "other")


def test_stored_recipe_without_newer_settings_is_the_same(recipe: Recipe) -> None:
    frozen = recipe.model_dump(mode="json")
    for name in ("encoder_weights", "language_weights"):
        frozen["student"].pop(name)
    for stage in frozen["stages"].values():
        stage.pop("unfreeze_from_layer")
    assert same_recipe(frozen, recipe)
    assert not same_recipe(frozen | {"seed": 5}, recipe)
