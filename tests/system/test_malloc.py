"""Freed memory is reused where the allocator takes hints."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from dollhouse.system import malloc

ALLOCATIONS = """
import resource
import sys
import numpy as np
from dollhouse.system.malloc import keep_freed_memory, return_freed_memory

def allocate():
    return sum(float(map[0]) for map in [np.ones(2**19, np.float32) for _ in range(6)])

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    allocate()
    if sys.argv[1] == "returned":
        return_freed_memory()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_taken(how: str) -> int:
    process = subprocess.run(
        [sys.executable, "-c", ALLOCATIONS, how], capture_output=True, text=True, check=True, timeout=120
    )
    return int(process.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="hints for glibc")
def test_freed_memory_is_reused() -> None:
    """Against the same allocations with all freed memory returned; the size of a page differs between systems."""
    assert 4 * pages_taken("kept") < pages_taken("returned")


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_other_allocators_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without these functions, as musl's, and a system with none of that name."""
    monkeypatch.setattr(malloc.sys, "platform", system)
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: object())
    malloc.keep_freed_memory()
    malloc.return_freed_memory()
