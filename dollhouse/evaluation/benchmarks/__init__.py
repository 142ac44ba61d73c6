"""The benchmarks, one a module, by name."""

from __future__ import annotations

from collections.abc import Mapping

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks import (
    beacon3d,
    real_photos,
    rooms,
    scanqa,
    spatialbench,
    sqa3d,
    threedsrbench,
    vsibench,
)
from dollhouse.evaluation.benchmarks.benchmark import Benchmark

__all__ = ["BENCHMARKS", "Benchmark", "benchmark_definition"]

BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (rooms, real_photos, scanqa, sqa3d, beacon3d, vsibench, threedsrbench, spatialbench)
}


def benchmark_definition(name: str | Benchmark) -> Benchmark:
    """Return a benchmark by name, ignoring case and hyphens; raises QuestionError where there is none."""
    if isinstance(name, Benchmark):
        return name
    plain = name.lower().replace("-", "").replace("_", "")
    if plain not in BENCHMARKS:
        raise QuestionError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[plain]
