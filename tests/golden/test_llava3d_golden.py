"""Compare LLaVA-3D with numbers that the official code computed.

Cases are found by pattern in the folder that ``DOLLHOUSE_GOLDEN`` names (default: this folder), so other seeds, sizes
and depths run unchanged.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dollhouse.models.llava3d.configuration import EXPECTED, Llava3DConfig
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration, PosedViews
from dollhouse.models.llava3d.multimodal_embed import IMAGE_TOKEN_ID, LOCATION_TOKEN_ID, PositionEmbedding
from dollhouse.models.llava3d.processing import ViewPreprocessing, image_pixels, prepare_views, sample_frames
from dollhouse.models.llava3d.prompt import conversation, prompt_ids
from dollhouse.models.llava3d.voxel_pooling import mean_by_voxel, voxel_numbers, world_points
from dollhouse.models.llava3d.weights import official_name
from dollhouse.scenes.scene import Scene, View

FOLDER = Path(os.environ.get("DOLLHOUSE_GOLDEN") or Path(__file__).parent)
MODELS = sorted(path.name.removesuffix(".config.json") for path in FOLDER.glob("l3d_*.config.json"))
GEOMETRIES = sorted(path.stem for path in FOLDER.glob("l3d_geom*.safetensors"))
PREPARED = sorted(path.stem for path in FOLDER.glob("l3d_prep*.safetensors"))
PROMPTS = sorted(path.name for path in FOLDER.glob("l3d_prompts*.json"))
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def load_model(name: str, folder: Path, dtype: torch.dtype) -> Llava3DForConditionalGeneration:
    """Load the model of a case as a user would, from a checkpoint folder in the official layout."""
    golden = json.loads((FOLDER / f"{name}.config.json").read_text())
    settings = {
        "architectures": ["LlavaLlamaForCausalLM"],
        **golden["llm"],
        **EXPECTED,
        "mm_projector_type": golden["mm"]["projector"],
        "mm_vision_select_layer": golden["mm"]["select_layer"],
        "mm_vision_select_feature": golden["mm"]["select_feature"],
        "num_frames": golden["num_frames"],
        "tokenizer_model_max_length": golden["max_len"],
        "vision_config": golden["clip"],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").symlink_to(FOLDER.resolve() / f"{name}.weights.safetensors")
    assert (golden["mm"]["image_token"], golden["mm"]["loc_token"]) == (IMAGE_TOKEN_ID, LOCATION_TOKEN_ID)
    accept = ("num_frames", "tokenizer_model_max_length", "mm_vision_select_layer")
    model = Llava3DForConditionalGeneration.from_official(folder, dtype=dtype, geometry_dtype=dtype, accept=accept)
    model.config = replace(
        model.config, voxel_size=golden["mm"]["voxel_size"], max_scene_tokens=golden["mm"]["max_visual_tokens"]
    )
    return model


def visuals(given: dict[str, Tensor], input_ids: Tensor) -> list[Tensor | PosedViews]:
    """List one image or scene a row: ``image_<row>`` where a row has one, else the next scene."""
    scenes = iter(range(len(given["depths"]) if "depths" in given else 0))
    found: list[Tensor | PosedViews] = []
    for row in range(len(input_ids)):
        if f"image_{row}" in given:
            found.append(given[f"image_{row}"])
        elif "depths" not in given:
            found.append(given["images"][row])
        else:
            number = next(scenes)
            parts = (given[part][number] for part in ("images", "depths", "poses", "intrinsics"))
            found.append(PosedViews(*parts))
    return found


@DTYPES
@pytest.mark.parametrize("name", MODELS)
def test_every_output_of_every_case(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = load_model(name, tmp_path, dtype)
    golden = load_file(FOLDER / f"{name}.io.safetensors")
    cases = sorted({key.split("/")[0] for key in golden})
    assert cases
    for case in cases:
        given = {key.split("/")[2]: value for key, value in golden.items() if key.startswith(f"{case}/in/")}
        expected = {key.split("/")[2]: value for key, value in golden.items() if key.startswith(f"{case}/out/")}
        given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in given.items()}
        found = all_outputs(model, given, expected)
        for key, value in expected.items():
            if key == "last_top2_gap":
                continue  # the margin of the greedy ids, for information
            same = found[key].double(), value.double()
            if key == "logits" and "out_attention_mask" in expected:
                same = tuple(logits[expected["out_attention_mask"]] for logits in same)
            gate = 5e-5 if value.is_floating_point() else 0
            assert same[0].shape == same[1].shape, f"{name} {case} {key}"
            error = (same[0] - same[1]).abs().max().item()
            assert error <= gate, f"{name} {case} {key}: off by {error:.1e}, allowed {gate:.0e}"


@torch.no_grad()
def all_outputs(
    model: Llava3DForConditionalGeneration, given: dict[str, Tensor], expected: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Compute all outputs of one case, by the names of the golden files."""
    ids, clicks, labels = given["input_ids"], given.get("clicks"), given.get("labels")
    visual = visuals(given, ids)
    found: dict[str, Tensor] = {}
    groups = [[item for item in visual if isinstance(item, kind)] for kind in (Tensor, PosedViews)]
    for number, group in enumerate(group for group in groups if group):
        if isinstance(group[0], Tensor):
            found[f"vision_feats_{number}"] = model.get_vision_features(torch.stack(group))
            found[f"proj_{number}"] = torch.stack([model.get_image_features(image) for image in group])
        else:
            found[f"vision_feats_{number}"] = torch.cat([model.get_vision_features(views.images) for views in group])
            pooled = [model.get_scene_features(views).features for views in group]
            found["video_pooled"] = torch.cat(pooled)
            found["video_batch_offset"] = torch.tensor([len(scene) for scene in pooled]).cumsum(0)
            found[f"proj_{number}"] = model.multi_modal_projector(found["video_pooled"])
    inputs = model.embed(ids, visual, clicks, given.get("attention_mask"), labels)
    found["inputs_embeds"] = inputs.inputs_embeds
    if inputs.labels is not None and inputs.attention_mask is not None:
        found |= {"out_labels": inputs.labels, "out_attention_mask": inputs.attention_mask}
    output = model(inputs)
    found["logits"] = output.logits
    if output.loss is not None:
        found["loss"] = output.loss
    if "greedy_new_ids" in expected:
        length = expected["greedy_new_ids"].shape[1]
        found["greedy_new_ids"] = model.generate(ids, visual, clicks, max_new_tokens=length)
    return found


@pytest.mark.parametrize("kind", ["f32", "f64", "bf16"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometry_and_pooling(name: str, kind: str) -> None:
    dtype = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}[kind]
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        spec = json.loads(file.metadata()["spec"])
        golden = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    given = {key: golden[f"in/{key}"].to(dtype) for key in ("poses", "intrinsics", "features", "clicks")}
    depths = (golden["in/depth_mm"].float() / 1000).to(dtype)
    embeddings = {part: position_embedding(golden, part, dtype) for part in ("video_tower", "prompt_encoder")}
    stride = spec["S"] // spec["h"]
    found: dict[str, list[Tensor]] = {key: [] for key in ("full", "xyz", "pe", "p2v", "pooled")}
    for scene in range(spec["B"]):
        cameras = (depths[scene], given["intrinsics"][scene], given["poses"][scene])
        points = world_points(*cameras, stride=stride)
        numbers, count = voxel_numbers(points.flatten(0, 2), 0.2)
        with torch.no_grad():
            encoded = embeddings["video_tower"](points)
            features = (given["features"][scene].permute(0, 2, 3, 1) + encoded).flatten(0, 2)
        found["full"].append(world_points(*cameras)[:, 3::11, 5::13])
        found["xyz"].append(points)
        found["pe"].append(encoded)
        found["p2v"].append(numbers)
        found["pooled"].append(mean_by_voxel(features, numbers, count))
    expected = {key.split("/")[2]: value for key, value in golden.items() if key.startswith(f"out/{kind}/")}
    offsets = torch.tensor([len(pooled) for pooled in found["pooled"]]).cumsum(0)
    with torch.no_grad():
        clicks = embeddings["prompt_encoder"](given["clicks"])
    full = torch.stack(found["full"])
    if kind == "bf16":  # only informative: another processor may round a sum in another order
        assert (full == expected["full_xyz_sub"]).float().mean() > 0.99
        return
    assert torch.equal(torch.stack(found["p2v"]), expected["p2v"].long())
    assert torch.equal(offsets, expected["batch_offset"].long())
    for ours, theirs in (
        (full, expected["full_xyz_sub"]),
        (torch.stack(found["xyz"]), expected["patch_xyz"]),
        (torch.stack(found["pe"]), expected["patch_pe"]),
        (torch.cat(found["pooled"]), expected["pooled"]),
        (clicks, expected["click_embed"]),
    ):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=0)


def position_embedding(golden: dict[str, Tensor], part: str, dtype: torch.dtype) -> PositionEmbedding:
    """Load the position MLP ``part`` of a geometry case."""
    start = re.compile(rf"in/w/model\.video_tower\.{part}\.\w+\.(?=position_embedding_head)")
    weights = {start.sub("", key): value for key, value in golden.items() if start.match(key)}
    embedding = PositionEmbedding(len(weights["position_embedding_head.0.bias"]))
    embedding.load_state_dict(weights)
    return embedding.to(dtype)


@pytest.mark.parametrize("name", PREPARED)
def test_preprocessing_of_scenes(name: str) -> None:
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        spec = json.loads(file.metadata()["spec"])
        golden = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    options = ViewPreprocessing(size=spec["S"], num_frames=spec["nf"], frame_sampling="official", portrait_fault=True)
    for key in spec["vids"]:
        scene = golden_scene(golden, key)
        expected = {part.split("/")[-1]: value for part, value in golden.items() if part.startswith(f"out/{key}/")}
        assert sample_frames(len(scene.views), spec["nf"], "official") == expected["sample_indices"].tolist()
        prepared = prepare_views(scene, options)
        torch.testing.assert_close(prepared.images, expected["images"], atol=1e-5, rtol=0)
        assert torch.equal(prepared.depths, expected["depths"])
        torch.testing.assert_close(prepared.world_from_camera, expected["poses"], atol=1e-5, rtol=0)
        torch.testing.assert_close(prepared.intrinsics, expected["intrinsics"], atol=1e-5, rtol=0)


def golden_scene(golden: dict[str, Tensor], key: str) -> Scene:
    """Build the scene of a preprocessing case; intrinsics move to Dollhouse's pixel convention."""
    dataset, name = key.split("/")
    parts = {part.split("/")[-1]: value.numpy() for part, value in golden.items() if part.startswith(f"in/{key}/")}
    units_per_metre = np.float32(4000 if dataset == "matterport3d" else 1000)
    half_pixel = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])

    def view(number: int) -> View:
        intrinsic = parts[f"intrinsic_{number if dataset == 'matterport3d' else 0}"]
        depth_intrinsic = parts["depth_intrinsic"] if dataset == "scannet" else None
        return View(
            name=str(number),
            open_image=lambda: parts[f"color_{number}"],
            intrinsics=intrinsic[:3, :3] + half_pixel,
            world_from_camera=parts["axis_align"] @ parts[f"pose_{number}"],
            open_depth=lambda: parts[f"depth_{number}"].astype(np.float32) / units_per_metre,
            depth_intrinsics=None if depth_intrinsic is None else depth_intrinsic[:3, :3] + half_pixel,
        )

    return Scene(name, tuple(view(number) for number in range(sum(part.startswith("color_") for part in parts))))


@pytest.mark.parametrize("name", PREPARED)
def test_single_images(name: str) -> None:
    """The file does not name the source image: one of the colour frames must match, in both aspect ratios."""
    golden = load_file(FOLDER / f"{name}.safetensors")
    colours = [value.numpy() for key, value in golden.items() if re.search(r"^in/.*/color_\d+$", key)]
    for kind, ratio in (("plain", "square"), ("pad", "pad")):
        expected = golden[f"out/image2d/{kind}"][0]
        errors = [(image_pixels(colour, expected.shape[-1], ratio) - expected).abs().max() for colour in colours]
        assert min(errors) < 1e-5


@pytest.fixture(params=PROMPTS)
def prompts(request: pytest.FixtureRequest) -> dict:
    return json.loads((FOLDER / request.param).read_text())


def test_prompts_and_ids(prompts: dict) -> None:
    def toy_ids(text: str) -> list[int]:
        return [prompts["toy_vocab"][word] for word in re.findall(r"\w+|\n|[^\w\s]", text)]

    assert prompts["items"]
    for item in prompts["items"]:
        question = item["question"].removeprefix("<image>\n")
        prompt = conversation([(question, item["answer"])])
        assert prompt == item["prompt"]
        assert prompt_ids(prompt, toy_ids, bos=1) == item["special_ids"]
        if item["image_ids"] is not None:
            assert item["image_ids"] == item["special_ids"]
    assert conversation([("hi", "hello"), ("again", None)]) == prompts["multi_turn"]


def test_full_size_model_has_the_official_keys_and_shapes() -> None:
    path = FOLDER / "llava3d_7b_state_dict_shapes.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {FOLDER}")
    official = {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}
    with torch.device("meta"):
        model = Llava3DForConditionalGeneration(Llava3DConfig())
    ours = {official_name(key): tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert len(ours) == len(model.state_dict()) == 698
    assert ours == official
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_080_764_416
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in model.named_children()}
    assert counts == {
        "vision_tower": 303_507_456,
        "scene_position": 1_055_744,
        "click_position": 16_805_888,
        "multi_modal_projector": 20_979_712,
        "language_model": 6_738_415_616,
    }
