"""SIGINT and SIGTERM end a long verb with exit code 130 or 143 and one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible() -> Iterator[None]:
    """Run a verb, also as its decorator; a signal raises KeyboardInterrupt in it, so that all it holds is closed."""
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; what was complete is kept: run the same command again to go on", file=sys.stderr)
        raise SystemExit(128 + received[0] if received else 130) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
