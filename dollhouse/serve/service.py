"""Scenes by id: encode uploads once, find them again in memory or on disk, answer questions about them."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dollhouse.errors import SceneError
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scale import NOTHING_KNOWN, KnownScale
from dollhouse.serve.batching import QuestionQueue, Workers
from dollhouse.serve.limits import Limits, RequestError
from dollhouse.serve.metrics import Metrics
from dollhouse.serve.scene_memory import EncodedScene, SceneMemory
from dollhouse.serve.scene_store import SceneStore
from dollhouse.serve.uploads import Upload, scene_path, upload_hash, write_upload
from dollhouse.system.text import one_line

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.inference.session import Answer

T = TypeVar("T")


@dataclass(frozen=True)
class SceneSettings:
    """What a request may set about a scene's encoding."""

    views: int | None = None
    focal: str | None = None
    camera_height: float | None = None
    known_length: str | None = None

    @property
    def known(self) -> KnownScale:
        """Return what is known of the scene's scale; raises SceneError."""
        known = KnownScale(self.focal, self.camera_height, self.known_length)
        return NOTHING_KNOWN if known == NOTHING_KNOWN else known


class SceneService:
    """The scenes of one server. Its methods run in one event loop; the model runs in the queues' threads."""

    def __init__(
        self, pipeline: DollhousePipeline, name: str, store: Path, limits: Limits | None = None, encoders: int = 1
    ) -> None:
        self.pipeline, self.name = pipeline, name
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.memory = SceneMemory(self.limits.memory, self.metrics)
        self.store = SceneStore(store, pipeline.model_id, self.limits.store)
        self.workers = Workers(encoders, self.limits.encoding, self.metrics)
        self.questions = QuestionQueue(self.limits.answering, self.metrics, pipeline.word_batch)
        self.draining = False
        self.encoded = 0  #: scenes so far
        self._encoding: dict[str, asyncio.Task[EncodedScene]] = {}

    async def add(
        self,
        uploads: Sequence[Upload],
        settings: SceneSettings,
        keep: bool,
        started: Callable[[], None] = lambda: None,
    ) -> EncodedScene:
        """Encode an upload, or find it in memory; ``keep`` stores its files.

        Raises:
            RequestError: beyond a limit, or a full queue.
            SceneError: nothing in it can be encoded.
        """
        settings.known  # noqa: B018 - raises before any work
        upload = await asyncio.to_thread(upload_hash, uploads, [settings, self.pipeline.model_id])
        known = self.memory.find_upload(upload)
        if known is not None and (not keep or self.store.find(known.id)):
            return known
        key = f"{upload}{keep}"
        if key not in self._encoding:
            self.workers.check()
            folder = self.store.new_folder()
            try:
                await asyncio.to_thread(write_upload, uploads, folder, self.limits)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            name = one_line(uploads[0].name, 60) if len(uploads) == 1 else f"{len(uploads)} photos"
            return await self._once(key, self._encode_upload(folder, name, upload, settings, keep, started), folder)
        return await asyncio.shield(self._encoding[key])

    async def open(self, id: str) -> EncodedScene:
        """Return a scene from memory, or encode it again from the store; RequestError (404) where it is in neither."""
        if scene := self.memory.get(id):
            return scene
        gone = RequestError(404, f"no scene {one_line(id, 60)}: send its photos again", "scene_not_found", "scene")
        found = self.store.find(id)
        if found is None:
            raise gone
        files, facts = found

        async def encode() -> EncodedScene:
            settings = SceneSettings(**facts["settings"])
            try:
                scene = await self.workers.run(lambda: self._encode(files, facts["name"], settings))
            except SceneError:
                if self.store.find(id) is None:
                    raise gone from None
                raise
            if self.store.find(id) is None:  # deleted meanwhile: it must not come back
                raise gone
            self.memory.put(scene)
            return scene

        return await self._once(id, encode())

    async def ask(self, scene: EncodedScene, questions: Sequence[str]) -> list[Answer]:
        """Answer questions about a scene."""
        start = time.perf_counter()
        answers = await self.questions.answer(scene.session, questions)
        self.metrics.later.observe(time.perf_counter() - start)
        return answers

    async def compute(self, scene: EncodedScene, function: Callable[[], T]) -> T:
        """Run a function of a session that is not quick, such as its depth, among the encoding threads."""
        value = await self.workers.run(function)
        if self.memory.get(scene.id) is not None:
            self.memory.put(scene)  # it may hold more now
        return value

    def remove(self, id: str) -> bool:
        """Delete a scene from memory and disk; returns whether it was stored or in memory."""
        held = self.memory.get(id) is not None
        self.memory.remove(id)
        return self.store.remove(id) or held

    def close(self) -> None:
        """Let the running work end."""
        self.workers.close()
        self.questions.close()

    async def _once(
        self, key: str, encode: Coroutine[Any, Any, EncodedScene], folder: Path | None = None
    ) -> EncodedScene:
        """Run what several requests may wait for; it goes on where one of them is cancelled, and owns its folder."""
        task = self._encoding.get(key)
        if task is None:
            task = self._encoding[key] = asyncio.create_task(encode)

            def end(done: asyncio.Task[EncodedScene]) -> None:
                del self._encoding[key]
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                if not done.cancelled():
                    done.exception()  # each waiter gets it; without one it is of no interest

            task.add_done_callback(end)
        else:
            encode.close()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        return await asyncio.shield(task)

    async def _encode_upload(
        self,
        folder: Path,
        name: str,
        upload: str,
        settings: SceneSettings,
        keep: bool,
        started: Callable[[], None],
    ) -> EncodedScene:
        def encode() -> EncodedScene:
            scene = self._encode(folder, name, settings)
            if keep:
                self.store.keep(scene.id, folder, {"name": name, "settings": vars(settings)})
            return scene

        scene = await self.workers.run(encode, started)
        self.memory.put(scene, upload)
        self.metrics.gauges["stored_bytes"].set(self.store.bytes)
        return scene

    def _encode(self, folder: Path, name: str, settings: SceneSettings) -> EncodedScene:
        path = scene_path(folder)
        start = time.perf_counter()
        try:
            opened = open_scene(path, skip_bad=True)
            session = self.pipeline.encode_scene(opened, settings.views, True, settings.known)
        except SceneError as error:
            raise SceneError(_without_folder(str(error), folder)) from None
        self.metrics.encode.observe(time.perf_counter() - start)
        self.encoded += 1
        lines = dict.fromkeys([*opened.notices, *session.scene.notices])
        if len(session.scene.views) < len(opened.views):
            used = ", ".join(one_line(view.name, 40) for view in session.scene.views)
            lines[f"{len(opened.views)} views, {len(session.scene.views)} used: {used}"] = None
        digest = hashlib.sha256(repr([self.pipeline.model_id, settings, session.images.shape]).encode())
        digest.update(session.images.tobytes())
        notices = tuple(one_line(_without_folder(line, folder)) for line in lines)
        return EncodedScene(f"scene-{digest.hexdigest()[:32]}", name, session, notices)


def _without_folder(text: str, folder: Path) -> str:
    """Remove the server's paths from a message."""
    for path in (folder, folder.resolve()):
        text = text.replace(f"{path}/", "").replace(str(path), "the upload")
    return text
