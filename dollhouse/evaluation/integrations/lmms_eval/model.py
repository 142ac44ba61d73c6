"""Dollhouse as a model of lmms-eval: ``lmms-eval --model dollhouse --model_args pretrained=FOLDER``.

For simple models of lmms-eval 0.6 and 0.7. The pictures of a request are a scene; consecutive requests with the same
pictures share its encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from dollhouse.errors import ModelError, QuestionError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import Answer
from dollhouse.inference.torch_session import TorchSession, torch_session
from dollhouse.models.dollhouse.special_tokens import END_TOKEN
from dollhouse.scenes.scene import Scene, View
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms


@dataclass(frozen=True, eq=False)
class _Request:
    question: str
    settings: dict[str, Any]  #: of the generation
    continuation: str  #: for its likelihood
    photos: tuple[NDArray[np.uint8], ...]  #: (H, W, 3) each
    key: str  #: digest of the photos


class DollhouseModel(lmms):  # type: ignore[misc]
    """A simple model in lmms-eval's sense: text and pictures in, text out; greedy."""

    is_simple = True

    def __init__(
        self,
        pretrained: str = "",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        """Load a model.

        Args:
            pretrained: model folder; default the shipped nano student.
            batch_size: ignored; questions about the same pictures are always batched.

        Raises:
            ModelError: the folder is no model, or an argument is unknown.
        """
        super().__init__()
        if unknown:
            raise ModelError(f"dollhouse has no model argument {next(iter(unknown))!r}; there is pretrained=FOLDER")
        self.pipeline = DollhousePipeline.from_pretrained(Path(pretrained) if pretrained else None, device)
        self._last: tuple[str, TorchSession] | None = None

    @property
    def device(self) -> torch.device:
        return self.pipeline.model.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer each request greedily, cut at the first of its ``until``."""
        answers = []
        parsed = (self._generation(request) for request in tqdm(requests, "answering", disable=self.rank != 0))
        for (_, length), same in groupby(parsed, key=lambda request: (request.key, _length(request.settings))):
            group = list(same)
            batch = self._session(group[0]).answer([request.question for request in group], length)
            answers += [_cut(*pair) for pair in zip(batch, group, strict=True)]
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Return the loss of each continuation, and whether it is the greedy answer.

        The loss is the mean negative log-probability of a token, the end included: lmms-eval's own models return a
        loss, and its choice takes the smallest.
        """
        parsed = (self._continuation(request) for request in tqdm(requests, "scoring", disable=self.rank != 0))
        return [self._loss(request) for request in parsed]

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise QuestionError("Dollhouse models answer single questions: leave out lmms-eval's tasks of several rounds")

    def _generation(self, request: Instance) -> _Request:
        question, settings, visual, place, task, split = request.args
        if settings.get("do_sample"):
            raise QuestionError(f"lmms-eval's task {task} samples its answers; Dollhouse decodes greedily only")
        return self._request(question, visual, self.task_dict[task][split][place], settings=settings)

    def _continuation(self, request: Instance) -> _Request:
        question, target, visual, place, task, split = request.args
        document = self.task_dict[task][split][place]
        text = target if isinstance(target, str) else target(document)
        return self._request(question, visual, document, continuation=str(text))

    def _request(
        self, question: str, visual: Any, document: Any, settings: dict[str, Any] | None = None, continuation: str = ""
    ) -> _Request:
        photos = tuple(_photos(visual(document) if callable(visual) else None))
        if not photos:
            raise QuestionError(
                f"a question without a picture ({question:.60}...): Dollhouse answers about photos only"
            )
        digest = sha256()
        for photo in photos:
            digest.update(repr(photo.shape).encode() + photo.tobytes())
        return _Request(question, settings or {}, continuation, photos, digest.hexdigest())

    def _session(self, request: _Request) -> TorchSession:
        if self._last is None or self._last[0] != request.key:
            views = tuple(View(f"{place}", partial(np.asarray, photo)) for place, photo in enumerate(request.photos))
            session = self.pipeline.encode_scene(Scene(f"pictures {request.key[:12]}", views))
            self._last = request.key, torch_session(session)
        return self._last[1]

    def _loss(self, request: _Request) -> tuple[float, bool]:
        processor, model = self.pipeline.processor, self.pipeline.model
        answer = f" {request.continuation.strip().lower()}{END_TOKEN}"  # as in training
        target = list(processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
        ids = processor.question_ids(request.question) + target
        with torch.inference_mode():
            logits = model.language_model(
                input_ids=torch.tensor([ids], device=self.device),
                past_key_values=self._session(request).dynamic_cache(1),
                use_cache=True,
                logits_to_keep=len(target) + 1,
            ).logits[0, :-1]
            logits = logits.float()
            logits[:, model.suppress_tokens()] = -torch.inf
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(target, device=self.device))
        return float(losses), logits.argmax(-1).tolist() == target


def _photos(visuals: Any) -> Iterator[NDArray[np.uint8]]:
    for visual in visuals or ():
        if not isinstance(visual, Image.Image):
            raise QuestionError(f"Dollhouse encodes pictures, not {type(visual).__name__}: choose tasks of images")
        yield np.asarray(visual.convert("RGB"))


def _length(settings: dict[str, Any]) -> int:
    return int(settings.get("max_new_tokens") or 48)


def _cut(answer: Answer, request: _Request) -> str:
    text, until = answer.text, request.settings.get("until") or ()
    for end in [until] if isinstance(until, str) else until:
        text = text.split(end)[0] if end else text
    return text
