"""Routes of scenes: upload, look up, ask, download, delete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from dollhouse.errors import DollhouseError, ModelError
from dollhouse.inference.session import MAX_VIEWS
from dollhouse.serve import scene_files
from dollhouse.serve.bodies import read_body
from dollhouse.serve.gate import too_late
from dollhouse.serve.limits import RequestError, check_fields, unexpected_error
from dollhouse.serve.plan import plan_svg
from dollhouse.serve.scene_memory import EncodedScene
from dollhouse.serve.service import SceneService, SceneSettings
from dollhouse.serve.uploads import Upload

_FORM = ("files", "views", "focal", "camera_height", "known_length")
_PRIVATE = {"Cache-Control": "private, max-age=3600"}


class AskRequest(BaseModel):
    """One question, or several."""

    # other fields are kept, to be named where they are refused
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})
    question: str | None = None
    questions: list[str] = Field(default_factory=list)


_ASK_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": AskRequest.model_json_schema()}}}
}


def scene_router(service: SceneService) -> APIRouter:
    """Return the routes under ``/v1/scenes``."""
    routes = APIRouter(prefix="/v1/scenes", tags=["scenes"], dependencies=[Depends(_check_query)])

    async def perceived(id: str) -> EncodedScene:
        scene = await service.open(id)
        if scene.session.blind:
            raise ModelError(f"{service.name} is a blind student: it has no depth, cameras or boxes")
        return scene

    @routes.post("", status_code=201)
    async def add_scene(request: Request) -> Response:
        """Encode photos, a video or a zip of a capture (multipart field ``files``), and store them.

        Form fields: views, focal, camera_height, known_length, as the options of ``dollhouse ask``. With the header
        ``Accept: text/event-stream``, progress is sent as events, the scene last.
        """
        form = await _form(request, service)
        streamed = "text/event-stream" in request.headers.get("accept", "")
        try:
            _check_form(form)
            parts = form.getlist("files")
            if not parts:
                raise RequestError(400, "no files: send photos, a video or a zip as field files", "no_files", "files")
            uploads = [Upload(part.filename or "photo.jpg", part.file) for part in parts]
            settings = _settings(form)
            if not streamed:
                scene = await service.add(uploads, settings, keep=True)
                return JSONResponse(scene_files.describe(scene, service.name), 201)
        except BaseException:
            streamed = False
            raise
        finally:
            if not streamed:
                await form.close()
        events = _progress(service, uploads, settings, request.state.until, form.close)
        return StreamingResponse(events, media_type="text/event-stream")

    @routes.get("/{id}")
    async def get_scene(id: str) -> dict[str, Any]:
        """Describe a scene: views, scale, notices, boxes, cameras."""
        return scene_files.describe(await service.open(id), service.name)

    @routes.delete("/{id}")
    async def delete_scene(id: str) -> dict[str, Any]:
        """Delete a scene from memory and disk."""
        if not service.remove(id):
            raise RequestError(404, "no such scene", "scene_not_found", "scene")
        return {"id": id, "object": "scene.deleted", "deleted": True}

    @routes.post("/{id}/ask", openapi_extra=_ASK_BODY)
    async def ask(id: str, request: Request) -> dict[str, Any]:
        """Answer questions about a scene, with confidence, scale, and the boxes that are named."""
        asked = await read_body(request, AskRequest)
        check_fields(asked.model_extra or (), AskRequest.model_fields)
        if asked.questions and asked.question is not None:
            raise RequestError(400, "give question or questions, not both", "bad_questions", "question")
        questions = asked.questions or ([asked.question] if asked.question is not None else [])
        if not 0 < len(questions) <= service.limits.questions:
            most = f"give 1 to {service.limits.questions} questions"
            raise RequestError(400, f"{len(questions)} questions: {most}", "bad_questions", "questions")
        scene = await service.open(id)
        answers = await service.ask(scene, questions)
        return {"object": "list", "data": [scene_files.answer_fields(scene, answer) for answer in answers]}

    @routes.get("/{id}/boxes")
    async def boxes(id: str) -> dict[str, Any]:
        """Return the boxes in the level frame of the first view."""
        described = scene_files.describe(await perceived(id), service.name)
        return {"object": "boxes", "scene": id, "scale": described["scale"], "boxes": described["boxes"]}

    @routes.get("/{id}/photo")
    async def photo(id: str, view: int = 1) -> Response:
        """Return a photo as the model gets it (JPEG)."""
        scene = await service.open(id)
        content = await asyncio.to_thread(scene_files.photo_jpeg, scene, view)
        return Response(content, media_type="image/jpeg", headers=_PRIVATE)

    @routes.get("/{id}/depth")
    async def depth(id: str, view: int | None = None, format: Literal["png", "raw"] = "png") -> Response:
        """Return predicted depth: 16-bit PNG in millimetres, or all maps as 16-bit floats in metres."""
        scene = await perceived(id)
        if format == "raw":
            if view is not None:
                raise RequestError(400, "view: format=raw has all views; leave it out", "bad_value", "view")
            content = await service.compute(scene, partial(scene_files.depth_raw, scene))
            return Response(content, media_type="application/octet-stream", headers=_PRIVATE)
        content = await service.compute(scene, partial(scene_files.depth_png, scene, 1 if view is None else view))
        return Response(content, media_type="image/png", headers=_PRIVATE)

    @routes.get("/{id}/points")
    async def points(id: str) -> Response:
        """Return predicted points: 32-bit float positions (N, 3), then 8-bit colours (N, 3)."""
        scene = await perceived(id)
        content = await service.compute(scene, partial(scene_files.points_raw, scene))
        return Response(content, media_type="application/octet-stream", headers=_PRIVATE)

    @routes.get("/{id}/plan")
    async def plan(id: str) -> Response:
        """Return the floor plan (SVG)."""
        scene = await perceived(id)
        draw = partial(plan_svg, scene.session, scene.session.shown_boxes)
        return Response(await service.compute(scene, draw), media_type="image/svg+xml")

    @routes.get("/{id}/file")
    async def file(id: str, format: Annotated[Literal["glb", "ply", "json"], Query()] = "glb") -> Response:
        """Return the scene for Blender and other programs (GLB), its points (PLY) or its boxes (JSON)."""
        scene = await perceived(id)
        content = await service.compute(scene, partial(scene_files.export, scene, format, service.store.incoming))
        named = {"Content-Disposition": f'attachment; filename="{id}.{format}"'}
        return Response(content, media_type=scene_files.FILE_TYPES[format], headers=named)

    return routes


async def _form(request: Request, service: SceneService) -> Any:
    try:
        return await request.form(max_files=service.limits.photos + 1, max_fields=16, max_part_size=1024)
    except HTTPException as error:
        status = 413 if "Too many" in str(error.detail) else 400
        raise RequestError(status, f"the form cannot be read ({error.detail})", "bad_form") from error


def _check_query(request: Request) -> None:
    """Refuse parameters of the URL that the route does not have, or that are given twice."""
    check_fields(
        request.query_params, [field.alias for field in request.scope["route"].dependant.query_params], "URL parameter"
    )
    for name in request.query_params:
        if len(request.query_params.getlist(name)) > 1:
            raise RequestError(400, f"{name}: give it once", "bad_value", name)


def _check_form(form: Any) -> None:
    """Refuse fields that are unknown, given twice, or text where files belong and the other way round."""
    check_fields(form, _FORM)
    for name in form:
        values = form.getlist(name)
        if name != "files" and len(values) > 1:
            raise RequestError(400, f"{name}: give it once", "bad_value", name)
        if any(isinstance(value, UploadFile) != (name == "files") for value in values):
            kind = "files, with a file name each (curl: -F files=@1.jpg)" if name == "files" else "text, not a file"
            raise RequestError(400, f"{name}: send {kind}", "bad_value", name)


def _settings(form: Any) -> SceneSettings:
    def value(name: str, kind: type) -> Any:
        text = form.get(name, "").strip()
        try:
            return kind(text) if text else None
        except ValueError:
            raise RequestError(
                400, f"{name}: give a {'whole ' if kind is int else ''}number", "bad_value", name
            ) from None

    views = value("views", int)
    if views is not None and not 1 <= views <= MAX_VIEWS:
        raise RequestError(400, f"views: give 1 to {MAX_VIEWS}", "bad_value", "views")
    return SceneSettings(views, value("focal", str), value("camera_height", float), value("known_length", str))


async def _progress(
    service: SceneService,
    uploads: list[Upload],
    settings: SceneSettings,
    until: float,
    close: Callable[[], Awaitable[None]],
) -> AsyncIterator[bytes]:
    """Yield an event for each change, then the scene, or the error; a second before the deadline, that one."""
    started = asyncio.Event()
    task = asyncio.create_task(service.add(uploads, settings, True, started.set))
    turn = asyncio.create_task(started.wait())
    try:
        yield scene_files.event({"state": "queued", "before": service.workers.open})
        left = until - 1 - time.monotonic()
        await asyncio.wait([task, turn], return_when=asyncio.FIRST_COMPLETED, timeout=max(0.0, left))
        if not task.done():
            yield scene_files.event({"state": "encoding"})
        left = until - 1 - time.monotonic()
        if not (await asyncio.wait([task], timeout=max(0.0, left)))[0]:
            raise too_late(service.limits.deadline)
        scene = task.result()
        yield scene_files.event({"state": "done", "scene": scene_files.describe(scene, service.name)})
    except RequestError as error:
        yield scene_files.event({"state": "failed", **error.body})
    except DollhouseError as error:
        yield scene_files.event({"state": "failed", **RequestError(422, str(error), "unusable").body})
    except Exception:
        yield scene_files.event({"state": "failed", **unexpected_error().body})
        raise
    finally:
        task.cancel()
        turn.cancel()
        await close()
