"""Processes that prepare batches: signals, and batches for which there is no shared memory."""

from __future__ import annotations

import os
import pickle
import signal
from multiprocessing.queues import Queue
from typing import Any

from dollhouse.data.collator import Batch

SECONDS_AFTER_SIGTERM = 60  #: for which a process still serves a main process that writes a checkpoint


def start_worker(number: int) -> None:
    """Set up a process of a DataLoader, as ``worker_init_fn``.

    A terminal, a service manager or Slurm sends SIGINT, SIGTERM or SIGUSR1 to all processes, but the main one, which
    handles them, still needs this one for a step. A batch that cannot be placed in shared memory, of which containers
    have little, is sent as bytes; multiprocessing would drop it, and the main process would wait for it forever.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM))
    Queue._on_queue_feeder_error = _send_as_bytes  # type: ignore[attr-defined]


def _send_as_bytes(queue: Queue[Any], error: Exception, item: Any) -> None:
    try:
        index, batch = item
        queue.put((index, pickle.dumps(batch)))
    except Exception:
        os._exit(1)  # which the main process reports


def decode_batch(content: bytes) -> Batch:
    """Return a batch that a process of the same run sent as bytes."""
    batch: Batch = pickle.loads(content)
    return batch
