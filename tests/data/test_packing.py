"""Packing of questions: the least padding of all ways to cut rising lengths."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from dollhouse.data.tokenization import chunk_bounds


def padded(lengths: list[int], bounds: list[int]) -> int:
    return sum((high - low) * lengths[high - 1] for low, high in pairwise(bounds))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("chunks", [1, 2, 3, 6])
def test_no_other_cuts_pad_less(seed: int, chunks: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = sorted(rng.integers(3, 12, rng.integers(1, 10)).tolist())
    bounds = chunk_bounds(lengths, chunks)
    assert (bounds[0], bounds[-1]) == (0, len(lengths))
    assert len(bounds) <= chunks + 1
    assert all(low < high for low, high in pairwise(bounds))
    cuts = [
        [0, *inner, len(lengths)] for count in range(chunks) for inner in combinations(range(1, len(lengths)), count)
    ]
    assert padded(lengths, bounds) == min(padded(lengths, each) for each in cuts)
