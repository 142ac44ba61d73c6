"""Hints to glibc's allocator about freed memory; other C libraries are left alone. Results do not change.

See ``man mallopt`` and ``man malloc_trim``.
"""

from __future__ import annotations

import ctypes
import sys

HEAP_ALLOCATION_BYTES = 32 * 2**20  #: smaller tensors are allocated in the heap, where freed pages are reused
RETAINED_BYTES = 64 * 2**20  #: free bytes kept at the end of the heap
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep up to :data:`RETAINED_BYTES` of freed memory for the whole process.

    A small student frees some ten megabytes a scene. Returned to the system, they come back as thousands of pages that
    the kernel clears first: a tenth of the time to the first answer.
    """
    set_option = _glibc("mallopt")
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, HEAP_ALLOCATION_BYTES)
        set_option(_TRIM_THRESHOLD, RETAINED_BYTES)


def return_freed_memory() -> None:
    """Return freed memory between live tensors to the system: up to an eighth of a large model after loading."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    """Return a function of the C library; None where it has no such function (musl, macOS, Windows)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
