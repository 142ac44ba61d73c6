"""Compare VGGT with numbers that the official code computed.

Cases are found by pattern in the folder that ``DOLLHOUSE_GOLDEN`` names (default: this folder), so other seeds,
sizes, depths and block orders run unchanged.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dollhouse.models.checkpoints import compare_keys
from dollhouse.models.vggt.camera_head import cameras_from_pose_encoding, rotations_from_quaternions
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.dpt_head import POSITION_WEIGHT, activate_depth, activate_points, add_positions
from dollhouse.models.vggt.layers import rotary_table, rotate
from dollhouse.models.vggt.modeling import VggtModel

FOLDER = Path(os.environ.get("DOLLHOUSE_GOLDEN") or Path(__file__).parent)
NAMES = sorted(path.name.removesuffix(".config.json") for path in FOLDER.glob("vggt_*.config.json"))
#: what is compared -> largest error allowed in float64 and float32
GATES = {
    "layer": (1e-6, 3e-5),
    "patch_tokens": (1e-6, 3e-5),
    "pose_enc": (1e-6, 2e-5),
    "depth": (1e-6, 1e-5),
    "world_points": (1e-6, 1e-5),
}


def config_of(name: str) -> VggtConfig:
    golden = json.loads((FOLDER / f"{name}.config.json").read_text())
    with safe_open(FOLDER / f"{name}.weights.safetensors", "pt") as weights:
        parts = {key.split(".")[0] for key in weights.keys()}  # noqa: SIM118
    heads, dino = golden.get("heads"), golden.get("dino")
    return VggtConfig(
        image_size=golden["img_size"],
        patch_size=golden["patch_size"],
        hidden_size=golden["embed_dim"],
        num_hidden_layers=golden["depth"],
        num_attention_heads=golden["num_heads"],
        mlp_ratio=golden["mlp_ratio"],
        num_register_tokens=golden["num_register_tokens"],
        rope_theta=golden["rope_freq"],
        aa_block_size=golden.get("aa_block_size", 1),
        aa_order=golden.get("aa_order", ["frame", "global"]),
        patch_embed="conv" if golden["patch_embed"] == "conv" else "dinov2",
        dino=dino
        and {
            "num_hidden_layers": dino["depth"],
            "num_attention_heads": dino["num_heads"],
            "mlp_ratio": dino["mlp_ratio"],
        },
        heads=[head for head in ("camera", "depth", "point") if f"{head}_head" in parts],
        camera_head=heads
        and {
            "num_hidden_layers": heads["camera_trunk_depth"],
            "num_attention_heads": heads["camera_num_heads"],
            "mlp_ratio": heads["camera_mlp_ratio"],
        },
        dpt_head=heads
        and {
            "features": heads["dpt_features"],
            "out_channels": heads["dpt_out_channels"],
            "layers": heads["dpt_layers"],
        },
    )


def all_outputs(model: VggtModel, images: Tensor) -> dict[str, Tensor]:
    """Compute all outputs of one case, by the names of the golden files."""
    found: dict[str, Tensor] = {}
    hook = model.aggregator.patch_embed.register_forward_hook(lambda *call: found.update(patch_tokens=call[2]))
    with torch.no_grad():
        output = model(images, range(model.config.num_hidden_layers))
        hook.remove()
        found |= {f"layer_{index:02d}": tokens for index, tokens in output.layers.items()}
        if "camera" in model.config.heads:
            found |= {f"pose_enc_{index}": pose for index, pose in enumerate(model.predict_cameras(output))}
        if "depth" in model.config.heads:
            found["depth"], found["depth_conf"] = model.predict_depth(output, chunk=3)
        if "point" in model.config.heads:
            found["world_points"], found["world_points_conf"] = model.predict_points(output, chunk=3)
    found["patch_start_idx"] = torch.tensor(output.patch_start)
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_every_output_of_every_case(name: str, dtype: torch.dtype) -> None:
    model = VggtModel.from_official(FOLDER / f"{name}.weights.safetensors", config_of(name), dtype)
    golden = load_file(FOLDER / f"{name}.io.safetensors")
    cases = sorted({key.split("/")[0] for key in golden})
    assert cases
    for case in cases:
        found = all_outputs(model, golden[f"{case}/images"].to(dtype))
        expected = {key.split("/")[1]: value for key, value in golden.items() if key.startswith(f"{case}/")}
        # the class and register tokens of DINO are dropped; patch_tokens are the rest
        expected = {key: value for key, value in expected.items() if key != "images" and not key.startswith("dino_")}
        assert set(expected) <= set(found)
        for key, value in expected.items():
            gate = next((gates[dtype == torch.float32] for kind, gates in GATES.items() if key.startswith(kind)), 0)
            error = (found[key].to(torch.float64) - value.to(torch.float64)).abs().max().item()
            assert error <= gate, f"{name} {case} {key}: off by {error:.1e}, allowed {gate:.0e}"


@pytest.fixture(scope="module")
def parts() -> dict[str, Tensor]:
    path = FOLDER / "vggt_utils.safetensors"
    if not path.is_file():
        pytest.skip(f"no vggt_utils.safetensors in {FOLDER}")
    return load_file(path)


def test_rotary_positions(parts: dict[str, Tensor]) -> None:
    tokens = parts["rope/tokens"]
    for theta in (10, 100):
        for positions, sequence, expected in zip(
            parts["rope/positions_with_special"], tokens, parts[f"rope/out_freq{theta}"], strict=True
        ):
            table = rotary_table(positions, tokens.shape[-1], theta, torch.float32)
            torch.testing.assert_close(rotate(sequence, table), expected, atol=1e-6, rtol=0)


def test_pose_encoding(parts: dict[str, Tensor]) -> None:
    size = (280, 420)
    extrinsics, intrinsics = cameras_from_pose_encoding(parts["pose/encoding_hw280x420"], size)
    torch.testing.assert_close(extrinsics, parts["pose/extrinsics_back"], atol=1e-6, rtol=0)
    torch.testing.assert_close(intrinsics, parts["pose/intrinsics_back"], atol=1e-6, rtol=1e-6)
    rotations = rotations_from_quaternions(parts["pose/quat_xyzw_in"])
    torch.testing.assert_close(rotations, parts["pose/R"], atol=1e-6, rtol=0)


def test_activations_and_position_embedding(parts: dict[str, Tensor]) -> None:
    raw = parts["act/raw4"]
    points, confidence = activate_points(raw)
    torch.testing.assert_close(points, parts["act/inv_log"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(confidence, parts["act/expp1"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(activate_depth(raw[:, [0, 3]])[0], parts["act/exp"], atol=1e-6, rtol=1e-6)
    embedding = add_positions(torch.zeros(1, 16, 5, 7), 1.25)[0].permute(1, 2, 0) / POSITION_WEIGHT
    torch.testing.assert_close(embedding, parts["uv/embed_c16"], atol=1e-6, rtol=0)


def test_full_size_model_has_the_official_keys_and_shapes() -> None:
    path = FOLDER / "vggt_1b_state_dict_shapes.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {FOLDER}")
    official = {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}
    assert len(official) == 1797
    with torch.device("meta"):
        model = VggtModel(VggtConfig())
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert not compare_keys(
        shapes, {key: shape for key, shape in official.items() if not key.startswith("track_head.")}
    )
    assert len(official) - len(shapes) == 394  # the track head, which is not implemented
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in model.named_children()}
    assert counts == {
        "aggregator": 909_112_320,
        "camera_head": 216_174_610,
        "point_head": 32_654_628,
        "depth_head": 32_654_562,
    }
