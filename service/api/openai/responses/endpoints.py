"""POST /v1/responses; GET, DELETE /v1/responses/{id}; GET /v1/responses/{id}/input_items."""

from functools import partial
from typing import Any, TypeVar, get_args

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.document.openai_replies import DeletedReply, ItemsReply, ResponseReply
from service.api.document.operations import operation
from service.api.openai.files import texts_of
from service.api.openai.responses.answering import answer_of, ask_of, events_of
from service.api.openai.responses.conversation import Item, items_of
from service.api.openai.responses.events import EventWriter
from service.api.openai.responses.rendering import Answer, Turn, final_response, in_these_words
from service.api.openai.responses.schemas import (
    LOGPROBS,
    Includable,
    ItemsQuery,
    MessageItem,
    ResponseRequest,
    RetrieveQuery,
)
from service.api.openai.responses.store import Kept, ResponseStore
from service.api.parsing import invalid, parse_body
from service.api.planning import PlainPlan
from service.api.replies import EventStream, JSONReply, answer
from service.errors import ApiError
from service.guard.visits import current_owner

M = TypeVar("M", bound=BaseModel)


def responses_router() -> APIRouter:
    """With a store of its own: every application keeps its responses for itself."""
    endpoints = Responses(ResponseStore())
    router = APIRouter()
    one = "/responses/{response_id}"
    include: dict[str, dict[str, Any]] = {
        "include": {"type": "array", "items": {"enum": list(get_args(Includable))}, "maxItems": 16}
    }
    paging: dict[str, dict[str, Any]] = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        "order": {"type": "string", "enum": ["asc", "desc"]},
        "after": {"type": "string"},
    }
    created = operation(
        "openai",
        body=ResponseRequest,
        reply=ResponseReply,
        events="typed events, as OpenAI's",
        links=dict.fromkeys(
            ("openai_retrieve", "openai_input_items", "openai_delete"), "response_id"
        ),
        headers=("x-pollux-routing",),
    )
    kept = operation("openai", reply=ResponseReply, query=include)
    listed = operation("openai", reply=ItemsReply, query={**include, **paging})
    for path, endpoint, method, summary, more in (
        ("/responses", endpoints.create, "POST", "Answer a conversation, and remember it", created),
        (one, endpoints.retrieve, "GET", "A response that is kept", kept),
        (
            one,
            endpoints.delete,
            "DELETE",
            "Forget a response",
            operation("openai", reply=DeletedReply),
        ),
        (f"{one}/input_items", endpoints.input_items, "GET", "What a response answered", listed),
    ):
        router.add_api_route(path, endpoint, methods=[method], summary=summary, **more)
    return router


def owner_of(_: Request) -> str | None:
    """Whose a request's responses are: its key's name. Without keys all callers are one."""
    return current_owner()


class Responses:
    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def create(self, request: Request) -> Response:
        gateway = gateway_of(request)
        body = await parse_body(request, ResponseRequest)
        owner = owner_of(request)
        earlier = self._earlier(body.previous_response_id, owner)
        references = [
            found
            for item in body.items
            if isinstance(item, MessageItem)
            for found in item.references()
        ]
        texts = await texts_of(gateway, body.model, references, "input")
        items = (*earlier, *items_of(body, texts))
        with in_these_words():
            plan = await gateway.plan(ask_of(body, items, request.headers))
        turn = Turn(body=body, items=items, owner=owner, routed=not isinstance(plan, PlainPlan))
        if body.stream:
            writer = EventWriter(turn)
            events = events_of(gateway, plan, writer, partial(self._finish, turn))
            return EventStream(events, on_error=writer.fail, timeout=plan.timeout)
        with in_these_words():
            whole = await answer(request, answer_of(gateway, plan, turn), plan.timeout)
        return JSONReply(self._finish(turn, whole), headers=whole.headers)

    async def retrieve(self, request: Request, response_id: str) -> Response:
        kept = self._kept(request, response_id)
        query = query_of(request, RetrieveQuery)
        if query.logprobs and not kept.logprobs:
            raise _not_included("this response was made without logprobs")
        return Response(kept.body, media_type="application/json")

    async def delete(self, request: Request, response_id: str) -> Response:
        if not self._store.delete(response_id, owner_of(request)):
            raise _not_found(response_id)
        return JSONReply({"id": response_id, "object": "response", "deleted": True})

    async def input_items(self, request: Request, response_id: str) -> Response:
        kept = self._kept(request, response_id)
        query = query_of(request, ItemsQuery)
        if query.logprobs:
            raise _not_included("input items have no logprobs")
        items = kept.items if query.order == "asc" else kept.items[::-1]
        start = 0
        if query.after is not None:
            ids = [item.id for item in items]
            if query.after not in ids:
                raise ApiError("invalid", "after is no item of this response", param="after")
            start = ids.index(query.after) + 1
        page = items[start : start + query.limit]
        return JSONReply(
            {
                "object": "list",
                "data": [item.rendered() for item in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": start + len(page) < len(items),
            }
        )

    def _earlier(self, response_id: str | None, owner: str | None) -> tuple[Item, ...]:
        """The conversation that a request continues."""
        if response_id is None:
            return ()
        kept = self._store.get(response_id, owner)
        if kept is None:
            raise ApiError(
                "invalid",
                f"Previous response with id {response_id[:100]!r} not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return kept.conversation

    def _kept(self, request: Request, response_id: str) -> Kept:
        kept = self._store.get(response_id, owner_of(request))
        if kept is None:
            raise _not_found(response_id)
        return kept

    def _finish(self, turn: Turn, whole: Answer) -> dict[str, Any]:
        """The whole response, kept if it was to be: before its caller knows that it is there."""
        final = final_response(turn, whole)
        if turn.body.store:
            kept = Kept(
                owner=turn.owner,
                body=msgspec.json.encode(final),
                items=turn.items,
                output=tuple(output.item for output in whole.output),
                logprobs=turn.body.logprobs,
            )
            final["store"] = self._store.keep(turn.id, kept)
        return final


def query_of(request: Request, model: type[M]) -> M:
    """Raises ApiError. Lists come as `include[]=a&include[]=b`, or without the brackets."""
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = name.removesuffix("[]")
        if field == "include":
            given.setdefault(field, []).append(value)
        else:
            given[field] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None


def _not_found(response_id: str) -> ApiError:
    return ApiError("not_found", f"Response with id {response_id[:100]!r} not found.")


def _not_included(why: str) -> ApiError:
    return ApiError("invalid", f"{LOGPROBS}: {why}", param="include")
