"""The command: whatever a user gives it, an error is one line and exit code 2."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dollhouse import cli
from dollhouse.models.dollhouse.serialization import SHIPPED
from tests.cli.command import needs_model, photos, run
from tests.fixtures.terminal import on_ascii_terminal
from tests.scenes.fixture_scans import write_annotation, write_depth, write_matrix, write_scan


def no_such_scene(folder: Path) -> tuple[list[str], str]:
    return ["ask", str(folder / "nowhere"), "a?"], "no such scene"


def empty_folder(folder: Path) -> tuple[list[str], str]:
    return ["ask", str(folder), "a?"], str(folder)


def no_such_room(folder: Path) -> tuple[list[str], str]:
    return ["scenes", "show", "rooms:attic/1"], "attic"


def truncated_photo(folder: Path) -> tuple[list[str], str]:
    photo = photos(folder) / "1.jpg"
    photo.write_bytes(photo.read_bytes()[:400])
    return ["ask", str(folder), "a?", "--strict"], "1.jpg"


def sixteen_bit_photo(folder: Path) -> tuple[list[str], str]:
    write_depth(photos(folder) / "9.png", np.full((100, 120), 3000))
    return ["ask", str(folder), "a?", "--strict"], "9.png"


def one_pixel_photo(folder: Path) -> tuple[list[str], str]:
    Image.new("RGB", (1, 1)).save(photos(folder) / "9.png")
    return ["ask", str(folder), "a?", "--strict"], "9.png"


def enormous_photo(folder: Path) -> tuple[list[str], str]:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    (photos(folder) / "9.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return ["ask", str(folder), "a?", "--strict"], "9.png"


def bent_pose(folder: Path) -> tuple[list[str], str]:
    write_matrix(write_scan(folder / "scan") / "pose" / "2.txt", np.diag([2.0, 1.0, 1.0, 1.0]))
    return ["scenes", "show", str(folder / "scan"), "--strict"], "2.txt"


def lost_poses(folder: Path) -> tuple[list[str], str]:
    for number in range(4):
        write_matrix(write_scan(folder / "scan") / "pose" / f"{number}.txt", np.full((4, 4), np.nan))
    scan = write_scan(folder / "scan")
    for number in range(4):
        write_matrix(scan / "pose" / f"{number}.txt", np.full((4, 4), np.nan))
    return ["scenes", "show", str(scan), "--strict"], "pose"


def depth_of_another_size(folder: Path) -> tuple[list[str], str]:
    write_depth(write_scan(folder / "scan") / "depth" / "1.png", np.full((48, 64), 900))
    return ["scenes", "show", str(folder / "scan"), "--strict"], "1.png"


def broken_aggregation(folder: Path) -> tuple[list[str], str]:
    scan = write_scan(folder / "scan")
    write_annotation(scan)
    next(scan.glob("*aggregation.json")).write_text('{"segGroups": [')
    return ["scenes", "show", str(scan), "--strict"], "aggregation.json"


def size_of_no_pixels(folder: Path) -> tuple[list[str], str]:
    return ["estimate", "vggt", "--size", "0x0"], "size '0x0' is not WIDTHxHEIGHT"


def settings_of_vggt(folder: Path) -> tuple[list[str], str]:
    return ["estimate", "vggt", "foo=1", "--processes", "8"], "vggt does not use foo=1, --processes: leave that out"


def heads_of_a_recipe(folder: Path) -> tuple[list[str], str]:
    return ["estimate", "nano", "--heads", "depth"], "nano does not use --heads: leave that out"


def seed_of_more_than_32_bits(folder: Path) -> tuple[list[str], str]:
    return ["distill", "nano", f"seed={2**32}"], "seed"


def option_seed_of_more_than_32_bits(folder: Path) -> tuple[list[str], str]:
    return ["evaluate", "--scenes", "rooms:test/0", "--seed", str(2**32)], "4294967295"


def negative_seed(folder: Path) -> tuple[list[str], str]:
    return ["evaluate", "--scenes", "rooms:test/0", "--seed", "-1"], "seed"


def unknown_recipe_key(folder: Path) -> tuple[list[str], str]:
    return ["distill", "nano", "stages.pretrain_perception.stepz=3"], "did you mean steps?"


def records_left_open(folder: Path) -> tuple[list[str], str]:
    return ["distill", "learn_on"], "recipe learn_on leaves open what only you know: add data.records=FOLDER"


def sources_left_open(folder: Path) -> tuple[list[str], str]:
    return ["distill", "swift"], "add data.sources.encoder.records=FOLDER data.sources.scans.scenes=FOLDER"


def scenes_left_open(folder: Path) -> tuple[list[str], str]:
    return ["distill", "real_scene", "--dry-run"], "add data.scenes=FOLDER"


def no_such_recipe(folder: Path) -> tuple[list[str], str]:
    return ["distill", str(folder / "none.yaml")], "cannot read recipe"


def pickle_as_model(folder: Path) -> tuple[list[str], str]:
    torch.save({"weights": torch.zeros(2)}, folder / "model.pt")
    return ["ask", "rooms:test/1", "a?", "--model", str(folder / "model.pt")], "pickles are not loaded"


def no_model(folder: Path) -> tuple[list[str], str]:
    return ["evaluate", str(folder / "nowhere")], "no model folder"


def incomplete_model(folder: Path) -> tuple[list[str], str]:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    return ["ask", "rooms:test/1", "a?", "--model", str(folder / "model")], "lacks model.safetensors"


BAD_ITEMS = [
    truncated_photo,
    sixteen_bit_photo,
    one_pixel_photo,
    enormous_photo,
    bent_pose,
    lost_poses,
    depth_of_another_size,
    broken_aggregation,
]
CASES = [
    no_such_scene,
    empty_folder,
    no_such_room,
    *BAD_ITEMS,
    unknown_recipe_key,
    records_left_open,
    sources_left_open,
    scenes_left_open,
    no_such_recipe,
    pickle_as_model,
    no_model,
    incomplete_model,
    size_of_no_pixels,
    settings_of_vggt,
    heads_of_a_recipe,
    seed_of_more_than_32_bits,
    option_seed_of_more_than_32_bits,
    negative_seed,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_input_is_one_line(
    case: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    arguments, named = case(tmp_path / "given")  # type: ignore[operator]
    code, _, error = run(capsys, monkeypatch, *arguments)
    assert code == 2
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) == 1, error
    assert named in error
    assert "Traceback" not in error


@pytest.mark.parametrize("case", BAD_ITEMS, ids=lambda case: case.__name__)
def test_one_bad_item_does_not_close_a_scene(
    case: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    arguments, named = case(tmp_path / "given")  # type: ignore[operator]
    scene = next(argument for argument in arguments if argument.startswith(str(tmp_path)))
    code, _, aside = run(capsys, monkeypatch, "scenes", "show", scene)
    assert code == 0
    assert "left out: " in aside
    assert named in aside


@needs_model
def test_damaged_model_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("onnx"))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    code, _, error = run(capsys, monkeypatch, "ask", "rooms:test/1", "a?", "--model", str(tmp_path / "model"))
    assert code == 2
    assert "model.safetensors: is damaged or was changed" in error


@needs_model
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_frame_while_distilling(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found only when a batch is made, perhaps in another process: still one line."""
    frame = write_scan(tmp_path / "scan") / "color" / "2.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    settings = [f"data.scenes={tmp_path / 'scan'}", f"data.workers={workers}", "data.holdout_every=0"]
    recipe = "real_scene"
    code, _, error = run(
        capsys,
        monkeypatch,
        "distill",
        recipe,
        *settings,
        "stages.finetune.steps=1",
        "--out",
        str(tmp_path / "run"),
    )
    errors = [line for line in error.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert "2.jpg" in errors[0]
    assert "Traceback" not in error


def test_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "app", full)
    code, _, error = run(capsys, monkeypatch, "version")
    assert code == 2
    assert error.startswith("error: the disk is full")


def test_env_has_versions_and_no_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOLLHOUSE_API_KEY", "sk-secret")
    code, output, _ = run(capsys, monkeypatch, "env")
    assert code == 0
    assert "dollhouse" in output
    assert "torch" in output
    assert "sk-secret" not in output


def test_narrow_encoding_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal of ASCII gets question marks, not a traceback."""
    photos(tmp_path / "chambre à coucher")
    monkeypatch.chdir(tmp_path)
    assert b"chambre ? coucher" in on_ascii_terminal(monkeypatch, "scenes", "show", "chambre à coucher")
