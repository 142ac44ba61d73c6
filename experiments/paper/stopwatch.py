"""A process of its own that holds one model and answers against the clock, asked over its standard input.

    python -m experiments.paper.stopwatch MODEL-FOLDER

A line of JSON goes in, a line comes out. In a process of its own, so that the peak memory is that model's; two such
processes can be asked in turn, so that whatever else the machine does hits both alike. Answers are made to be equally
long: the end of an answer is not heeded. Knows nothing of tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from dollhouse.errors import ModelError

TIMES = 5  #: each thing is timed; the median counts, since other work on a machine comes in bursts


class Stopwatch:
    """The other end of the pipe: start the process, ask it, end it."""

    def __init__(self, model: Path) -> None:
        """Raises ModelError where the process cannot hold the model."""
        self.model = model
        command = [sys.executable, "-m", "experiments.paper.stopwatch", str(model)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.told = self._read()  #: ``parameters``, ``bytes`` on disk

    def ask(self, scene: str, questions: Sequence[str], tokens: int) -> dict[str, float]:
        """Seconds of the ``first`` answer (looking included), a ``later`` one, and of ``all`` questions together.

        Each is the median of :data:`TIMES`.
        """
        self._write({"scene": scene, "questions": list(questions), "tokens": tokens})
        return self._read()

    def memory(self) -> dict[str, int]:
        """``peak`` bytes of the process, and those it had (``empty``) before it loaded the model."""
        self._write({"memory": True})
        return self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.stderr.read().strip().splitlines() if self._process.stderr else []
            raise ModelError(f"{self.model} could not be timed: {said[-1] if said else 'its process ended'}")
        told: dict[str, Any] = json.loads(line)
        return told


def main(folder: Path) -> None:
    """Hold the model of ``folder`` and answer lines until there are no more."""
    from dollhouse.cli.app import quiet_libraries

    quiet_libraries()
    import torch

    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.records.scene_source import cache_views
    from dollhouse.scenes.open import open_scene
    from dollhouse.training.estimate.memory import peak_resident_bytes, resident_bytes

    empty = resident_bytes()
    pipeline = DollhousePipeline.from_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in pipeline.model.parameters())
    _say({"parameters": parameters, "bytes": (folder / "model.safetensors").stat().st_size})
    for line in sys.stdin:
        request = json.loads(line)
        if "memory" in request:
            _say({"peak": peak_resident_bytes(), "empty": empty})
            continue
        scene = cache_views(open_scene(request["scene"]))
        pipeline.encode_scene(scene)  # so that no picture is drawn against the clock
        ids = [pipeline.processor.question_ids(question) for question in request["questions"]]
        lengths = sorted({len(one) for one in ids})
        groups = [torch.tensor([one for one in ids if len(one) == length]) for length in lengths]
        first = torch.tensor(ids[:1])
        taken: dict[str, list[float]] = {"first": [], "later": [], "all": []}
        with torch.inference_mode():
            for _ in range(TIMES):
                started = time.perf_counter()
                memory = pipeline.encode_scene(scene)
                answer(memory, first, request["tokens"])
                looked = time.perf_counter()
                answer(memory, first, request["tokens"])
                later = time.perf_counter()
                for group in groups:
                    answer(memory, group, request["tokens"])
                ended = time.perf_counter()
                for part, seconds in zip(taken, (looked - started, later - looked, ended - later), strict=True):
                    taken[part].append(seconds)
        _say({part: median(seconds) for part, seconds in taken.items()})


def answer(memory: Any, ids: Any, tokens: int) -> None:
    """Questions (R, T) of one length about a scene that was seen, answered as :func:`say` does."""
    say(memory.decoder, memory.prefill(ids, tokens), ids, tokens)


def say(decoder: Any, past: Any, ids: Any, tokens: int) -> None:
    """Greedy answers of exactly ``tokens`` tokens to questions (R, T), continuing from the decoder's ``past``."""
    feed = ids.to(decoder.model.device)
    for _ in range(tokens):
        feed = decoder.step(past, feed).argmax(-1, keepdim=True)
    feed.cpu()  # a graphics processor is done only when its result is here


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
