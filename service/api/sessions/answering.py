"""One turn's answer as it comes, plain or routed, in words that no protocol owns."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from model.contract import GroupStarted, PathOutput
from model.text.thinking import Thought
from model.text.tools.calls import Call
from routing.events import Shown
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan, progress, vote_line
from service.api.tools.reading import Said, heard
from service.gateway import Gateway


@dataclass(slots=True)
class Used:
    """Tokens of a turn so far. completion: all that were sampled; reasoning: thoughts and paths."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Spoke:
    text: str


@dataclass(frozen=True, slots=True)
class CalledOut:
    """One call of a function, whole."""

    call: Call


@dataclass(frozen=True, slots=True)
class Mused:
    """Reasoning that led to the answer, where it is to be told. vote: how the vote goes, in words;
    no part of what the model said."""

    text: str
    vote: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a vote. part_metadata: the caller wants it where Google's client keeps it."""

    step: dict[str, Any]
    part_metadata: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The last. finish: "stop" or "length". decision: of a routed turn, which may abstain."""

    finish: str
    decision: dict[str, Any] | None = None
    part_metadata: bool = False

    @property
    def abstained(self) -> bool:
        return self.decision is not None and self.decision["route"] == "abstain"


TurnEvent = Spoke | Mused | CalledOut | Step | Answered


def turn_events(
    gateway: Gateway, plan: PlainPlan | RoutedPlan, used: Used
) -> AsyncGenerator[TurnEvent]:
    """Closing it aborts the work. Raises ApiError. used: grows with what comes."""
    if isinstance(plan, PlainPlan):
        return _plain(gateway, plan, used)
    return _routed(gateway, plan, used)


async def _plain(gateway: Gateway, plan: PlainPlan, used: Used) -> AsyncGenerator[TurnEvent]:
    _, text = gateway.model()
    reader, counters = plan.reader(text), plan.counters(text)
    finish = "stop"
    async with aclosing(gateway.generate(plan)) as events:
        async for event in events:
            if isinstance(event, GroupStarted):
                used.prompt += event.prompt_tokens
                used.cached += event.cached_tokens
            if not isinstance(event, PathOutput):
                continue
            used.completion += len(event.tokens)
            for counter in counters:
                counter.push(event.tokens)
                used.reasoning = counter.count
            for piece in heard(reader, event):
                yield _told(piece)
            if event.finish is not None:
                finish = event.finish.reason
    yield Answered(finish)


def _told(piece: Said) -> TurnEvent:
    match piece:
        case Thought(text):
            return Mused(text)
        case Call():
            return CalledOut(piece)
        case text:
            return Spoke(text)


async def _routed(gateway: Gateway, plan: RoutedPlan, used: Used) -> AsyncGenerator[TurnEvent]:
    metadata = plan.policy.part_metadata
    async with aclosing(gateway.route(plan)) as events:
        async for event in events:
            if isinstance(event, Shown):
                used.prompt, used.cached = event.usage.prompt_tokens, event.usage.cached_tokens
                used.completion = event.usage.completion_tokens
                used.reasoning = event.usage.reasoning_tokens
                if event.reasoning:
                    yield Mused(event.reasoning)
                if event.text:
                    yield Spoke(event.text)
                yield Answered(event.finish_reason, event.decision.to_response(), metadata)
                continue
            step = progress(event, plan.policy)
            if step is not None:
                line = vote_line(event, plan)
                if line:
                    yield Mused(line, vote=True)
                yield Step(step, metadata)
