"""Run docs/guides/paper.md on generated data: its commands, in its order, with sizes that two cores can do.

    python -m examples.paper_smoke --out runs/paper_smoke

Scans in ScanNet's layout are filmed in synthetic rooms, a house in 3D-FRONT's is written, and LLaVA-3D and VGGT are
random and tiny, in the layouts of the official checkpoints. Every ``dollhouse`` command of the page is then run as it
is written there, in the folder ``--out``, with the overrides below. Nothing is learned; what is shown is that the whole
path runs. The losses of the run are checked: each that the recipe names is present, finite, and changes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.full_size_llava3d import config_of, write_checkpoint
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.recipes import read_recipe
from tests.scenes.fixture_front3d import write_house

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guides" / "paper.md"
SCANS, FRAMES = 10, 24  #: two scans are for evaluation
VGGT = {
    "image_size": 518,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "dino": {"num_hidden_layers": 2, "num_attention_heads": 4},
    "dpt_head": {"features": 16, "out_channels": [16, 16, 16, 16], "layers": [0, 1, 2, 3]},
}
SMALL_STUDENT = [
    f"student.vision={json.dumps(VGGT | {'heads': ['depth']})}",
    "student.image_size=112",
    "student.trunk_width=64",
    "student.trunk_layers=1",
    "student.object_layers=1",
    "student.num_objects=12",
    "student.grid_size=2",
    "student.text={model_type: gpt_neox, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, "
    "intermediate_size: 128}",
]
STAGES = {"pretrain_perception": 6, "finetune_end_to_end": 10}  #: and their steps
SHORT = [
    f"stages.{stage}.{setting}"
    for stage, steps in STAGES.items()
    for setting in (f"steps={steps}", "batch_size=2", "micro_batches=2", "learning_rate=0.002", "log_every=1")
]
#: verb -> what is added to its commands
LESS = {"annotate": ["--limit", "16"], "evaluate": ["--questions", "12"], "probe-thinking": ["--questions", "12"]}


def commands(page: Path = GUIDE) -> Iterator[list[str]]:
    """Yield the words of every ``dollhouse`` command of the page's bash blocks."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "dollhouse":
                yield words[1:]


def smaller(words: Sequence[str]) -> list[str]:
    """Return a command with the overrides of its verb; a run also with few steps."""
    of_recipe = "--features" in words or words[0] in ("distill", "estimate")
    more = [*SMALL_STUDENT, "data.workers=0", "data.questions_per_scene=4"] if of_recipe else LESS.get(words[0], [])
    if words[:2] == ["distill", "paper"]:
        named = {word.partition("=")[0] for word in words}
        short = SHORT if "stages" not in named else []
        more = [each for each in [*more, *short] if each.partition("=")[0] not in named]
    sizes = re.compile(r"\bsteps: \d+, batch_size: \d+, micro_batches: \d+")  # that the page sets for the paper's size
    return [*(sizes.sub("steps: 4, batch_size: 2", word) for word in words), *more]


def write_inputs(out: Path) -> None:
    """Write what the page downloads: weights and data."""
    teacher, encoder = out / "weights" / "LLaVA-3D-7B", out / "weights" / "VGGT-1B"
    for folder in (teacher, encoder):
        folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(teacher, config_of("tiny"), torch.bfloat16, shard=100_000)
    torch.manual_seed(0)
    heads = {"num_hidden_layers": 1, "num_attention_heads": 4}
    VggtModel(VggtConfig(**VGGT, camera_head=heads)).to_official(encoder / "model.safetensors")
    scans = ["--out", str(out / "data"), "--scans", str(SCANS), "--frames", str(FRAMES), "--workers", "1"]
    run([sys.executable, "-m", "benchmarks.scannet_scans", *scans], out)
    write_house(out / "data")


def run(command: Sequence[str], out: Path) -> None:
    """Run a command in folder ``out``; raises SystemExit where it fails."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(command, cwd=out, env=environment, check=False)
    if ended.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {ended.returncode}")


def check_losses(metrics: Path) -> dict[str, list[float]]:
    """Return the values of each loss in each stage; raises SystemExit for one that is absent or does not change."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    found: dict[str, list[float]] = {}
    for name, stage in read_recipe("paper").stages.items():
        for loss in stage.losses:
            values = [line[loss] for line in lines if line.get("stage") == name and loss in line]
            if len(set(values)) < 2 or not all(map(math.isfinite, values)):
                raise SystemExit(f"{metrics}: loss {loss} of stage {name} has the values {values}")
            found[f"{name} {loss}"] = values
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the inputs, run the page's commands, and check the losses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/paper_smoke"))
    out = parser.parse_args(arguments).out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    write_inputs(out)
    print(f"inputs: {time.perf_counter() - started:.0f} s", flush=True)
    for words in map(smaller, commands()):
        begun = time.perf_counter()
        print(f"$ dollhouse {shlex.join(words)}", flush=True)
        run([sys.executable, "-m", "dollhouse.cli", *words], out)
        print(f"{words[0]}: {time.perf_counter() - begun:.0f} s", flush=True)
    for loss, values in check_losses(out / "runs" / "paper" / "metrics.jsonl").items():
        print(f"{loss}: {values[0]:.4f} -> {values[-1]:.4f}")
    print(f"all of {GUIDE.relative_to(ROOT)}: {time.perf_counter() - started:.0f} s; see {out}/runs/report/report.html")


if __name__ == "__main__":
    main()
