"""What the OpenAPI document says of one operation, beside its route.

Handlers read bodies themselves, since a body is bounded while it arrives; what FastAPI cannot see
in their signatures is said here. `service.api.document.build` puts it together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from service.api.document.errors import GoogleErrorReply, OpenAIErrorReply

Protocol = Literal["openai", "gemini", "either"]

REF = "#/components/schemas/{model}"

_BODIES: dict[str, type[BaseModel]] = {}

_ERRORS: dict[Protocol, Any] = {
    "openai": OpenAIErrorReply,
    "gemini": GoogleErrorReply,
    "either": OpenAIErrorReply | GoogleErrorReply,
}


def operation(
    protocol: Protocol,
    *,
    body: type[BaseModel] | None = None,
    reply: Any = None,
    events: str | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Arguments of a route's decorator.

    body: of the request, JSON. reply: type of the body of status 200, JSON. events: what a stream
    of server-sent events carries, for operations that can stream. query: parameters of the query,
    by name, with their schemas. headers: names of ours in the request that matter here. links: ids
    of operations that take the id of what this one made, with that parameter's name.
    """
    content: dict[str, Any] = {}
    if events is not None:
        content["text/event-stream"] = {"schema": {"description": events}}
    ok: dict[str, Any] = {"description": "Success", "model": reply}
    if content:
        ok["content"] = content
    if links:
        ok["links"] = {
            target: {"operationId": target, "parameters": {name: "$response.body#/id"}}
            for target, name in links.items()
        }
    extra: dict[str, Any] = {}
    if body is not None:
        name = body_name(body)
        extra["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REF.format(model=name)}}},
        }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": dict(schema)}
        for name, schema in (query or {}).items()
    ] + [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in headers
    ]
    if parameters:
        extra["parameters"] = parameters
    error = {"description": "An error, in one line", "model": _ERRORS[protocol]}
    return {"responses": {200: ok, "4XX": error, "5XX": error}, "openapi_extra": extra}


def watch(reply: Any = None, *, may_wait: bool = False, text: str | None = None) -> dict[str, Any]:
    """The same for what machines watch: outside of the protocols, without parameters.

    may_wait: 503 with the same body until the server is ready. text: the media type of a body that
    is not JSON.
    """
    ok: dict[str, Any] = {"description": "Success"}
    if text is not None:
        ok["content"] = {text: {"schema": {"type": "string"}}}
    if reply is not None:
        ok["model"] = reply
    waiting = {503: {**ok, "description": "Not ready"}} if may_wait else {}
    kind = JSONResponse if reply is not None else Response
    return {"responses": {200: ok, **waiting}, "response_class": kind}


def operation_id(route: APIRoute) -> str:
    """By protocol and handler, for the clients that are made from the document."""
    return "_".join([*map(str, route.tags[:1]), route.name])


def body_name(model: type[BaseModel]) -> str:
    """The component of a request body. Two models of one name get different ones."""
    name = model.__name__
    if _BODIES.setdefault(name, model) is not model:
        name = f"{model.__module__.split('.')[-2].capitalize()}{name}"
        _BODIES[name] = model
    return name


def bodies() -> dict[str, type[BaseModel]]:
    return dict(_BODIES)
