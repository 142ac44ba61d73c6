"""``data.feature_cache``: the frozen encoder's output, stored once, in place of the encoder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dollhouse.data.feature_cache import EncoderFeatures, encode_features, weights_hash
from dollhouse.data.record_dataset import open_target_source
from dollhouse.errors import RecipeError, StorageError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training import cache_features as module
from dollhouse.training.cache_features import cache_features
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.frozen_encoder import frozen_encoder_key
from dollhouse.training.model_init import build_student
from dollhouse.training.recipes import check_recipe
from dollhouse.training.run_folder import same_recipe
from dollhouse.training.stage import build_stage
from dollhouse.training.tokenizer import load_or_train_tokenizer
from dollhouse.training.train import distill, prepare_student
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_HEADS, PERCEPTION_LOSSES, STAGE, STUDENT, TINY, tiny_tree

CONV = {"patch_embed": "conv", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "heads": []}
#: with VGGT's own depth head
DEPTH = {
    **CONV,
    "heads": ["depth"],
    "dpt_head": {"features": 16, "out_channels": [8, 8, 16, 16], "layers": [0, 0, 1, 1]},
}
EFFICIENT = {**CONV, "patch_embed": "efficientnet"}
ALL_LOSSES = [*PERCEPTION_LOSSES, "text"]
Settings = dict[str, Any]


def write_vggt(path: Path, vision: Settings, seed: int = 0) -> str:
    """Write a tiny random VGGT in the official layout."""
    torch.manual_seed(seed)
    VggtModel(VggtConfig(image_size=28, **vision)).to_official(path)
    return str(path)


def tree(weights: str, vision: Settings, depth_from: str = "trunk", **changes: Any) -> Settings:
    student = {**STUDENT, "vision": vision, "encoder_weights": weights, "depth_from": depth_from}
    stages = {
        "perception": {
            **STAGE, "steps": 4, "losses": PERCEPTION_LOSSES, "train": PERCEPTION_HEADS, "gt_assignment_prob": 0.5,
        },
        "finetune": {**STAGE, "steps": 3, "losses": ALL_LOSSES, "train": [*PERCEPTION_HEADS, *LANGUAGE_PARTS]},
        "language": {**STAGE, "steps": 2, "losses": ["text"], "train": LANGUAGE_PARTS},
    }  # fmt: skip
    return tiny_tree(**{"student": student, "stages": stages, **changes})


def with_cache(settings: Settings, folder: Path) -> Recipe:
    return check_recipe({**settings, "data": {**settings["data"], "feature_cache": str(folder)}}, "test")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_vggt(tmp_path_factory.mktemp("vggt") / "model.safetensors", DEPTH)


@pytest.fixture(scope="module")
def settings(weights: str) -> Settings:
    return tree(weights, DEPTH, "encoder")


@pytest.fixture(scope="module")
def cache(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    cache_features(check_recipe(settings, "test"), folder)
    return folder


def read(recipe: Recipe, model: DollhouseForConditionalGeneration, folder: Path) -> Iterator[tuple[Any, Tensor]]:
    """Yield the cached features of each sample, and its photos."""
    source = open_target_source(recipe.data.model_copy(update={"feature_cache": folder}), model.config)
    source.open_features(frozen_encoder_key(recipe, model))
    for index in range(len(source)):
        targets = source.targets(index)
        photos = torch.from_numpy(targets.images).permute(0, 3, 1, 2).unsqueeze(0).float() / 255
        yield source.encoder_features(index, targets), photos


def build(recipe: Recipe, folder: Path) -> DollhouseForConditionalGeneration:
    source = open_target_source(recipe.data, module.student_config(recipe))
    return build_student(recipe, load_or_train_tokenizer(recipe, source, folder / "tokenizer"))[0].eval()


def tensors(features: EncoderFeatures) -> list[Tensor]:
    return [features.tokens, *features.embedded, *([] if features.depth is None else [features.depth])]


@pytest.mark.parametrize(("vision", "depth_from"), [(CONV, "trunk"), (DEPTH, "encoder"), (EFFICIENT, "stem")])
def test_what_is_read_is_what_the_encoder_gives(vision: Settings, depth_from: str, tmp_path: Path) -> None:
    """Equal after rounding to bfloat16, and so are the losses' inputs; with an encoder in bfloat16, exactly."""
    recipe = check_recipe(tree(write_vggt(tmp_path / "vggt.safetensors", vision), vision, depth_from), "test")
    run = cache_features(recipe, tmp_path / "features")
    assert (run.total, run.written, run.existing, run.failures) == (6, 6, 0, [])
    model = build(recipe, tmp_path)
    for features, photos in read(recipe, model, tmp_path / "features"):
        encoded = model.encode_photos(photos)
        assert torch.equal(features.tokens, encoded.last_hidden_state.to(torch.bfloat16))
        assert [len(tensors(features))] == [{"trunk": 1, "encoder": 2, "stem": 4}[depth_from]]
        if features.depth is not None:
            assert torch.equal(features.depth, model.encoder.predict_depth(encoded)[0])
        for stored, computed in zip(features.embedded, encoded.embedded, strict=bool(features.embedded)):
            assert torch.equal(stored[0], computed.to(torch.bfloat16))
        with torch.no_grad():
            by_cache = model.encode_scene(photos, encoded=features.output())
            depth = model.predict_log_depth(by_cache, photos)
            scene = model.encode_scene(photos)
            expected = model.predict_log_depth(scene, photos)
        torch.testing.assert_close(by_cache.patches, scene.patches, atol=0.03, rtol=0.03)
        torch.testing.assert_close(depth, expected, atol=0.03, rtol=0.03)
    model.encoder.to(torch.bfloat16)
    if depth_from == "trunk":  # the others compute a part in float32
        features, photos = encode_features(model, photos.bfloat16()), photos.bfloat16()
        assert torch.equal(features.tokens, model.encode_photos(photos).last_hidden_state)


def test_training_is_the_same_to_rounding_and_holds_no_encoder(
    settings: Settings, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(check_recipe(settings, "test"), tmp_path / "plain", progress=False)
    forward = VggtModel.forward
    monkeypatch.setattr(VggtModel, "forward", None)
    distill(with_cache(settings, cache), tmp_path / "cached", progress=False)
    plain, cached = (
        [json.loads(row) for row in (tmp_path / run / "metrics.jsonl").open()] for run in ("plain", "cached")
    )
    assert len(plain) == len(cached) > 3
    for row, other in zip(plain, cached, strict=True):
        losses = {name: row[name] for name in ALL_LOSSES if name in row}
        assert losses == pytest.approx({name: other[name] for name in losses}, rel=0.01)
    assert not any(name.startswith("encoder") for name in load_file(tmp_path / "cached/finetune/student.safetensors"))
    first, second = (load_file(tmp_path / run / "model/model.safetensors") for run in ("plain", "cached"))
    assert first.keys() == second.keys()
    frozen = [name for name in first if name.startswith("encoder.")]
    assert frozen
    assert all(torch.equal(first[name], second[name]) for name in frozen)
    configs = [(tmp_path / run / "model/config.json").read_text() for run in ("plain", "cached")]
    assert configs[0] == configs[1]
    monkeypatch.setattr(VggtModel, "forward", forward)


def test_a_killed_run_computes_only_what_is_missing(settings: Settings, tmp_path: Path) -> None:
    """Killed with SIGKILL while it writes; then two shards, in one folder; then nothing is left to do."""
    recipe_file = tmp_path / "recipe.json"
    recipe_file.write_text(json.dumps({**settings, "data": {**settings["data"], "scenes": "rooms:train/0-59"}}))
    recipe, folder = check_recipe(json.loads(recipe_file.read_text()), "test"), tmp_path / "features"
    command = [sys.executable, "-m", "dollhouse.cli", "annotate", "--features", str(recipe_file), "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(folder.rglob("*.txt"))) < 3:
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.wait()
    listed, entries = ({path: path.stat().st_mtime_ns for path in folder.rglob(kind)} for kind in ("*.txt", "*.safet*"))
    assert 3 <= len(listed) < 60
    runs = [cache_features(recipe, folder, (number, 2)) for number in range(2)]
    assert [run.total for run in runs] == [30, 30]
    assert sum(run.existing for run in runs) == len(listed)
    assert sum(run.written for run in runs) == 60 - len(listed)
    assert all(path.stat().st_mtime_ns == time for path, time in {**listed, **entries}.items() if path.exists())
    assert len(list(folder.rglob("*.safetensors"))) == 60
    model = module.load_encoder(recipe)
    source = open_target_source(recipe.data.model_copy(update={"feature_cache": folder}), model.config)
    source.open_features(frozen_encoder_key(recipe, model))
    assert all(source.encoder_features(index, source.targets(index)).tokens.ndim == 4 for index in range(60))


def test_equal_photos_have_one_entry(settings: Settings, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels, losses and a shorter range of the same scenes need no encoder."""
    monkeypatch.setattr(module, "encode_features", None)
    monkeypatch.setattr(module, "_require_space", lambda *_: None)
    other = {**settings, "student": {**settings["student"], "labels": ["chair", "table"]}}
    other["data"] = {**settings["data"], "scenes": "rooms:train/2-4"}
    run = cache_features(check_recipe(other, "test"), cache)
    assert (run.written, run.existing) == (3, 0)
    with_labels = {**settings, "student": {**settings["student"], "labels": ["chair", "table"]}}
    assert cache_features(check_recipe(with_labels, "test"), cache).existing == 6


def test_a_cache_that_does_not_fit_is_named_before_training(
    settings: Settings, cache: Path, weights: str, tmp_path: Path
) -> None:
    def refused(changes: Settings, folder: Path = cache) -> str:
        with pytest.raises(RecipeError, match=r"run `dollhouse annotate --features RECIPE") as caught:
            prepare_student(with_cache({**settings, **changes}, folder), tmp_path)
        return str(caught.value)

    student = settings["student"]
    others = write_vggt(tmp_path / "other.safetensors", DEPTH, seed=1)
    assert "another encoder or of other weights" in refused({"student": {**student, "encoder_weights": others}})
    assert "photos of 28 pixels, not 42" in refused({"student": {**student, "image_size": 42}})
    assert "holds features of other samples" in refused({"data": {**settings["data"], "views": 3}})
    assert "holds the features of 6 of 9 samples" in refused(
        {"data": {**settings["data"], "scenes": "rooms:train/0-8"}}
    )
    assert "holds no features" in refused({}, tmp_path / "nothing")


def test_photos_that_changed_and_damage_are_named(settings: Settings, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(cache, tmp_path / "features")
    recipe = with_cache(settings, folder)
    source = prepare_student(recipe, tmp_path)[2]
    targets = source.targets(0)
    changed = targets.images.copy()
    changed[0, 0, 0] ^= 1
    with pytest.raises(StorageError, match="has no features of the photos of scene"):
        source.encoder_features(0, type(targets)(**{**vars(targets), "images": changed}))
    for path in folder.rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    with pytest.raises(StorageError, match=r"is damaged.*delete it"):
        source.encoder_features(0, targets)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"train": ["trunk", "encoder"]}, "stage perception trains the encoder"),
        ({"horizontal_flip_prob": 0.5}, "stage perception changes the photos by horizontal_flip_prob"),
        ({"photometric_augmentation": 0.5, "crop_zoom": [1, 2]}, "photometric_augmentation, crop_zoom"),
        ({"views": [1, 2]}, "changes the photos by views"),
        ({"use_rgbd": True}, "use_rgbd"),
        ({"validation": {**TINY["data"], "scenes": "rooms:validation/0-1"}}, "and for validation, or for none"),
    ],
)
def test_what_cannot_be_cached(settings: Settings, change: Settings, fault: str, tmp_path: Path) -> None:
    stage = {key: value for key, value in change.items() if key not in ("use_rgbd", "validation")}
    top = {key: value for key, value in change.items() if key not in stage}
    stages = {"perception": {**settings["stages"]["perception"], **stage}}
    if "validation" in change:
        stages["perception"]["validate_every"] = 2
    tree = {**settings, **top, "stages": stages}
    with pytest.raises(RecipeError, match=fault):
        with_cache(tree, tmp_path)
    if "validation" not in change:
        with pytest.raises(RecipeError, match=fault):
            cache_features(check_recipe(tree, "test"), tmp_path)


def test_a_disk_that_is_too_small_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 10**4))
    with pytest.raises(StorageError, match=r"need about 5\.15e-05 GB, and 1e-05 GB are free"):
        cache_features(check_recipe(settings, "test"), tmp_path / "features")
    assert "6 samples to compute, about 5.15e-05 GB" in capsys.readouterr().out
    assert not (tmp_path / "features").exists()


def test_sources_validation_and_a_model_to_start_from(settings: Settings, tmp_path: Path) -> None:
    """Two sources and validation share a folder; a student's own encoder is left out and put back."""
    data = {key: value for key, value in settings["data"].items() if key != "scenes"}
    data["sources"] = {"a": {"scenes": "rooms:train/0-3"}, "b": {"scenes": "rooms:train/4-5"}}
    stages = {"perception": {**settings["stages"]["perception"], "validate_every": 2}}
    validation = {**data, "sources": {"c": {"scenes": "rooms:validation/0-1"}}}
    first = check_recipe({**settings, "data": data, "validation": validation, "stages": stages}, "test")
    student = distill(first, tmp_path / "first", progress=False)
    again = {key: value for key, value in settings.items() if key != "student"} | {"init_from": str(student)}
    again |= {"data": data, "validation": validation, "stages": stages}
    assert cache_features(check_recipe(again, "test"), tmp_path / "features").written == 8
    again["data"] = {**data, "feature_cache": str(tmp_path / "features")}
    again["validation"] = {**validation, "feature_cache": str(tmp_path / "features")}
    second = distill(check_recipe(again, "test"), tmp_path / "second", progress=False)
    before, after = (load_file(folder / "model.safetensors") for folder in (student, second))
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name.startswith("encoder."))
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


def test_dry_runs_need_no_cache_and_count_no_encoder(settings: Settings, tmp_path: Path) -> None:
    plain, cached = dry_run(check_recipe(settings, "test")), dry_run(with_cache(settings, tmp_path))
    assert [stage.losses for stage in plain] == [stage.losses for stage in cached]
    assert all(
        a.trained == b.trained and a.frozen > b.frozen and a.flops > b.flops for a, b in zip(plain, cached, strict=True)
    )


def test_where_the_cache_lies_belongs_to_no_run(settings: Settings, tmp_path: Path) -> None:
    frozen = with_cache(settings, tmp_path / "a").model_dump(mode="json")
    assert same_recipe(frozen, with_cache(settings, tmp_path / "b"))
    assert not same_recipe(frozen, check_recipe(settings, "test"))


def test_the_hash_of_weights_depends_on_names_and_values_only() -> None:
    weights = {"a": torch.ones(2), "b": torch.zeros(2)}
    assert weights_hash(weights.items()) == weights_hash(reversed(weights.items()))
    assert weights_hash(weights.items()) != weights_hash({"b": torch.ones(2), "a": torch.zeros(2)}.items())


def test_stages_are_built_without_an_encoder(settings: Settings, cache: Path, tmp_path: Path) -> None:
    recipe = with_cache(settings, cache)
    model, _, _ = prepare_student(recipe, tmp_path)
    assert not hasattr(model, "encoder")
    loss_module = build_stage(recipe.stages["finetune"], model, torch.nn.Module())
    assert not any("encoder" in name for name, _ in loss_module.named_parameters())
