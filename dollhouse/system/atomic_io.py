"""Writing files so that each is complete or absent, wherever writing stops."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from dollhouse.errors import StorageError

ADVICE = "free some space or choose another folder"


@contextlib.contextmanager
def atomic_path(path: Path, advice: str = ADVICE) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces ``path`` when the block ends without an error.

    At every moment ``path`` is absent, the old file or the complete new one. Several processes may write at once: the
    last to finish wins. Raises StorageError, ending in ``advice``, where the system refuses to write.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # process ids repeat between containers
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StorageError(f"cannot write {path} ({reason}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder``, a new one, when the block ends without an error.

    Raises StorageError where the system refuses to write.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            unfinished = Path(temporary) / folder.name
            unfinished.mkdir()
            yield unfinished
            unfinished.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: could not be written ({error.strerror or error}); {ADVICE}") from error


def write_text(path: Path, text: str, advice: str = ADVICE) -> None:
    """Write a UTF-8 text file atomically. Raises StorageError as :func:`atomic_path` does."""
    with atomic_path(path, advice) as temporary:
        temporary.write_text(text, encoding="utf-8")
