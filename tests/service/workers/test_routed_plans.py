"""Routed questions over the real transport of the embedded worker: plans, budgets, what is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, get_args

import pytest

from model.contract import Prompt, SamplingParams
from routing.policy import Plan, RoutingPolicy
from routing.router import DirectDone, Question, RoutingFailed, Shown, route
from service.workers.embedded import EmbeddedBackend
from tests.broker_world import until
from tests.fake_engine import FakeEngine

QUESTION = Question(
    direct=Prompt.of_tokens(range(3)),
    reasoned=Prompt.of_tokens(range(4)),
    direct_sampling=SamplingParams(max_tokens=5, temperature=0, seed=4),
    path_sampling=SamplingParams(max_tokens=12, temperature=0.7, seed=9),
)


def policy(plan: str, **more: Any) -> RoutingPolicy:
    """The first letter of a text votes, if it is one of the first thirteen."""
    answer = {"type": "marker", "pattern": "^([a-m])"}
    return RoutingPolicy.model_validate(
        {"k": 12, "min_votes": 2, "plan": plan, "answer": answer, **more}
    )


@asynccontextmanager
async def embedded(**options: Any) -> AsyncIterator[tuple[EmbeddedBackend, FakeEngine]]:
    engines: list[FakeEngine] = []

    def build(emit: Any) -> FakeEngine:
        engines.append(FakeEngine(emit, **options))
        return engines[0]

    backend = EmbeddedBackend(build)
    await backend.start()
    await until(lambda: backend.status().state == "ready")
    try:
        yield backend, engines[0]
    finally:
        engines[0].hold.clear()
        await backend.stop()


async def ask(backend: EmbeddedBackend, asked: RoutingPolicy, name: str) -> Shown:
    async with aclosing(route(QUESTION, asked, backend.worker, name)) as events:
        *_, shown = [event async for event in events]
    assert isinstance(shown, Shown)
    return shown


async def test_lossless_plans_agree_and_leave_nothing_running() -> None:
    async with embedded(max_rows=5) as (backend, engine):
        shown = {
            plan: await ask(backend, policy(plan), plan)
            for plan in ("greedy_first", "throughput", "latency", "full")
        }
        await until(lambda: engine.idle)
    texts = {(s.decision.answer, s.text, s.path) for s in shown.values()}
    assert len(texts) == 1
    assert texts.pop()[0] is not None
    assert shown["full"].decision.samples.run == 12
    assert shown["throughput"].decision.samples.stopped == 0
    assert shown["throughput"].usage.completion_tokens <= min(
        s.usage.completion_tokens for s in shown.values()
    )


@pytest.mark.parametrize("plan", get_args(Plan))
async def test_tokens_bound_what_the_engine_does(plan: str) -> None:
    async with embedded(max_rows=5) as (backend, engine):
        shown = await ask(backend, policy(plan, min_votes=6, budget={"tokens": 30}), "q")
        await until(lambda: engine.idle)
        assert shown.decision.limited_by == "tokens"
        # The engine goes on until the abort has reached it; how far depends on the machine.
        assert shown.usage.completion_tokens >= 30
        assert shown.decision.samples.run < 12


@pytest.mark.parametrize("plan", get_args(Plan))
async def test_a_deadline_frees_an_engine_that_is_stuck(plan: str) -> None:
    async with embedded() as (backend, engine):
        engine.hold.set()
        with pytest.raises(RoutingFailed, match="deadline"):
            await ask(backend, policy(plan, budget={"deadline_s": 0.02}), "q")
        await until(lambda: engine.idle)


async def test_a_deadline_after_the_direct_answer_returns_it() -> None:
    async with embedded() as (backend, engine):
        over = asyncio.Event()

        async def until_over(_: float) -> None:
            await over.wait()

        asked = policy("full", min_votes=12, budget={"deadline_s": 5})
        events = route(QUESTION, asked, backend.worker, "q", sleep=until_over)
        async with aclosing(events):
            direct = await anext(events)
            assert isinstance(direct, DirectDone)
            engine.hold.set()
            over.set()
            *_, shown = [event async for event in events]
        assert isinstance(shown, Shown)
        assert (shown.decision.limited_by, shown.decision.answer) == ("deadline", direct.answer)
        await until(lambda: engine.idle)
