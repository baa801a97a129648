"""Routed questions over scripted workers, for the tests of the router."""

import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from model.contract import Group, PathRequest, Prompt, SamplingParams
from routing.decision import Decision
from routing.feed import Sleep
from routing.policy import RoutingPolicy
from routing.router import Decided, Question, RouteEvent, Shown, route
from tests.scripted import Pace, PathScript, Schedule, ScriptedWorker, no_wait, say

DIRECT = Prompt.of_tokens(range(5))
REASONED = Prompt.of_tokens(range(7))
QUESTION = Question(
    direct=DIRECT,
    reasoned=REASONED,
    direct_sampling=SamplingParams(max_tokens=80, temperature=0),
    path_sampling=SamplingParams(max_tokens=100, temperature=0.7, seed=11),
)


def policy(k: int, min_votes: int, plan: str = "greedy_first", **more: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"k": k, "min_votes": min_votes, "plan": plan, "answer": "number", **more}
    )


def path_text(index: int, answer: str | None) -> str:
    return f"path {index} thinks\n" + ("no idea" if answer is None else f"Answer: {answer}")


def scripted(
    greedy: str | None,
    answers: Sequence[str | None],
    *,
    lengths: Sequence[int] = (),
    direct_length: int = 0,
    schedule: Schedule | None = None,
    pace: Pace = no_wait,
    abort_lag: int = 0,
) -> ScriptedWorker:
    """Path i gives answers[i]; lengths: extra words before it. "cut" ends by its length limit."""

    def script(group: Group, path: PathRequest) -> PathScript:
        if group.prompt == DIRECT:
            return say(
                "er " * direct_length + ("nothing" if greedy is None else f"Answer: {greedy}")
            )
        words = "hm " * (lengths[path.index] if lengths else 0)
        answer = answers[path.index]
        if answer == "cut":
            return say(f"{words}Answer: 1", finish="length")
        return say(words + path_text(path.index, answer))

    return ScriptedWorker(script, schedule=schedule, pace=pace, abort_lag=abort_lag)


async def run(
    worker: ScriptedWorker,
    asked: RoutingPolicy,
    *,
    min_running: int = 4,
    sleep: Sleep | None = None,
) -> list[RouteEvent]:
    """All events; whatever the worker was given has ended by then."""
    clock = {} if sleep is None else {"sleep": sleep}
    events = route(QUESTION, asked, worker, "r", min_running=min_running, **clock)
    async with aclosing(events):
        collected = [event async for event in events]
    assert worker.idle
    return collected


def outcome(events: Sequence[RouteEvent]) -> tuple[Decision, Shown]:
    (decided,) = [event for event in events if isinstance(event, Decided)]
    shown = events[-1]
    assert isinstance(shown, Shown)
    assert decided.decision.answer == shown.decision.answer
    assert decided.decision.route == shown.decision.route
    return shown.decision, shown


@dataclass
class Shuffled:
    """Any running path may be next."""

    source: random.Random

    def __call__(self, _: Group, running: Sequence[int]) -> int:
        return self.source.choice(running)
