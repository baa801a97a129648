"""Every exception leaves here, in the words of the protocol that the request speaks."""

import logging
import math
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match

from model.contract import InvalidParameter, WorkerUnavailable
from model.text.language import TemplateError
from service.api.dialect import Dialect, dialect_of, has_verb
from service.api.gemini import rendering as gemini
from service.api.openai import rendering as openai
from service.api.replies import JSONReply
from service.errors import ApiError, Kind, as_api_error
from service.logs.record import note_error

log = logging.getLogger("pollux")


def install(app: FastAPI) -> None:
    kinds: tuple[type[Exception], ...] = (
        ApiError,
        InvalidParameter,
        TemplateError,
        WorkerUnavailable,
        TimeoutError,
        HTTPException,
        RequestValidationError,
    )
    for kind in kinds:
        app.add_exception_handler(kind, handle)


async def handle(request: Request, error: Exception) -> Response:
    reply = error_reply(request, known(error))
    if isinstance(error, HTTPException) and error.status_code == 405:
        reply.headers["allow"] = ", ".join(_methods(request))
    return reply


_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def _methods(request: Request) -> list[str]:
    """What the path takes. A route knows its own methods only, and several share a path."""
    if has_verb(request.scope["path"]):
        return ["POST"]
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def known(error: Exception) -> ApiError:
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, RequestValidationError):
        return ApiError("invalid", "the request is malformed")
    return as_api_error(error)


def _of_http(error: HTTPException) -> ApiError:
    kinds: dict[int, Kind] = {404: "not_found", 405: "method"}
    messages: dict[Kind, str] = {
        "not_found": "there is nothing at this path",
        "method": "this path does not take this method",
        "invalid": "the request is malformed",
    }
    kind = kinds.get(error.status_code, "invalid")
    return ApiError(kind, messages[kind])


WORTH_WAITING_S = 60.0
"""A wait that OpenAI's client obeys; what is longer it would try again at once, in vain."""


def error_reply(request: HTTPConnection, error: ApiError) -> Response:
    note_error(error)
    body: Any
    if dialect_of(request.scope) is Dialect.GEMINI:
        body = gemini.error_body(error)
    else:
        body = openai.error_body(error)
    reply = JSONReply(body, status_code=error.status, headers=dict(error.headers))
    if error.retry_after is not None:
        reply.headers["retry-after"] = str(math.ceil(error.retry_after))
        worth = error.retry_after <= WORTH_WAITING_S
        reply.headers["x-should-retry"] = "true" if worth else "false"
    if error.kind == "unauthenticated":
        reply.headers["www-authenticate"] = "Bearer"
    if error.kind in ("too_large", "slow"):
        # What is still coming is not read: the connection cannot be used again.
        reply.headers["connection"] = "close"
    return reply
