"""Routed answers in OpenAI's shapes.

A stream has one chunk per step of the vote, with `choices: []` and the step in
`uncertainty_routing` (clients skip it or read it), then the text, then the finish chunk with the
final decision. A vote that abstains is a refusal: there is a field for it in this protocol.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from routing.events import Shown
from service.api.openai.rendering import (
    FINISHED,
    Reply,
    Usage,
    chat_choice,
    chat_chunk,
    chat_completion,
    delta_choice,
    error_chunk,
    reasoning_fields,
    sse,
    usage,
)
from service.api.openai.schemas import ChatRequest
from service.api.replies import EventStream, JSONReply, answer
from service.api.routed import REFUSAL, RoutedPlan, decide, decision_headers, progress, vote_line
from service.gateway import Gateway

FIELD = "uncertainty_routing"


async def respond(
    request: Request, gateway: Gateway, plan: RoutedPlan, reply: Reply, body: ChatRequest
) -> Response:
    if body.stream:
        return EventStream(
            routed_chunks(gateway, plan, reply, body),
            on_error=error_chunk,
            timeout=plan.timeout,
        )
    shown = await answer(request, decide(gateway.route(plan), plan), plan.timeout)
    return JSONReply(render(shown, reply), headers=decision_headers(shown.decision))


def render(shown: Shown, reply: Reply) -> Any:
    choice = chat_choice(
        0,
        shown.text,
        shown.finish_reason,
        refusal=refusal_of(shown),
        reasoning=shown.reasoning,
    )
    decision = shown.decision.to_response()
    return chat_completion(reply, [choice], usage_of(shown), **{FIELD: decision})


def refusal_of(shown: Shown) -> str | None:
    return REFUSAL if shown.decision.route == "abstain" else None


def usage_of(shown: Shown) -> Usage:
    used = shown.usage
    return usage(
        used.prompt_tokens,
        used.completion_tokens,
        cached=used.cached_tokens,
        reasoning=used.reasoning_tokens,
    )


async def routed_chunks(
    gateway: Gateway, plan: RoutedPlan, reply: Reply, body: ChatRequest
) -> AsyncGenerator[bytes]:
    more: dict[str, Any] = {"usage": None} if body.include_usage else {}
    begun = False
    async with aclosing(gateway.route(plan)) as events:
        async for event in events:
            if not begun:
                begun = True
                role = delta_choice(0, {"role": "assistant", "content": ""})
                yield sse(chat_chunk(reply, [role], **more))
            if isinstance(event, Shown) and body.continuous_usage:
                more = {"usage": usage_of(event)}
            thought = event.reasoning if isinstance(event, Shown) else vote_line(event, plan)
            if thought:
                yield sse(chat_chunk(reply, [delta_choice(0, reasoning_fields(thought))], **more))
            if not isinstance(event, Shown):
                yield sse(chat_chunk(reply, [], **more, **{FIELD: progress(event, plan.policy)}))
                continue
            refusal = refusal_of(event)
            said = {"refusal": refusal} if refusal else {"content": event.text}
            yield sse(chat_chunk(reply, [delta_choice(0, said)], **more))
            last = delta_choice(0, {}, event.finish_reason)
            decision = event.decision.to_response()
            yield sse(chat_chunk(reply, [last], **more, **{FIELD: decision}))
            if body.include_usage:
                yield sse(chat_chunk(reply, [], usage=usage_of(event)))
    yield FINISHED
