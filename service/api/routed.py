"""A routed question: planned from an `Ask`, run through routing.router, reported in headers."""

import secrets
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from model.contract import MAX_SEED, Prompt, SamplingParams, Worker
from model.text.language import ChatMessage
from model.text.thinking import Marks, split
from routing.decision import Decision
from routing.events import Decided, DirectDone, PathDone, Question, RouteEvent, RoutingFailed, Shown
from routing.policy import RoutingPolicy
from routing.prompts import Message, PromptText, TextPrompt, direct_prompt, reasoned_prompt
from routing.router import direct_id, route
from service.api.constraining import constrained
from service.api.internal import Ask, Chat, Sampling
from service.api.planning import (
    Served,
    answer_budget,
    check_counts,
    check_ids,
    check_length,
    sampling_params,
)
from service.api.thinking.prompting import Thoughts, prompted, switched
from service.api.thinking.wish import NO_WISH, Wish
from service.errors import FAILURES, ApiError
from service.logs.record import current_record
from service.metrics import Metrics, PathOutcome
from service.placement import ANYWHERE, Placement
from service.settings import Settings

MAX_HEADER_ANSWER = 256
"""Characters of the percent-encoded answer in its header; the body has all of it."""

MAX_LINE_ANSWER = 60
"""Characters of an answer in a line about the vote."""

REFUSAL = "The paths of reasoning did not agree enough, so there is no answer."
"""What a caller that asked to abstain is told in place of a text."""


@dataclass(frozen=True, slots=True)
class RoutedPlan:
    """calibration: id of the one that speaks for this question, if any does. placement: where its
    groups run. marks: of the model's own reasoning, if it has such a thing. thinking: what of all
    reasoning is told."""

    id: str
    question: Question
    policy: RoutingPolicy
    timeout: float
    calibration: str | None = None
    placement: Placement = ANYWHERE
    marks: Marks | None = None
    thinking: Wish = NO_WISH
    kind: Literal["routed"] = "routed"

    @property
    def paths(self) -> int:
        return self.policy.most_paths + 1

    @property
    def group_id(self) -> str:
        """Of the direct answer."""
        return direct_id(self.id)


def plan_routed(ask: Ask, policy: RoutingPolicy, served: Served, settings: Settings) -> RoutedPlan:
    """Raises ApiError, TemplateError or InvalidParameter (all are answered as "invalid")."""
    check_counts(ask, settings)
    check_length(ask.input, served.card)
    messages = _check_routable(ask, policy, settings)
    turns = [Message(role=message.role, content=message.content) for message in messages]
    chat = served.text.has_chat_template
    # The direct answer is the one without reasoning; a path may reason as its model does.
    direct, direct_stops, _ = _encode(
        direct_prompt(turns, policy.answer, chat=chat), served, Wish(switch=False)
    )
    own = Wish(switch=ask.thinking.switch, param=ask.thinking.param)
    reasoned, path_stops, thoughts = _encode(
        reasoned_prompt(turns, policy.answer, chat=chat), served, own
    )
    check_ids(ask, direct, served.card)

    sampling = ask.sampling
    direct_tokens = _budget(ask, direct, settings.routed_direct_tokens, served, settings)
    if policy.max_tokens is not None:
        ask = replace(ask, sampling=replace(sampling, max_tokens=policy.max_tokens))
    path_tokens = _budget(ask, reasoned, settings.routed_path_tokens, served, settings)
    seed = policy.seed if policy.seed is not None else sampling.seed
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed & MAX_SEED
    question = Question(
        direct=Prompt.of_tokens(direct),
        reasoned=Prompt.of_tokens(reasoned),
        direct_sampling=_greedy(sampling_params(sampling, direct_tokens, seed, direct_stops)),
        path_sampling=sampling_params(_diverse(sampling, policy), path_tokens, seed, path_stops),
        text=messages[-1].content,
        begun=thoughts.marks.opening if thoughts is not None and thoughts.opened else "",
    )
    return RoutedPlan(
        id=uuid.uuid4().hex,
        question=constrained(question, policy, served),
        policy=policy,
        timeout=min(ask.timeout or settings.request_timeout, settings.request_timeout),
        marks=served.text.thinking,
        thinking=ask.thinking,
    )


def asks_directly(ask: Ask, *, alias: bool) -> bool:
    """Whether a question that would be routed is to have its direct answer alone: no effort is
    wanted, and no number of paths is named."""
    if not alias and ask.routing is None:
        return False
    named = set() if ask.routing is None else ask.routing.model_fields_set & {"k", "min_votes"}
    return not named and (ask.thinking.effort == "none" or ask.thinking.budget == 0)


def _check_routable(ask: Ask, policy: RoutingPolicy, settings: Settings) -> tuple[ChatMessage, ...]:
    sampling = ask.sampling
    refusals = (
        (
            not isinstance(ask.input, Chat),
            "uncertainty_routing",
            "routing is for conversations: ask the question as a chat",
        ),
        (_uses_tools(ask), "tools", "routing takes no tools: it votes on answers, not on calls"),
        (ask.n != 1, "n", "routing gives one answer: n must be 1"),
        (sampling.logprobs is not None, "logprobs", "routing gives no logprobs"),
        (sampling.ignore_eos, "ignore_eos", "routing cannot ignore the end of an answer"),
        (sampling.min_tokens > 0, "min_tokens", "routing takes no min_tokens"),
        (
            sampling.constraint is not None,
            "constraint",
            "routing reads its answers out of free text: ask for JSON that votes with "
            'uncertainty_routing {"answer": {"type": "json", "schema": ...}, "constrain": true}',
        ),
        (
            sampling.temperature == 0,
            "temperature",
            "the paths of a routed question must differ: give a temperature above 0 or none "
            "(the direct answer is greedy anyway)",
        ),
        (
            policy.k > settings.max_samples,
            "uncertainty_routing.k",
            f"k must be at most {settings.max_samples} on this server",
        ),
    )
    for refused, param, message in refusals:
        if refused:
            raise ApiError("invalid", message, param=param)
    assert isinstance(ask.input, Chat)
    if ask.input.continue_final or ask.input.messages[-1].role != "user":
        raise ApiError(
            "invalid", "a routed conversation ends with the user's question", param="messages"
        )
    return ask.input.messages


def _uses_tools(ask: Ask) -> bool:
    chat = ask.input
    if not isinstance(chat, Chat):
        return False
    return chat.tools is not None or any(message.uses_tools for message in chat.messages)


def _encode(
    prompt: PromptText, served: Served, wish: Wish
) -> tuple[tuple[int, ...], tuple[str, ...], Thoughts | None]:
    """Token ids, the stop strings that this form of the question needs, and its reasoning: begun
    where there is any, so that a path cut in it is known to be."""
    text = served.text
    if isinstance(prompt, TextPrompt):
        return text.encode_text(prompt.text), prompt.stop, None
    messages = [ChatMessage(role=turn.role, content=turn.content) for turn in prompt.messages]
    ids = text.encode_chat(messages, thinking=switched(wish))
    ids, thoughts = prompted(ids, text, wish, formed=True)
    return ids, (*prompt.stop, *text.chat_stops), thoughts


def _budget(
    ask: Ask, ids: tuple[int, ...], default: int, served: Served, settings: Settings
) -> int:
    """As asked, or the default as far as the context goes."""
    budget = answer_budget(ask, len(ids), served.card, settings)
    return budget if ask.sampling.max_tokens is not None else min(budget, default)


def _greedy(sampling: SamplingParams) -> SamplingParams:
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=0.0,
        seed=sampling.seed,
        stop=sampling.stop,
        stop_ids=sampling.stop_ids,
        logit_bias=sampling.logit_bias,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
    )


def _diverse(sampling: Sampling, policy: RoutingPolicy) -> Sampling:
    """The policy's own values first, then the request's, then the policy's defaults."""
    given = policy.model_fields_set
    temperature, top_p = policy.temperature, policy.top_p
    if "temperature" not in given and sampling.temperature is not None:
        temperature = sampling.temperature
    if "top_p" not in given and sampling.top_p is not None:
        top_p = sampling.top_p
    return replace(sampling, temperature=temperature, top_p=top_p)


async def route_question(
    worker: Worker, plan: RoutedPlan, metrics: Metrics
) -> AsyncGenerator[RouteEvent]:
    """The router's events, its failures in the gateway's words. Raises ApiError."""
    try:
        events = route(plan.question, plan.policy, worker, plan.id)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Decided | Shown) and plan.calibration is not None:
                    decision = replace(event.decision, calibration=plan.calibration)
                    event = replace(event, decision=decision)
                if isinstance(event, Shown):
                    _measure(event, metrics)
                    event = _told_apart(event, plan)
                yield event
    except RoutingFailed as error:
        raise ApiError(
            FAILURES.get(error.code, "internal"),
            str(error),
            param=error.param,
            retry_after=error.retry_after,
        ) from error


def _told_apart(shown: Shown, plan: RoutedPlan) -> Shown:
    """The text without the reasoning before it."""
    if plan.marks is None or not shown.text:
        return shown
    opened = shown.path is not None and bool(plan.question.begun)
    reasoning, text = split(shown.text, plan.marks, opened=opened)
    return replace(shown, text=text, reasoning=reasoning if plan.thinking.show else "")


def vote_line(event: RouteEvent, plan: RoutedPlan) -> str:
    """A step of the vote for people, as reasoning that led to the answer; "" where it is not
    wanted."""
    if not plan.thinking.show_vote:
        return ""
    match event:
        case DirectDone():
            return f"direct answer: {_spoken(event.answer)}\n"
        case PathDone():
            votes = ", ".join(f"{_spoken(answer)}: {n}" for answer, n in event.votes.items())
            counted = f"{votes}; " if votes else ""
            said = event.status if event.answer is None else _spoken(event.answer)
            return f"path {event.path}: {said} [{counted}{event.remaining} to go]\n"
        case Decided(decision):
            return f"{decision.route}: {_spoken(decision.answer)}\n"
    return ""


def _spoken(answer: str | None) -> str:
    if answer is None:
        return "no answer"
    line = " ".join(answer.split())
    return line if len(line) <= MAX_LINE_ANSWER else line[: MAX_LINE_ANSWER - 3] + "..."


def _measure(shown: Shown, metrics: Metrics) -> None:
    decision, samples = shown.decision, shown.decision.samples
    metrics.count(metrics.routed, route=decision.route)
    metrics.count(metrics.plans, plan=decision.plan, voting=decision.voting)
    if decision.limited_by is not None:
        metrics.count(metrics.limited, by=decision.limited_by)
    metrics.observe(metrics.samples, samples.run)
    metrics.observe(metrics.consensus, decision.consensus[0])
    outcomes: dict[PathOutcome, int] = {
        "run": samples.run,
        "stopped": samples.stopped,
        "saved": samples.saved,
        "invalid": samples.invalid,
    }
    for outcome, count in outcomes.items():
        metrics.count(metrics.paths, count, outcome=outcome)
    begun = samples.run + samples.stopped
    if begun:
        mean = shown.usage.reasoning_tokens / begun
        metrics.count(metrics.saved_tokens, mean * samples.saved)


def note_vote(shown: Shown) -> None:
    """In the line of the request: how it was decided, and by how many paths."""
    record = current_record.get()
    if record is None:
        return
    decision, samples = shown.decision, shown.decision.samples
    record.reasoning_tokens = shown.usage.reasoning_tokens
    record.routed = {
        "route": decision.route,
        "k": decision.k,
        "samples_run": samples.run,
        "samples_stopped": samples.stopped,
        "samples_saved": samples.saved,
        "samples_invalid": samples.invalid,
    }


def progress(event: RouteEvent, policy: RoutingPolicy) -> dict[str, Any] | None:
    """A routed question on its way, for streams; None for the event that carries the text.

    What the direct answer and each path wrote goes with it if the policy asks for paths.
    """
    match event:
        case DirectDone():
            return {
                "event": "direct",
                "answer": event.answer,
                "status": event.status,
                **({"text": event.text} if policy.include_paths else {}),
            }
        case PathDone():
            return {
                "event": "vote",
                "path": event.path,
                "status": event.status,
                "answer": event.answer,
                **({"text": event.text} if policy.include_paths else {}),
                "votes": dict(event.votes),
                "consensus": list(event.consensus),
                "run": event.run,
                "remaining": event.remaining,
            }
        case Decided():
            return {"event": "decision", **event.decision.to_response()}
        case _:
            return None


def decision_headers(decision: Decision) -> dict[str, str]:
    """The outcome for clients that see headers only. The answer is percent-encoded."""
    samples = decision.samples
    headers = {
        "x-pollux-route": decision.route,
        "x-pollux-consensus": ",".join(f"{share:g}" for share in decision.consensus),
        "x-pollux-k": str(decision.k),
        "x-pollux-min-votes": str(decision.min_votes),
        "x-pollux-samples-run": str(samples.run),
        "x-pollux-samples-stopped": str(samples.stopped),
        "x-pollux-samples-saved": str(samples.saved),
        "x-pollux-samples-invalid": str(samples.invalid),
    }
    if decision.answer is not None:
        headers["x-pollux-answer"] = _encoded(decision.answer)
    if decision.voting != "count":
        headers["x-pollux-voting"] = decision.voting
    if decision.limited_by is not None:
        headers["x-pollux-limited-by"] = decision.limited_by
    return headers


def _encoded(answer: str) -> str:
    """Plain for plain answers; cut at a whole character."""
    encoded = ""
    for char in answer:
        more = quote(char, safe=" !#$&'()*+,/:;=?@[]")
        if len(encoded) + len(more) > MAX_HEADER_ANSWER:
            break
        encoded += more
    return encoded.strip()


async def decide(events: AsyncGenerator[RouteEvent], plan: RoutedPlan) -> Shown:
    """The outcome alone; how the vote went is part of its reasoning, where that is wanted."""
    lines: list[str] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Shown):
                return replace(event, reasoning="".join(lines) + event.reasoning)
            lines.append(vote_line(event, plan))
    raise ApiError("internal", "the vote ended without an answer")
