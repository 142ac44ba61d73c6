"""What becomes of memory that tensors leave behind, where the C library is glibc; elsewhere nothing is changed.

Knows nothing of models. Both are hints to the allocator (``man mallopt``, ``man malloc_trim``); results are the same.
"""

from __future__ import annotations

import ctypes
import sys

#: Tensors smaller than this lie in the heap, where their pages can be used again.
LARGEST_IN_HEAP = 8 * 2**20
#: Free bytes at the heap's end that are kept.
MOST_KEPT = 64 * 2**20
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep up to :data:`MOST_KEPT` bytes of what is freed, for the whole process, rather than ask for them anew.

    A small student leaves some ten megabytes behind at every look. Handed back each time, they came again as
    thousands of pages that the system had to clear first, a tenth of a first answer.
    """
    set_option = _glibc("mallopt")
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        set_option(_TRIM_THRESHOLD, MOST_KEPT)


def return_freed_memory() -> None:
    """Give freed memory that lies between live tensors back to the system.

    glibc keeps such pages otherwise: while a large model is loaded they came to an eighth of it.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of the C library, None where it has none of that name (musl, macOS, Windows)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
