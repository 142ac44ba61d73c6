"""Speed and memory of training on a folder of scans at nano's size: index, first pass, batches from the cache.

    python -m benchmarks.scannet_scans --out DIR --scans 100 --frames 300
    python -m benchmarks.scannet_pipeline --scenes DIR/scans --cache CACHE

Prints seconds for the index, samples a second while the cache is filled and from the filled cache, and the private
memory of this process and its workers during the steps from the cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import Counter
from operator import itemgetter
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.models.dollhouse.serialization import load_student

SHOWN_STEPS = (0, 1000, 3000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", required=True, help="a folder of scans")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the cache; what it holds is used")
    parser.add_argument("--fresh", action="store_true", help="delete the cache first")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--view-sets", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3001)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.fresh:
        shutil.rmtree(options.cache, ignore_errors=True)
    model, processor, _ = load_student(None)
    data = DataConfig(
        scenes=options.scenes,
        cache=options.cache,
        views=options.views,
        view_sets=options.view_sets,
        questions_per_scene=options.questions,
        workers=options.workers,
    )
    for name in ("build or complete the index", "read the index"):
        started = time.perf_counter()
        source = open_target_source(data, model.config)
        print(f"{name}: {time.perf_counter() - started:.1f} s for {len(source)} samples")
    started = time.perf_counter()
    families = fill(source, options.workers)
    seconds = time.perf_counter() - started
    print(f"fill the cache: {len(source) / seconds:.1f} samples/s")
    print(f"questions: {families.total():,}: " + ", ".join(f"{name} {n:,}" for name, n in families.most_common()))

    sampling = SamplingConfig(options.steps, options.batch_size, options.questions)
    steps = StepDataset(source, sampling, 0, processor.tokenizer, model.config)
    loader = DataLoader(
        steps, batch_size=1, collate_fn=itemgetter(0), num_workers=options.workers, prefetch_factor=4, shuffle=False
    )
    started = time.perf_counter()
    warm = 20
    for step, _ in enumerate(loader):
        if step == warm:  # the workers have started
            started = time.perf_counter()
        if step in SHOWN_STEPS:
            memory = ", ".join(f"{megabytes:.0f}" for megabytes in private_megabytes())
            print(f"memory at step {step} in MB, this process and its workers: {memory}", flush=True)
    speed = (options.steps - 1 - warm) * options.batch_size / (time.perf_counter() - started)
    print(f"from the cache: {speed:.1f} samples/s with {options.workers} workers")


class _Filling(torch.utils.data.Dataset[Counter[str]]):
    """Writes each sample to the cache; an item is the number of its questions by family."""

    def __init__(self, source: TargetSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Counter[str]:
        self.source.targets(index)
        return Counter(family for _, _, family in self.source.questions(index))


def fill(source: TargetSource, workers: int) -> Counter[str]:
    """Write all samples to the cache, and count their questions."""
    loader = DataLoader(_Filling(source), batch_size=1, collate_fn=itemgetter(0), num_workers=workers)
    return sum(loader, Counter[str]())


def private_megabytes() -> list[float]:
    """Return the private, written memory of this process and of its children, which a leak would raise."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    sizes = []
    for process in (str(own), *children):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        parts = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
        sizes.append(int(parts["Private_Dirty"]) / 1e3)
    return sizes


if __name__ == "__main__":
    main()
