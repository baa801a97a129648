"""POST /v1/responses; GET, DELETE /v1/responses/{id}; GET /v1/responses/{id}/input_items."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from model.contract import GroupStarted, PathOutput
from routing.events import Shown
from service.api.common import gateway_of, header_policy
from service.api.generation import Counts
from service.api.internal import Ask, Chat
from service.api.openai.chat import complete
from service.api.openai.responses.conversation import Item, items_of, messages_of
from service.api.openai.responses.events import EventWriter
from service.api.openai.responses.rendering import (
    Answer,
    Turn,
    answer_of,
    final_response,
    in_these_words,
    token_logprobs,
    usage_of,
)
from service.api.openai.responses.schemas import (
    LOGPROBS,
    ItemsQuery,
    ResponseRequest,
    RetrieveQuery,
)
from service.api.openai.responses.store import Kept, ResponseStore
from service.api.parsing import invalid, parse_body
from service.api.planning import PlainPlan
from service.api.replies import EventStream, JSONReply, answer
from service.api.routed import RoutedPlan, decide, decision_headers, progress
from service.errors import ApiError
from service.gateway import Gateway

M = TypeVar("M", bound=BaseModel)

Finish = Callable[[Answer], dict[str, Any]]


def responses_router() -> APIRouter:
    """With a store of its own: every application keeps its responses for itself."""
    endpoints = Responses(ResponseStore())
    router = APIRouter()
    one = "/responses/{response_id}"
    for path, endpoint, method, summary in (
        ("/responses", endpoints.create, "POST", "Answer a conversation, and remember it"),
        (one, endpoints.retrieve, "GET", "A response that is kept"),
        (one, endpoints.delete, "DELETE", "Forget a response"),
        (f"{one}/input_items", endpoints.input_items, "GET", "What a response answered"),
    ):
        router.add_api_route(path, endpoint, methods=[method], summary=summary)
    return router


def owner_of(_: Request) -> str | None:
    """Whose a request's responses are. Keys are not checked, so all callers are one."""
    return None


class Responses:
    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def create(self, request: Request) -> Response:
        gateway = gateway_of(request)
        body = await parse_body(request, ResponseRequest)
        owner = owner_of(request)
        items = (*self._earlier(body.previous_response_id, owner), *items_of(body))
        with in_these_words():
            plan = await gateway.plan(ask_of(body, items, request.headers))
        turn = Turn(body=body, items=items, owner=owner, routed=not isinstance(plan, PlainPlan))

        def finish(answer: Answer) -> dict[str, Any]:
            return self._finish(turn, answer)

        if body.stream:
            writer = EventWriter(turn)
            if isinstance(plan, PlainPlan):
                events = plain_events(gateway, plan, turn, writer, finish)
            else:
                events = routed_events(gateway, plan, writer, finish)
            return EventStream(events, on_error=writer.fail, timeout=plan.timeout)
        with in_these_words():
            if isinstance(plan, PlainPlan):
                whole = await answer(request, plain_answer(gateway, plan, turn), plan.timeout)
                return JSONReply(finish(whole))
            shown = await answer(request, decide(gateway.route(plan)), plan.timeout)
        return JSONReply(finish(answer_of(shown)), headers=decision_headers(shown.decision))

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

    def _finish(self, turn: Turn, answer: Answer) -> dict[str, Any]:
        """The whole response, kept if it was to be: before its caller knows that it is there."""
        final = final_response(turn, answer)
        if turn.body.store:
            kept = Kept(
                owner=turn.owner,
                body=msgspec.json.encode(final),
                items=turn.items,
                output=Item(role="assistant", texts=(answer.text,), id=turn.message_id),
                logprobs=turn.body.logprobs,
            )
            final["store"] = self._store.keep(turn.id, kept)
        return final


def ask_of(body: ResponseRequest, items: tuple[Item, ...], headers: Mapping[str, str]) -> Ask:
    logprobs = body.top_logprobs if body.logprobs else None
    return Ask(
        model=body.model,
        input=Chat(messages_of(body.instructions, items)),
        sampling=body.sampling(max_tokens=body.max_output_tokens, logprobs=logprobs),
        routing=body.uncertainty_routing or header_policy(headers),
    )


async def plain_answer(gateway: Gateway, plan: PlainPlan, turn: Turn) -> Answer:
    completion = await complete(gateway, plan)
    (choice,) = completion.choices
    _, text = gateway.model()
    return Answer(
        text=choice.text,
        finish=choice.finish,
        usage=usage_of(completion.counts),
        logprobs=token_logprobs(choice.logprobs, text.tokenizer) if turn.body.logprobs else [],
    )


async def plain_events(
    gateway: Gateway, plan: PlainPlan, turn: Turn, writer: EventWriter, finish: Finish
) -> AsyncGenerator[bytes]:
    _, text = gateway.model()
    counts = Counts()
    reason: str | None = None
    with in_these_words():
        async with aclosing(gateway.generate(plan)) as events:
            async for event in events:
                counts.add(event)
                if isinstance(event, GroupStarted):
                    yield writer.begin() + writer.open()
                if not isinstance(event, PathOutput):
                    continue
                if event.text or event.logprobs:
                    scored = event.logprobs if turn.body.logprobs else ()
                    yield writer.delta(event.text, token_logprobs(scored, text.tokenizer))
                if event.finish is not None:
                    reason = event.finish.reason
    used = usage_of(counts)
    yield writer.end(finish(Answer(writer.text, reason, used, writer.logprobs)))


async def routed_events(
    gateway: Gateway, plan: RoutedPlan, writer: EventWriter, finish: Finish
) -> AsyncGenerator[bytes]:
    """The vote as it happens, then the text in one piece."""
    begun = False
    with in_these_words():
        async with aclosing(gateway.route(plan)) as events:
            async for event in events:
                if not begun:
                    begun = True
                    yield writer.begin()
                step = progress(event)
                if step is not None:
                    yield writer.step(step)
                if isinstance(event, Shown):
                    yield writer.open() + writer.delta(event.text, [])
                    yield writer.end(finish(answer_of(event)))


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
