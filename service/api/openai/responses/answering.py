"""From a request to its answer, whole or as events; plain or routed."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from model.contract import GroupStarted, PathOutput
from routing.events import Shown
from service.api.common import header_policy
from service.api.generation import Counts
from service.api.internal import Ask, Chat
from service.api.openai.chat import complete
from service.api.openai.responses.conversation import Item, messages_of
from service.api.openai.responses.events import EventWriter
from service.api.openai.responses.rendering import (
    Answer,
    Turn,
    in_these_words,
    shown_answer,
    token_logprobs,
    usage_of,
)
from service.api.openai.responses.schemas import ResponseRequest
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan, decide, progress
from service.gateway import Gateway

Finish = Callable[[Answer], dict[str, Any]]
"""Makes the whole response of an answer."""


def ask_of(body: ResponseRequest, items: tuple[Item, ...], headers: Mapping[str, str]) -> Ask:
    logprobs = body.top_logprobs if body.logprobs else None
    return Ask(
        model=body.model,
        input=Chat(messages_of(body.instructions, items)),
        sampling=body.sampling(max_tokens=body.max_output_tokens, logprobs=logprobs),
        routing=body.uncertainty_routing or header_policy(headers),
        cache_salt=body.cache_salt or "",
    )


async def answer_of(gateway: Gateway, plan: PlainPlan | RoutedPlan, turn: Turn) -> Answer:
    if not isinstance(plan, PlainPlan):
        return shown_answer(await decide(gateway.route(plan)))
    completion = await complete(gateway, plan)
    (choice,) = completion.choices
    _, text = gateway.model()
    return Answer(
        text=choice.text,
        finish=choice.finish,
        usage=usage_of(completion.counts),
        logprobs=token_logprobs(choice.logprobs, text.tokenizer) if turn.body.logprobs else [],
    )


def events_of(
    gateway: Gateway, plan: PlainPlan | RoutedPlan, writer: EventWriter, finish: Finish
) -> AsyncGenerator[bytes]:
    if isinstance(plan, PlainPlan):
        return _plain_events(gateway, plan, writer, finish)
    return _routed_events(gateway, plan, writer, finish)


async def _plain_events(
    gateway: Gateway, plan: PlainPlan, writer: EventWriter, finish: Finish
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
                    scored = event.logprobs if writer.turn.body.logprobs else ()
                    yield writer.delta(event.text, token_logprobs(scored, text.tokenizer))
                if event.finish is not None:
                    reason = event.finish.reason
    used = usage_of(counts)
    yield writer.end(finish(Answer(writer.text, reason, used, writer.logprobs)))


async def _routed_events(
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
                step = progress(event, plan.policy)
                if step is not None:
                    yield writer.step(step)
                if isinstance(event, Shown):
                    yield writer.open() + writer.delta(event.text, [])
                    yield writer.end(finish(shown_answer(event)))
