"""POST /v1/chat/completions."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from model.contract import GroupStarted, PathOutput
from service.api.attachments import NO_TEXTS, Texts
from service.api.common import gateway_of, header_policy
from service.api.document.openai_replies import ChatCompletionReply
from service.api.document.operations import operation
from service.api.generation import Completion, Counts, collect
from service.api.internal import Ask, Chat
from service.api.openai import routed
from service.api.openai.files import texts_of
from service.api.openai.messages import conversation
from service.api.openai.rendering import (
    FINISHED,
    DeltaChunks,
    Reply,
    chat_choice,
    chat_chunk,
    chat_completion,
    chat_logprobs,
    delta_choice,
    error_chunk,
    sse,
    usage_of,
)
from service.api.openai.schemas import ChatRequest
from service.api.openai.tools import ChoiceStream, call_object, finish_reason
from service.api.parsing import parse_body
from service.api.planning import PlainPlan
from service.api.replies import EventStream, JSONReply, answer
from service.api.tools.reading import read_message
from service.gateway import Gateway

router = APIRouter()


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    **operation(
        "openai",
        body=ChatRequest,
        reply=ChatCompletionReply,
        events="chat.completion.chunk objects, then [DONE]",
        headers=("x-pollux-routing",),
    ),
)
async def chat_completions(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, ChatRequest)
    plan = await gateway.plan(await read_ask(gateway, body, request.headers))
    reply = reply_of(gateway, body)
    if not isinstance(plan, PlainPlan):
        return await routed.respond(request, gateway, plan, reply, body)
    if body.stream:
        return EventStream(
            plain_chunks(gateway, plan, reply, body),
            on_error=error_chunk,
            timeout=plan.timeout,
        )
    completion = await answer(request, complete(gateway, plan), plan.timeout)
    return JSONReply(render(gateway, completion, reply, body, plan))


async def read_ask(gateway: Gateway, body: ChatRequest, headers: Mapping[str, str]) -> Ask:
    """With the files that the messages have. Raises ApiError."""
    references = [found for message in body.messages for found in message.references()]
    return ask_of(body, headers, await texts_of(gateway, body.model, references, "messages"))


def ask_of(body: ChatRequest, headers: Mapping[str, str], texts: Texts = NO_TEXTS) -> Ask:
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    max_tokens = body.max_tokens or body.max_completion_tokens
    return Ask(
        model=body.model,
        input=Chat(
            conversation(body.messages, texts),
            continue_final=body.continue_final_message,
            tools=body.offer(),
        ),
        sampling=body.sampling(max_tokens=max_tokens, logprobs=logprobs),
        n=body.n,
        routing=body.uncertainty_routing or header_policy(headers),
        cache_salt=body.cache_salt or "",
        thinking=body.wish(),
    )


def reply_of(gateway: Gateway, body: ChatRequest) -> Reply:
    card, _ = gateway.model()
    return Reply(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        model=body.model,
        fingerprint=f"fp_{card.fingerprint[:12]}",
    )


async def complete(gateway: Gateway, plan: PlainPlan) -> Completion:
    async with aclosing(gateway.generate(plan)) as events:
        return await collect(events, plan.group, plan.counters(gateway.model()[1]))


def render(
    gateway: Gateway, completion: Completion, reply: Reply, body: ChatRequest, plan: PlainPlan
) -> Any:
    _, text = gateway.model()
    choices = []
    for index, choice in enumerate(completion.choices):
        message = read_message(choice.text, plan.reader(text))
        choices.append(
            chat_choice(
                index,
                message.text,
                finish_reason(choice.finish, bool(message.calls)),
                chat_logprobs(choice.logprobs, text.tokenizer) if body.logprobs else None,
                calls=[call_object(call) for call in message.calls],
                reasoning=message.reasoning,
            )
        )
    return chat_completion(reply, choices, usage_of(completion.counts))


async def plain_chunks(
    gateway: Gateway, plan: PlainPlan, reply: Reply, body: ChatRequest
) -> AsyncGenerator[bytes]:
    """Role chunks, deltas, finish chunks, usage if asked for, the end."""
    _, text = gateway.model()
    # With include_usage every chunk but the last says that it has none, or what was used so far.
    more: dict[str, Any] = {"usage": None} if body.include_usage else {}
    counts = Counts(counters=plan.counters(text))
    used = (lambda: usage_of(counts)) if body.continuous_usage else None
    chunks = DeltaChunks(reply, more, used)
    streams = [ChoiceStream(plan.reader(text)) for _ in range(plan.paths)]
    async with aclosing(gateway.generate(plan)) as events:
        async for event in events:
            counts.add(event)
            if isinstance(event, GroupStarted):
                for index in range(plan.paths):
                    role = delta_choice(index, {"role": "assistant", "content": ""})
                    yield chunks.of(role)
            if not isinstance(event, PathOutput):
                continue
            deltas = streams[event.path].deltas(event)
            if event.logprobs and not deltas:
                deltas = [{"content": ""}]
            # The first delta has the logprobs of all tokens that came.
            logprobs = chat_logprobs(event.logprobs, text.tokenizer) if body.logprobs else None
            for delta in deltas:
                yield chunks.delta(event.path, delta, logprobs)
                logprobs = None
            if event.finish is not None:
                last = delta_choice(event.path, {}, streams[event.path].finish_reason(event))
                yield chunks.of(last)
    if body.include_usage:
        yield sse(chat_chunk(reply, [], usage=usage_of(counts)))
    yield FINISHED
