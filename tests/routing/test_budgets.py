"""Budgets: what a vote returns when paths, tokens or time run out."""

import asyncio
import random
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.policy import Plan
from routing.router import Decided, DirectDone, PathDone, RouteEvent, RoutingFailed, Shown
from routing.stopping import settle
from routing.tally import Tally
from tests.routing.questions import (
    REASONED,
    Shuffled,
    outcome,
    path_text,
    policy,
    run,
    scripted,
)
from tests.scripted import Gate, ScriptedWorker, completion_order

votes = st.sampled_from(["1", "2", "3", None, "cut"])
greedies = st.sampled_from(["1", "2", "7", None])


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._over.wait()

    def ring(self) -> None:
        self._over.set()


async def run_until_stuck(
    worker: ScriptedWorker, asked: Any, gate: Gate, steps: int
) -> list[RouteEvent]:
    """The worker does so many steps and no more; then the time is over."""
    clock = Clock()
    task = asyncio.create_task(run(worker, asked, sleep=clock.sleep))
    gate.step(steps)
    for _ in range(40 + 10 * steps):
        await asyncio.sleep(0)
    assert not task.done()
    clock.ring()
    events = await task
    assert clock.asked == [2.0]
    return events


def tally_of(events: list[RouteEvent]) -> Tally:
    tally = Tally()
    for event in events:
        if isinstance(event, PathDone):
            tally = tally.with_vote(event.answer)
    return tally


# --- paths -------------------------------------------------------------------------------------


async def test_a_budget_of_paths_is_a_poll_of_that_many_with_the_same_share() -> None:
    # More than 0.6 of 8 is 5; of 16 it would have been 10.
    worker = scripted("9", ["4"] * 16, schedule=completion_order(range(16)))
    asked = policy(16, 10, "throughput", budget={"paths": 8})
    decision, shown = outcome(await run(worker, asked))
    assert (decision.route, decision.answer) == ("majority", "4")
    assert (decision.limited_by, decision.limited_to) == ("paths", 8)
    assert (decision.k, decision.min_votes) == (16, 10)
    assert decision.consensus == (5 / 8, 1.0)
    samples = decision.samples
    assert (samples.run, samples.stopped, samples.saved) == (5, 0, 11)
    assert shown.path == 0


async def test_a_budget_that_the_whole_poll_did_not_need_is_not_mentioned() -> None:
    # All agree with the direct answer: 7 of 16 paths decide, whatever the other nine say. A poll
    # of 12 would need only 6 of them, and could not say that the budget changed nothing.
    worker = scripted("4", ["4"] * 16, schedule=completion_order(range(16)))
    asked = policy(16, 10, "throughput", budget={"paths": 12})
    decision, _ = outcome(await run(worker, asked))
    assert (decision.samples.run, decision.samples.stopped) == (7, 0)
    assert (decision.route, decision.limited_by, decision.limited_to) == ("either", None, None)

    hopeless = scripted("9", list("12345678") * 2, schedule=completion_order(range(16)))
    asked = policy(16, 15, "full", budget={"paths": 15})
    decision, _ = outcome(await run(hopeless, asked))
    assert (decision.route, decision.limited_by, decision.limited_to) == ("greedy", None, None)
    assert decision.consensus == (2 / 16, 3 / 16)
    assert decision.samples.saved == 1


@pytest.mark.parametrize("on_disagreement", ["greedy", "abstain", "best_effort"])
@given(answers=st.lists(votes, min_size=2, max_size=9), greedy=greedies, data=st.data())
@settings(max_examples=60, deadline=None)
async def test_no_plan_changes_what_a_budget_of_paths_returns(
    on_disagreement: str, answers: list[str | None], greedy: str | None, data: st.DataObject
) -> None:
    k = len(answers)
    m, cap = data.draw(st.integers(1, k + 1)), data.draw(st.integers(1, k - 1))
    tau = Fraction(m - 1, k)
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=k, max_size=k))
    polled = Tally()
    for answer in answers[:cap]:
        polled = polled.with_vote(None if answer == "cut" else answer)
    expected = settle(polled, tau, greedy, on_disagreement)  # type: ignore[arg-type]
    shown_paths, limits = set(), set()
    for plan in ("greedy_first", "throughput", "latency", "full"):
        worker = scripted(
            greedy,
            answers,
            lengths=lengths,
            direct_length=data.draw(st.integers(0, 12)),
            schedule=Shuffled(random.Random(data.draw(st.integers(0, 10**6)))),
        )
        more = {"budget": {"paths": cap}, "on_disagreement": on_disagreement}
        decision, shown = outcome(await run(worker, policy(k, m, plan, **more)))
        assert decision.answer == expected.answer
        assert decision.samples.run + decision.samples.stopped <= cap
        assert plan != "throughput" or decision.samples.stopped == 0
        limits.add((decision.limited_by, decision.limited_to))
        shown_paths.add((shown.path, shown.text.replace("er ", "")))
    assert len(shown_paths) == 1
    assert limits in ({(None, None)}, {("paths", cap)})


# --- tokens ------------------------------------------------------------------------------------


async def test_tokens_end_the_vote_with_the_paths_that_have_finished() -> None:
    # The direct answer has 2 tokens, a path 5: three paths fit into 2 + 15, more than half agree.
    worker = scripted("9", ["4", "4", "5"] + ["4"] * 5, schedule=completion_order(range(8)))
    asked = policy(8, 5, "full", budget={"tokens": 17})
    decision, shown = outcome(await run(worker, asked))
    assert (decision.route, decision.answer) == ("majority", "4")
    assert (decision.limited_by, decision.limited_to) == ("tokens", 3)
    assert decision.consensus == (2 / 3, 2 / 3)
    assert decision.samples.run == 3
    assert (shown.path, shown.usage.completion_tokens) == (0, 17)


async def test_tokens_that_suffice_limit_nothing() -> None:
    worker = scripted("9", ["4"] * 4, schedule=completion_order(range(4)))
    decision, shown = outcome(await run(worker, policy(4, 3, budget={"tokens": 2 + 15})))
    assert (decision.route, decision.limited_by) == ("majority", None)
    assert shown.usage.completion_tokens == 2 + 15


@pytest.mark.parametrize("plan", get_args(Plan))
async def test_tokens_for_the_direct_answer_alone_return_it(plan: Plan) -> None:
    worker = scripted("4", ["5"] * 4)
    decision, shown = outcome(await run(worker, policy(4, 3, plan, budget={"tokens": 2})))
    assert (decision.route, decision.answer, shown.path) == ("greedy", "4", None)
    assert (decision.limited_by, decision.limited_to) == ("tokens", 0)
    assert decision.consensus == (0.0, 0.0)
    assert len(worker.groups) == 1


async def test_a_direct_answer_longer_than_the_tokens_is_cut_by_them() -> None:
    worker = scripted("4", ["5"] * 4, direct_length=30)
    events = await run(worker, policy(4, 3, budget={"tokens": 7}))
    decision, shown = outcome(events)
    assert isinstance(events[0], DirectDone)
    assert (decision.route, decision.answer, shown.finish_reason) == ("greedy", None, "length")
    assert shown.usage.completion_tokens == 7


async def test_latency_sets_the_tokens_of_the_direct_answer_aside() -> None:
    # 80 tokens at most for the direct answer: while it is written, paths have the rest.
    worker = scripted("4", ["4"] * 8, lengths=[50] * 8, direct_length=70)
    asked = policy(8, 5, "latency", budget={"tokens": 100})
    decision, shown = outcome(await run(worker, asked))
    assert (decision.route, decision.answer) == ("greedy", "4")
    assert (decision.limited_by, decision.limited_to) == ("tokens", 0)
    assert shown.usage.completion_tokens <= 100
    assert shown.usage.reasoning_tokens == 20
    # With little more than that, paths wait until it is known what it took.
    patient = scripted("9", ["4"] * 4, schedule=completion_order(range(4)))
    decision, shown = outcome(await run(patient, policy(4, 3, "latency", budget={"tokens": 80})))
    assert (decision.route, decision.answer, decision.limited_by) == ("majority", "4", None)


async def test_tokens_that_end_while_a_text_is_finished_are_mentioned() -> None:
    # 1 to 3 decide; 0 would be shown, but is too long for what is left.
    worker = scripted("9", ["4"] * 5, lengths=[60, 0, 0, 0, 0], schedule=completion_order([1, 2, 3, 0]))  # fmt: skip # noqa: E501
    decision, shown = outcome(await run(worker, policy(5, 3, budget={"tokens": 30})))
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", 1)
    assert (decision.limited_by, decision.limited_to) == ("tokens", None)
    assert decision.consensus[1] == 1.0
    assert shown.usage.completion_tokens == 30


async def test_tokens_end_the_wait_for_a_text_also_where_paths_were_the_limit_before() -> None:
    answers, lengths = ["4"] * 8, [60, 0, 0, 0, 0, 0, 0, 0]
    worker = scripted("9", answers, lengths=lengths, schedule=completion_order([1, 2, 3, 0]))
    asked = policy(8, 5, budget={"paths": 4, "tokens": 30})
    decision, shown = outcome(await run(worker, asked))
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", 1)
    assert (decision.limited_by, decision.limited_to) == ("paths", 4)
    assert shown.usage.completion_tokens == 30


# --- deadline ----------------------------------------------------------------------------------


async def test_a_deadline_ends_the_vote_with_the_paths_that_have_finished() -> None:
    gate = Gate()
    worker = scripted("9", ["4"] * 8, schedule=completion_order(range(8)), pace=gate)
    asked = policy(8, 5, "full", budget={"deadline_s": 2})
    decision, shown = outcome(await run_until_stuck(worker, asked, gate, 2 + 5 + 5 + 3))
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", 0)
    assert (decision.limited_by, decision.limited_to) == ("deadline", 2)
    assert decision.consensus == (1.0, 1.0)
    samples = decision.samples
    assert (samples.run, samples.stopped, samples.saved) == (2, 6, 0)
    assert worker.groups[1].aborted == [2, 3, 4, 5, 6, 7]


async def test_a_deadline_before_any_path_returns_the_direct_answer() -> None:
    gate = Gate()
    worker = scripted("9", ["4"] * 8, pace=gate)
    asked = policy(8, 5, budget={"deadline_s": 2})
    decision, shown = outcome(await run_until_stuck(worker, asked, gate, 4))
    assert (decision.route, decision.answer, shown.text) == ("greedy", "9", "Answer: 9")
    assert (decision.limited_by, decision.limited_to) == ("deadline", 0)


@pytest.mark.parametrize("plan", get_args(Plan))
async def test_a_deadline_before_the_direct_answer_is_an_error(plan: Plan) -> None:
    gate = Gate()
    worker = scripted("9", ["4"] * 8, pace=gate)
    asked = policy(8, 5, plan, budget={"deadline_s": 2})
    with pytest.raises(RoutingFailed, match="deadline of 2 s") as caught:
        await run_until_stuck(worker, asked, gate, 1)
    assert caught.value.code == "deadline"
    assert worker.idle


@pytest.mark.parametrize(
    ("on_disagreement", "answers", "route", "answer"),
    [
        ("greedy", ["4", "4", "5"], "majority", "4"),
        ("abstain", ["3", "4", "5"], "abstain", None),
        ("best_effort", ["3", "3", "4", "5", None], "best_effort", "3"),
    ],
)
async def test_latency_answers_at_the_deadline_without_the_direct_answer(
    on_disagreement: str, answers: list[str | None], route: str, answer: str | None
) -> None:
    gate = Gate()
    worker = scripted(
        "4", [*answers, *"12345678"][:8], schedule=completion_order(range(8)), pace=gate,
        direct_length=70,
    )  # fmt: skip
    asked = policy(8, 5, "latency", budget={"deadline_s": 2}, on_disagreement=on_disagreement)
    # Both groups take turns, so half of the steps are the direct answer's.
    events = await run_until_stuck(worker, asked, gate, 2 * 5 * len(answers) + 2)
    decision, shown = outcome(events)
    assert not any(isinstance(event, DirectDone) for event in events)
    assert (decision.route, decision.answer) == (route, answer)
    assert (decision.limited_by, decision.limited_to) == ("deadline", len(answers))
    assert shown.text == ("" if answer is None else path_text(0, answer))


async def test_latency_without_a_majority_or_a_direct_answer_is_an_error() -> None:
    gate = Gate()
    worker = scripted("4", list("12345678"), pace=gate, direct_length=70)
    asked = policy(8, 5, "latency", budget={"deadline_s": 2})
    with pytest.raises(RoutingFailed, match="deadline"):
        await run_until_stuck(worker, asked, gate, 60)


async def test_a_deadline_while_a_text_is_finished_shows_the_first_that_is_there() -> None:
    gate = Gate()
    worker = scripted("9", ["4"] * 5, schedule=completion_order([1, 2, 3, 0]), pace=gate)
    asked = policy(5, 3, budget={"deadline_s": 2})
    decision, shown = outcome(await run_until_stuck(worker, asked, gate, 2 + 15 + 2))
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", 1)
    assert (decision.limited_by, decision.limited_to) == ("deadline", None)


async def test_time_that_suffices_limits_nothing() -> None:
    worker, clock = scripted("9", ["4"] * 8), Clock()
    asked = policy(8, 5, budget={"deadline_s": 5})
    decision, _ = outcome(await run(worker, asked, sleep=clock.sleep))
    assert (clock.asked, decision.limited_by) == ([5.0], None)
    assert len(asyncio.all_tasks()) == 1


async def test_the_deadline_is_real_time_unless_a_test_says_otherwise() -> None:
    worker = scripted("9", ["4"], pace=Gate())
    with pytest.raises(RoutingFailed, match="deadline"):
        await run(worker, policy(1, 1, budget={"deadlineS": 0.01}))


# --- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [plan for plan in get_args(Plan) if plan != "lossy"])
@pytest.mark.parametrize("on_disagreement", ["greedy", "abstain", "best_effort"])
@given(answers=st.lists(votes, min_size=1, max_size=8), greedy=greedies, data=st.data())
@settings(max_examples=40, deadline=None)
async def test_an_exhausted_budget_returns_the_rule_applied_to_what_finished(
    plan: Plan,
    on_disagreement: str,
    answers: list[str | None],
    greedy: str | None,
    data: st.DataObject,
) -> None:
    k = len(answers)
    m, tokens = data.draw(st.integers(1, k + 1)), data.draw(st.integers(1, 60))
    worker = scripted(
        greedy,
        answers,
        lengths=data.draw(st.lists(st.integers(0, 6), min_size=k, max_size=k)),
        direct_length=data.draw(st.integers(0, 12)),
        schedule=Shuffled(random.Random(data.draw(st.integers(0, 10**6)))),
        abort_lag=data.draw(st.integers(0, 2)),
    )
    budget: dict[str, Any] = {"tokens": tokens}
    if data.draw(st.booleans()):
        budget["paths"] = data.draw(st.integers(1, k))
    asked = policy(k, m, plan, budget=budget, on_disagreement=on_disagreement)
    events = await run(worker, asked)
    decision, shown = outcome(events)
    # Paths may still do a step or two after they were aborted.
    assert shown.usage.completion_tokens <= tokens + 2 * k
    assert (
        decision.samples.run == decision.limited_to
        or decision.limited_by != "tokens"
        or (decision.limited_to is None)
    )
    if decision.limited_by == "tokens" and decision.limited_to is not None:
        known = next((e.answer for e in events if isinstance(e, DirectDone)), None)
        expected = settle(tally_of(events), Fraction(m - 1, k), known, on_disagreement)  # type: ignore[arg-type]
        assert (decision.route, decision.answer) == (expected.route, expected.answer)
        share = decision.consensus[0]
        assert decision.consensus == (share, share)
    for event in events:
        if isinstance(event, Decided | Shown):
            samples = event.decision.samples
            assert samples.run + samples.stopped + samples.saved == k
    for stream in worker.groups:
        if stream.group.prompt == REASONED:
            assert len(stream.requests) <= budget.get("paths", k)
