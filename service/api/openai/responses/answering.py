"""From a request to its answer, whole or as events; plain or routed."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from model.contract import GroupStarted, PathOutput, TokenLogprob
from model.text.thinking import Thought
from routing.events import Shown
from service.api.common import header_policy
from service.api.generation import Counts
from service.api.internal import Ask, Chat
from service.api.openai.chat import complete
from service.api.openai.responses.conversation import Item, messages_of, output_of
from service.api.openai.responses.events import EventWriter
from service.api.openai.responses.rendering import (
    Answer,
    Turn,
    in_these_words,
    shown_answer,
    status_of,
    token_logprobs,
    told,
    usage_of,
)
from service.api.openai.responses.schemas import ResponseRequest
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan, decide, progress, vote_line
from service.api.tools.reading import heard
from service.gateway import Gateway

Finish = Callable[[Answer], dict[str, Any]]
"""Makes the whole response of an answer."""


def ask_of(body: ResponseRequest, items: tuple[Item, ...], headers: Mapping[str, str]) -> Ask:
    logprobs = body.top_logprobs if body.logprobs else None
    return Ask(
        model=body.model,
        input=Chat(messages_of(body.instructions, items), tools=body.offer()),
        sampling=body.sampling(max_tokens=body.max_output_tokens, logprobs=logprobs),
        thinking=body.wish_of(body.reasoning.effort, "reasoning.effort"),
        routing=body.uncertainty_routing or header_policy(headers),
        cache_salt=body.cache_salt or "",
    )


async def answer_of(gateway: Gateway, plan: PlainPlan | RoutedPlan, turn: Turn) -> Answer:
    if not isinstance(plan, PlainPlan):
        return shown_answer(await decide(gateway.route(plan), plan))
    completion = await complete(gateway, plan)
    (choice,) = completion.choices
    _, text = gateway.model()
    reader = plan.reader(text)
    items = output_of([*reader.push(choice.text), *reader.finish()])
    scored = choice.logprobs[completion.counts.thoughts :] if turn.body.logprobs else []
    return Answer(
        output=told(items, choice.finish, token_logprobs(scored, text.tokenizer)),
        finish=choice.finish,
        usage=usage_of(completion.counts),
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
    counts = Counts(counters=plan.counters(text))
    reader = plan.reader(text)
    scores = _Scores(counts)
    reason: str | None = None
    # Without reasoning and calls all that comes is one message.
    message_only = plan.thoughts is None and plan.tools is None
    with in_these_words():
        async with aclosing(gateway.generate(plan)) as events:
            async for event in events:
                counts.add(event)
                if isinstance(event, GroupStarted):
                    yield writer.begin() + (writer.open() if message_only else b"")
                if not isinstance(event, PathOutput):
                    continue
                scored = scores.of(event if writer.turn.body.logprobs else None)
                said = heard(reader, event)
                spoken = any(isinstance(piece, str) for piece in said)
                shown = token_logprobs(scored, text.tokenizer)
                if spoken or said or not (scored and (message_only or writer.speaking)):
                    scores.keep([] if spoken else scored)
                    sent = writer.say(said, shown if spoken else [])
                else:
                    sent = writer.score(shown)
                if sent:
                    yield sent
                if event.finish is not None:
                    reason = event.finish.reason
    opened = writer.open() if writer.empty else b""
    yield opened + writer.close(status_of(reason))
    yield writer.end(finish(Answer(writer.output, reason, usage_of(counts))))


class _Scores:
    """Logprobs of a stream that belong to its message: not those of reasoning, and those of calls
    only where there is text to go with."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._dropped = 0
        self._kept: list[TokenLogprob] = []

    def of(self, event: PathOutput | None) -> list[TokenLogprob]:
        """Those that wait, and the event's."""
        waiting = [*self._kept, *(event.logprobs if event is not None else ())]
        reasoned = self._counts.thoughts - self._dropped
        self._dropped += min(reasoned, len(waiting))
        self._kept = []
        return waiting[reasoned:]

    def keep(self, waiting: list[TokenLogprob]) -> None:
        self._kept = waiting


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
                thought = event.reasoning if isinstance(event, Shown) else vote_line(event, plan)
                if thought:
                    yield writer.say([Thought(thought)], [])
                if isinstance(event, Shown):
                    yield writer.say([event.text], [])
                    closed = writer.close(status_of(event.finish_reason))
                    final = finish(replace(shown_answer(event), output=writer.output))
                    yield closed + writer.end(final)
