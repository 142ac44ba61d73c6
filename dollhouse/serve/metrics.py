"""Prometheus metrics of one server."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters and histograms; each server has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("dollhouse_requests", "Requests by route and status", ["route", "status"], **own)
        self.seconds = Histogram(
            "dollhouse_request_seconds", "Seconds of requests by route", ["route"], buckets=_SECONDS, **own
        )
        self.first = Histogram(
            "dollhouse_first_answer_seconds", "Chat answers that encoded photos", buckets=_SECONDS, **own
        )
        self.later = Histogram(
            "dollhouse_later_answer_seconds", "Answers about scenes in memory", buckets=_SECONDS, **own
        )
        self.encode = Histogram(
            "dollhouse_encode_seconds", "Encoding of a scene, without waiting", buckets=_SECONDS, **own
        )
        self.memory = Counter("dollhouse_memory", "Scenes looked up in memory", ["result"], **own)
        self.rows = Histogram(
            "dollhouse_batch_questions",
            "Questions in the batch of a word",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            **own,
        )
        self.gauges = {
            name: Gauge(f"dollhouse_{name}", text, **own)
            for name, text in (
                ("queue_encoding", "Scenes that wait or are encoded"),
                ("queue_answering", "Questions that wait or are answered"),
                ("open_requests", "Requests being handled"),
                ("memory_bytes", "Bytes of encoded scenes in memory"),
                ("memory_scenes", "Encoded scenes in memory"),
                ("stored_bytes", "Bytes of stored scenes"),
            )
        }

    def render(self) -> bytes:
        """Return all metrics as Prometheus's text."""
        return generate_latest(self.registry)
