"""POST .../models/{model}:generateContent, :streamGenerateContent and :countTokens."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from model.contract import PathOutput
from routing.events import RouteEvent, Shown
from service.api.common import gateway_of, header_policy
from service.api.document.gemini_replies import CountTokensReply, GenerateContentReply
from service.api.document.operations import operation
from service.api.gemini.caches import cached_for
from service.api.gemini.embedding import router as embedding
from service.api.gemini.files import texts_of
from service.api.gemini.headers import client_timeout
from service.api.gemini.rendering import (
    Reply,
    candidate,
    error_body,
    logprobs_result,
    parts_of,
    response,
    sse,
    text_part,
    thought_part,
    usage_metadata,
    usage_of,
)
from service.api.gemini.schemas import CountTokensRequest, GenerateRequest
from service.api.generation import Completion, Counts, collect
from service.api.internal import Ask, Chat
from service.api.parsing import parse_body
from service.api.planning import PlainPlan
from service.api.replies import EventStream, JSONReply, answer
from service.api.routed import REFUSAL, RoutedPlan, decide, decision_headers, progress, vote_line
from service.api.tools.reading import heard, message_of, read_message
from service.errors import ApiError
from service.gateway import Gateway

router = APIRouter()
router.include_router(embedding)

FIELD = "uncertaintyRouting"
ROUTING_HEADERS = ("x-pollux-routing", "x-server-timeout")


@router.post(
    "/models/{name:path}:generateContent",
    summary="Answer a conversation (Gemini)",
    **operation(
        "gemini", body=GenerateRequest, reply=GenerateContentReply, headers=ROUTING_HEADERS
    ),
)
async def generate_content(request: Request, name: str) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, GenerateRequest)
    plan = await gateway.plan(await read_ask(gateway, name, body, request.headers))
    reply = Reply(model=name)
    if isinstance(plan, PlainPlan):
        completion = await answer(request, _complete(gateway, plan), plan.timeout)
        return JSONReply(render(gateway, completion, reply, body, plan))
    shown = await answer(request, decide(gateway.route(plan), plan), plan.timeout)
    return JSONReply(render_routed(shown, plan, reply), headers=decision_headers(shown.decision))


@router.post(
    "/models/{name:path}:streamGenerateContent",
    summary="The same, streamed (Gemini)",
    **operation(
        "gemini",
        body=GenerateRequest,
        reply=list[GenerateContentReply],
        events="GenerateContentReply objects, with alt=sse",
        query={"alt": {"type": "string", "enum": ["sse", "json"]}},
        headers=ROUTING_HEADERS,
    ),
)
async def stream_generate_content(request: Request, name: str) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, GenerateRequest)
    plan = await gateway.plan(await read_ask(gateway, name, body, request.headers))
    reply = Reply(model=name)
    if isinstance(plan, PlainPlan):
        objects = plain_objects(gateway, plan, reply, body)
    else:
        objects = routed_objects(gateway, plan, reply)
    if request.query_params.get("alt") == "sse":
        return EventStream(as_sse(objects), on_error=error_chunk, timeout=plan.timeout)
    return EventStream(
        as_array(objects),
        on_error=lambda error: b",\r\n" + msgspec.json.encode(error_body(error)) + b"]",
        timeout=plan.timeout,
        media_type="application/json",
    )


@router.post(
    "/models/{name:path}:countTokens",
    summary="How long a prompt is (Gemini)",
    **operation("gemini", body=CountTokensRequest, reply=CountTokensReply),
)
async def count_tokens(request: Request, name: str) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, CountTokensRequest)
    cached = cached_for(gateway, body.cached_content, name)
    chat = body.chat(await texts_of(gateway, name, body.references()), cached)
    if not chat.messages:
        raise ApiError("invalid", "contents are missing", param="messages")
    total = await gateway.count(name, chat)
    details = [{"modality": "TEXT", "tokenCount": total}]
    more = {} if cached is None else {"cachedContentTokenCount": cached.tokens}
    return JSONReply({"totalTokens": total, "promptTokensDetails": details, **more})


@router.post("/models/{name:path}:{verb}", include_in_schema=False)
async def unknown_method(name: str, verb: str) -> Response:
    raise ApiError(
        "not_found",
        f"models have no method {verb[:40]!r} here; there are generateContent, "
        "streamGenerateContent, countTokens, embedContent and batchEmbedContents",
    )


async def read_ask(
    gateway: Gateway, name: str, body: GenerateRequest, headers: Mapping[str, str]
) -> Ask:
    """With the files that it names and the cached content that it goes on with. Raises ApiError."""
    cached = cached_for(gateway, body.cached_content, name)
    texts = await texts_of(gateway, name, body.references())
    ask = ask_of(name, body, headers, body.chat(texts, cached))
    return ask if cached is None else replace(ask, near=cached.held.id)


def ask_of(
    name: str, body: GenerateRequest, headers: Mapping[str, str], chat: Chat | None = None
) -> Ask:
    """chat: where more is read for it than the body."""
    return Ask(
        model=name,
        input=chat or body.chat(),
        sampling=body.generation_config.sampling(),
        n=body.generation_config.candidate_count,
        routing=body.uncertainty_routing or header_policy(headers),
        timeout=client_timeout(headers),
        thinking=body.generation_config.thinking_config.wish(),
    )


async def _complete(gateway: Gateway, plan: PlainPlan) -> Completion:
    async with aclosing(gateway.generate(plan)) as events:
        return await collect(events, plan.group, plan.counters(gateway.model()[1]))


def render(
    gateway: Gateway, completion: Completion, reply: Reply, body: GenerateRequest, plan: PlainPlan
) -> Any:
    _, text = gateway.model()
    candidates = []
    for index, choice in enumerate(completion.choices):
        thoughts = completion.counts.thoughts_of(index)
        more: dict[str, Any] = {"tokenCount": len(choice.tokens) - thoughts}
        if body.generation_config.response_logprobs and choice.logprobs:
            result = logprobs_result(choice.logprobs, text.tokenizer)
            more["avgLogprobs"] = result["logProbabilitySum"] / len(choice.logprobs)
            more["logprobsResult"] = result
        message = read_message(choice.text, plan.reader(text))
        candidates.append(candidate(index, parts_of(message), choice.finish, **more))
    return response(reply, candidates, usage_of(completion.counts))


def render_routed(shown: Shown, plan: RoutedPlan, reply: Reply) -> Any:
    decision = shown.decision.to_response()
    finish, more = shown.finish_reason, {}
    if shown.decision.route == "abstain":
        finish, more = "abstain", {"finishMessage": REFUSAL}
    thoughts = [thought_part(shown.reasoning)] if shown.reasoning else []
    parts = [*thoughts, text_part(shown.text, _metadata(decision, plan))]
    candidates = [candidate(0, parts, finish, **more)]
    return response(reply, candidates, _usage(shown), **{FIELD: decision})


def _metadata(step: Any, plan: RoutedPlan) -> dict[str, Any] | None:
    """google-genai drops fields of a response that it does not know, but not those of a part."""
    return {FIELD: step} if plan.policy.part_metadata else None


def _usage(shown: Shown) -> Any:
    used = shown.usage
    answered = used.completion_tokens - used.reasoning_tokens
    return usage_metadata(
        used.prompt_tokens, answered, thoughts=used.reasoning_tokens, cached=used.cached_tokens
    )


async def plain_objects(
    gateway: Gateway, plan: PlainPlan, reply: Reply, body: GenerateRequest
) -> AsyncGenerator[Any]:
    """Each with its candidate's index and the usage so far."""
    _, text = gateway.model()
    counts = Counts(counters=plan.counters(text))
    readers = [plan.reader(text) for _ in range(plan.paths)]
    async with aclosing(gateway.generate(plan)) as events:
        async for event in events:
            counts.add(event)
            if not isinstance(event, PathOutput):
                continue
            said = heard(readers[event.path], event)
            if not (said or event.finish or event.logprobs):
                continue
            parts = parts_of(message_of(said))
            more: dict[str, Any] = {}
            if body.generation_config.response_logprobs:
                more["logprobsResult"] = logprobs_result(event.logprobs, text.tokenizer)
            finish = event.finish.reason if event.finish else None
            yield response(reply, [candidate(event.path, parts, finish, **more)], usage_of(counts))


async def routed_objects(gateway: Gateway, plan: RoutedPlan, reply: Reply) -> AsyncGenerator[Any]:
    """Steps of the vote ride on empty text, which every client can append; then the answer."""
    async with aclosing(gateway.route(plan)) as events:
        async for event in events:
            yield _routed_object(event, plan, reply)


def _routed_object(event: RouteEvent, plan: RoutedPlan, reply: Reply) -> Any:
    if isinstance(event, Shown):
        return render_routed(event, plan, reply)
    step = progress(event, plan.policy)
    thought = vote_line(event, plan)
    part = thought_part(thought) if thought else text_part("")
    metadata = _metadata(step, plan)
    part |= {} if metadata is None else {"partMetadata": metadata}
    return response(reply, [candidate(0, [part])], **{FIELD: step})


async def as_sse(objects: AsyncGenerator[Any]) -> AsyncGenerator[bytes]:
    async with aclosing(objects):
        async for item in objects:
            yield sse(item)


async def as_array(objects: AsyncGenerator[Any]) -> AsyncGenerator[bytes]:
    """Without alt=sse the real API streams one JSON array."""
    before = b"["
    async with aclosing(objects):
        async for item in objects:
            yield before + msgspec.json.encode(item)
            before = b",\r\n"
    yield b"]"


def error_chunk(error: ApiError) -> bytes:
    """`error` must be the first key for the SDK to see it."""
    return sse(error_body(error))
