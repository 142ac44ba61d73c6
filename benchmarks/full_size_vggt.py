"""Compare the estimated memory of VGGT-1B at full size with the measured one, with random weights.

    python benchmarks/full_size_vggt.py --folder /somewhere/with/4.8/GB

Writes a checkpoint in the official layout (1,403 tensors, float32, 4.76 GB) with little memory, loads it in bfloat16
in a new process, encodes two photos of 518x392 with every head, and prints the peak of that process's resident memory
beside the estimate. The checkpoint is deleted afterwards. Exit code 1 where they differ by more than 10 %.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.estimate.memory import estimate_vggt, peak_memory, predict_with_heads

VIEWS, WIDTH, HEIGHT = 2, 518, 392
DTYPE = torch.bfloat16
TOLERANCE = 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the checkpoint is written; default: a temporary folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # run in the new process
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    plan = estimate_vggt(VggtConfig(), VIEWS, HEIGHT, WIDTH, DTYPE)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "model.safetensors"
        started = time.perf_counter()
        count = write_checkpoint(path)
        print(f"wrote {count:,} tensors, {path.stat().st_size / 1e9:.2f} GB, in {time.perf_counter() - started:.0f} s")
        command = [sys.executable, __file__, "--measure", str(path), "--threads", str(options.threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(output.strip().splitlines()[-1])
    error = plan.memory.peak / measured["peak_bytes"] - 1
    print(f"loaded in {measured['load_seconds']:.0f} s; peak while loading {measured['load_peak_bytes'] / 1e9:.2f} GB")
    print(f"{VIEWS} views of {WIDTH}x{HEIGHT} in {measured['encode_seconds']:.0f} s on {options.threads} threads")
    print(
        f"estimated peak {plan.memory.peak / 1e9:.2f} GB, measured {measured['peak_bytes'] / 1e9:.2f} GB: {error:+.1%}"
    )
    return 0 if abs(error) <= TOLERANCE else 1


def write_checkpoint(path: Path) -> int:
    """Write random weights of the official layout tensor by tensor; returns the number of tensors."""
    with torch.device("meta"):
        model = VggtModel(VggtConfig())
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(random_weight(name, shape, draw).tobytes())
    return len(shapes)


def random_weight(name: str, shape: list[int], draw: np.random.Generator) -> np.ndarray:
    """Draw values like those of a new model, so that nothing overflows."""
    if name.endswith("gamma"):
        return np.full(shape, 0.01, np.float32)
    if len(shape) == 1:
        return np.full(shape, 1.0 if name.endswith("weight") else 0.0, np.float32)
    return 0.02 * draw.standard_normal(shape, np.float32)


def measure(path: Path) -> dict[str, float]:
    """Load and encode in a process that has done nothing else; returns times and peaks."""
    started = time.perf_counter()
    model = VggtModel.from_official(path, dtype=DTYPE)
    loaded = time.perf_counter()
    load_peak = peak_memory()
    photos = torch.rand(1, VIEWS, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).to(DTYPE)
    with torch.inference_mode():
        found = predict_with_heads(model, photos)
    assert all(bool(torch.isfinite(value).all()) for value in found.values()), "not every prediction is finite"
    return {
        "load_seconds": loaded - started,
        "encode_seconds": time.perf_counter() - loaded,
        "load_peak_bytes": load_peak,
        "peak_bytes": peak_memory(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
