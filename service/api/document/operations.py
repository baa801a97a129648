"""What the OpenAPI document says of one operation, beside its route.

Handlers read bodies themselves, since a body is bounded while it arrives; what FastAPI cannot see
in their signatures is said here. `service.api.document.build` puts it together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from service.api.document.errors import GoogleErrorReply, OpenAIErrorReply

Protocol = Literal["openai", "gemini"]

REF = "#/components/schemas/{model}"

_BODIES: dict[str, type[BaseModel]] = {}

_ERRORS: dict[Protocol, type[BaseModel]] = {
    "openai": OpenAIErrorReply,
    "gemini": GoogleErrorReply,
}


def operation(
    protocol: Protocol,
    *,
    body: type[BaseModel] | None = None,
    reply: Any = None,
    events: str | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Sequence[str] = (),
) -> dict[str, Any]:
    """Arguments of a route's decorator.

    body: of the request, JSON. reply: type of the body of status 200, JSON. events: what a stream
    of server-sent events carries, for operations that can stream. query: parameters of the query,
    by name, with their schemas. headers: names of ours in the request that matter here.
    """
    content: dict[str, Any] = {}
    if events is not None:
        content["text/event-stream"] = {"schema": {"type": "string", "description": events}}
    ok: dict[str, Any] = {"description": "Success", "model": reply}
    if content:
        ok["content"] = content
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
    elif reply is not None:
        ok["model"] = reply
    return {
        "responses": {200: ok, **({503: {**ok, "description": "Not ready"}} if may_wait else {})}
    }


def body_name(model: type[BaseModel]) -> str:
    """The component of a request body. Two models of one name get different ones."""
    name = model.__name__
    if _BODIES.setdefault(name, model) is not model:
        name = f"{model.__module__.split('.')[-2].capitalize()}{name}"
        _BODIES[name] = model
    return name


def bodies() -> dict[str, type[BaseModel]]:
    return dict(_BODIES)
