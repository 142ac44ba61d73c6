"""Files that are there whole or not at all, wherever writing stops. Knows nothing of what is in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from dollhouse.errors import StorageError

ADVICE = "free some space or choose another folder"


@contextlib.contextmanager
def atomic_path(path: Path, advice: str = ADVICE) -> Iterator[Path]:
    """A name beside ``path`` to write under; what was written takes ``path``'s place once the block ends well.

    So ``path`` is at every moment absent, the old file or the whole new one. Several processes may write at once: the
    last one stays. Raises StorageError, ending in ``advice``, where the system refuses.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StorageError(f"cannot write {path} ({reason}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str, advice: str = ADVICE) -> None:
    """A text file in UTF-8, whole or not at all. Raises StorageError as :func:`atomic_path` does."""
    with atomic_path(path, advice) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
