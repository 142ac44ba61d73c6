"""Samples a second that one and two processes of a run prepare, each on a core of its own.

    python -m benchmarks.data_processes

Process r of n prepares the micro-batches r, r + n, ... of nano's last stage, as in a run under torchrun: rooms are
rendered, questions drawn and tokenized. Counts are compared over equal times, alternating, after the first batches.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import statistics
import time
from typing import Any

import torch

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.models.dollhouse.serialization import load_student

SCENES = 4  #: of a micro-batch


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, processor, _ = load_student(None)
    source = open_target_source(DataConfig(scenes="rooms:train/0-1999", views=4, questions_per_scene=16), model.config)
    sampling = SamplingConfig(100_000, SCENES * options.processes, 16, micro_batches=options.processes)
    steps = StepDataset(source, sampling, 0, processor.tokenizer, model.config)
    speeds: dict[int, list[float]] = {1: [], options.processes: []}
    for number in range(options.rounds):
        for count, measured in speeds.items():
            measured.append(samples_per_second(steps, count, options.seconds, number))
            print(f"{count} processes: {measured[-1]:.2f} samples/s", flush=True)
    single, several = (statistics.median(measured) for measured in speeds.values())
    print(f"{options.processes} processes over one: {several / single:.2f} ({os.cpu_count()} CPUs)")


def samples_per_second(steps: StepDataset, count: int, seconds: float, number: int) -> float:
    """Return samples a second of ``count`` processes together."""
    context = mp.get_context("fork")
    begin, rates = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=prepare, args=(steps, rank, count, seconds, 1000 * number, begin, rates))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    total: float = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def prepare(steps: StepDataset, rank: int, count: int, seconds: float, first: int, begin: Any, rates: Any) -> None:
    """Prepare every ``count``-th item from ``first`` + ``rank`` on; put samples a second into ``rates``."""
    _ = steps[first + rank]
    begin.wait()
    start, done, item = time.perf_counter(), 0, first + rank
    while time.perf_counter() - start < seconds:
        item += count
        done += len(steps[item].sample_indices)
    rates.put(done / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
