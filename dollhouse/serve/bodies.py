"""JSON of requests."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from dollhouse.errors import first_fault
from dollhouse.serve.limits import RequestError
from dollhouse.system.read_files import decode_json

M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request, model: type[M]) -> M:
    """Read a request's JSON, whatever its Content-Type; RequestError (400) where it is none, or not of the model."""
    try:
        data = decode_json(await request.body())
        if not isinstance(data, dict):
            raise ValueError("it is not an object: {...}")
        return model.model_validate(data)
    except ValidationError as error:
        raise RequestError(400, f"the request cannot be read: {first_fault(error)}", "bad_request") from None
    except ValueError as error:
        raise RequestError(400, f"the request is no JSON that can be read: {error}", "bad_request") from None
