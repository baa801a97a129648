"""Plans: how many paths run at once, and that no lossless one changes the answer or the text."""

import asyncio
import random
from contextlib import aclosing
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import Group, PathRequest
from routing.policy import Plan
from routing.records import RecordedPath, RecordedQuestion, replay
from routing.router import Decided, DirectDone, PathDone, RoutingFailed, Shown, route
from tests.routing.questions import (
    DIRECT,
    QUESTION,
    Shuffled,
    outcome,
    path_text,
    policy,
    run,
    scripted,
)
from tests.scripted import Failure, Gate, PathScript, ScriptedWorker, completion_order, say

LOSSLESS = ("greedy_first", "throughput", "latency", "full")

votes = st.sampled_from(["1", "2", "3", None, "cut"])
greedies = st.sampled_from(["1", "2", "7", None])


@pytest.mark.parametrize("on_disagreement", ["greedy", "abstain", "best_effort"])
@given(answers=st.lists(votes, min_size=1, max_size=9), greedy=greedies, data=st.data())
@settings(max_examples=120, deadline=None)
async def test_neither_plan_nor_timing_changes_the_answer_or_the_text(
    on_disagreement: str, answers: list[str | None], greedy: str | None, data: st.DataObject
) -> None:
    k = len(answers)
    min_votes = data.draw(st.integers(1, k + 1))
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=k, max_size=k))
    more = {"on_disagreement": on_disagreement}
    full = await run(
        scripted(greedy, answers, lengths=lengths), policy(k, min_votes, "full", **more)
    )
    whole, expected = outcome(full)
    assert whole.samples.run == k
    assert whole.consensus[0] == whole.consensus[1]

    for plan in LOSSLESS:
        worker = scripted(
            greedy,
            answers,
            lengths=lengths,
            direct_length=data.draw(st.integers(0, 12)),
            schedule=Shuffled(random.Random(data.draw(st.integers(0, 10**6)))),
            abort_lag=data.draw(st.integers(0, 3)),
        )
        min_running = data.draw(st.integers(1, 9))
        events = await run(worker, policy(k, min_votes, plan, **more), min_running=min_running)
        decision, shown = outcome(events)

        assert decision.answer == whole.answer
        assert (shown.text.replace("er ", ""), shown.path) == (expected.text, expected.path)
        if decision.route == "either":
            assert on_disagreement == "best_effort" or whole.answer == greedy
            assert decision.answer is not None
        else:
            assert decision.route == whole.route
        low, high = decision.consensus
        assert low <= whole.consensus[0] <= high
        assert decision.limited_by is None

        for event in events:
            if isinstance(event, Decided | Shown):
                samples = event.decision.samples
                assert samples.run + samples.stopped + samples.saved == k
                assert sum(event.decision.votes.values()) + samples.invalid == samples.run
        for stream in worker.groups:
            if stream.group.prompt != DIRECT:
                started = [request.index for request in stream.requests]
                assert started == list(range(k - decision.samples.saved))


@given(answers=st.lists(votes, min_size=1, max_size=12), greedy=greedies, data=st.data())
@settings(max_examples=150, deadline=None)
async def test_throughput_starts_exactly_the_paths_of_a_sequential_poll(
    answers: list[str | None], greedy: str | None, data: st.DataObject
) -> None:
    k = len(answers)
    min_votes = data.draw(st.integers(1, k + 1))
    given_answers = tuple(RecordedPath(answer=None if a == "cut" else a) for a in answers)
    recorded = RecordedQuestion(id=1, answer=None, greedy=greedy, paths=given_answers)
    sequential = replay(recorded, k, min_votes)
    worker = scripted(
        greedy,
        answers,
        lengths=data.draw(st.lists(st.integers(0, 6), min_size=k, max_size=k)),
        schedule=Shuffled(random.Random(data.draw(st.integers(0, 10**6)))),
    )
    decision, _ = outcome(await run(worker, policy(k, min_votes, "throughput")))
    assert decision.samples.run == sequential.used
    assert decision.samples.stopped == 0
    assert decision.answer == sequential.verdict.answer


async def test_latency_asks_directly_and_starts_every_path_at_once() -> None:
    worker = scripted("4", ["4"] * 8, lengths=[30] * 8, direct_length=10)
    events = route(QUESTION, policy(8, 5, "latency"), worker, "r")
    async with aclosing(events):
        assert isinstance(await anext(events), DirectDone)
        direct, paths = worker.groups
        assert len(paths.group.paths) == 8
        assert all(paths.produced.values()), "paths decode while the direct answer does"
    assert worker.idle
    assert direct.finished == [0]


async def test_latency_stops_everything_when_the_answer_is_certain() -> None:
    lengths = [0] * 4 + [40] * 4
    worker = scripted("4", ["4"] * 8, lengths=lengths)
    decision, shown = outcome(await run(worker, policy(8, 5, "latency")))
    assert (decision.route, shown.path) == ("either", 0)
    assert (decision.samples.run, decision.samples.stopped, decision.samples.saved) == (4, 4, 0)
    assert worker.groups[1].aborted == [4, 5, 6, 7]


async def test_latency_needs_no_direct_answer_where_a_majority_is_certain_without_it() -> None:
    # m 5 of 8: the text is that of the first among paths 0 to 3, whatever the direct answer is.
    worker = scripted("9", ["4"] * 8, direct_length=60)
    events = await run(worker, policy(8, 5, "latency"))
    decision, shown = outcome(events)
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", 0)
    assert not any(isinstance(event, DirectDone) for event in events)
    assert worker.groups[0].aborted == [0]
    sampled = sum(worker.groups[0].produced.values()) + sum(worker.groups[1].produced.values())
    assert shown.usage.completion_tokens == sampled


@pytest.mark.parametrize(("greedy", "path"), [("4", None), ("9", 4)])
async def test_latency_waits_for_the_direct_answer_where_the_text_hangs_on_it(
    greedy: str, path: int | None
) -> None:
    # 4 has its four votes, none of them from paths 0 to 3: the one text or the other.
    answers = ["1", "2", "3", None, "4", "4", "4", "4"]
    worker = scripted(greedy, answers, direct_length=60)
    events = await run(worker, policy(8, 4, "latency"))
    decision, shown = outcome(events)
    assert (decision.route, decision.answer, shown.path) == ("majority", "4", path)
    kinds = [type(event) for event in events]
    assert kinds.index(Decided) < kinds.index(DirectDone)


async def test_latency_stops_paths_that_cannot_win_while_the_direct_answer_is_awaited() -> None:
    # m 7 of 8: after three different answers none can have seven. 0 or 1 may be shown.
    lengths = [0, 20, 0, 0, 50, 50, 50, 50]
    worker = scripted("2", list("12345678"), lengths=lengths, direct_length=70)
    decision, shown = outcome(await run(worker, policy(8, 7, "latency")))
    assert (decision.route, decision.answer, shown.path) == ("greedy", "2", 1)
    direct, paths = worker.groups
    assert direct.finished == [0]
    assert sorted(paths.finished) == [0, 1, 2, 3]
    assert max(paths.produced[index] for index in (4, 5, 6, 7)) < 10


async def test_latency_leaves_a_tie_to_the_direct_answer() -> None:
    worker = scripted("5", ["4", "4", "5", "5"], direct_length=60)
    events = await run(worker, policy(4, 2, "latency"))
    decision, shown = outcome(events)
    assert (decision.answer, shown.path) == ("5", None)
    assert [type(event) for event in events][-3:] == [DirectDone, Decided, Shown]


async def test_a_direct_answer_that_fails_when_nothing_needs_it_changes_nothing() -> None:
    def script(group: Group, path: PathRequest) -> PathScript:
        if group.prompt == DIRECT:
            return say("w " * 12, finish=Failure("internal", "broke"))
        return say("Answer: 4")

    worker = ScriptedWorker(script, abort_lag=10**6)
    decision, _ = outcome(await run(worker, policy(4, 3, "latency")))
    assert decision.answer == "4"


async def test_lossy_stops_when_a_majority_is_likely_and_says_so() -> None:
    answers = ["4"] * 32
    worker = scripted("9", answers, schedule=completion_order(range(32)))
    decision, _ = outcome(await run(worker, policy(32, 20, "lossy"), min_running=1))
    assert (decision.answer, decision.lossy) == ("4", 0.01)
    assert decision.samples.run < 20
    sure = scripted("9", answers, schedule=completion_order(range(32)))
    exact, _ = outcome(await run(sure, policy(32, 20), min_running=1))
    assert (exact.lossy, exact.samples.run) == (None, 20)


async def test_lossy_takes_the_risk_that_was_asked_for_and_marks_only_what_it_took() -> None:
    def poll(**more: Any) -> Any:
        worker = scripted("9", ["4"] * 32, schedule=completion_order(range(32)))
        return run(worker, policy(32, 20, "lossy", **more), min_running=1)

    bold, _ = outcome(await poll(epsilon=0.2))
    wary, _ = outcome(await poll(epsilon=1e-6))
    assert bold.samples.run < wary.samples.run
    assert bold.lossy == 0.2
    certain, _ = outcome(await run(scripted("4", []), policy(4, 5, "lossy")))
    assert certain.lossy is None


@pytest.mark.parametrize("plan", get_args(Plan))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
async def test_leaving_or_failing_at_any_moment_frees_everything(
    plan: Plan, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, 8))
    answers = data.draw(st.lists(votes, min_size=k, max_size=k))
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=k, max_size=k))
    failing = data.draw(st.none() | st.integers(-1, k - 1))
    broken = say("w " * data.draw(st.integers(1, 6)), finish=Failure("capacity", "no pages left"))
    said = scripted("1", answers, lengths=lengths).script

    def script(group: Group, path: PathRequest) -> PathScript | str:
        index = -1 if group.prompt == DIRECT else path.index
        return broken if index == failing else said(group, path)

    worker = ScriptedWorker(
        script,
        schedule=Shuffled(random.Random(data.draw(st.integers(0, 10**6)))),
        abort_lag=data.draw(st.integers(0, 3)),
    )
    asked = policy(k, data.draw(st.integers(1, k + 1)), plan)
    leave_after = data.draw(st.integers(0, 2 * k))
    events = route(QUESTION, asked, worker, "r")
    try:
        async with aclosing(events):
            async for _ in events:
                if leave_after == 0:
                    break
                leave_after -= 1
    except RoutingFailed:
        assert failing is not None
    assert worker.idle
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("plan", get_args(Plan))
@pytest.mark.parametrize("steps", [0, 1, 3, 8])
async def test_cancelling_the_task_frees_everything(plan: Plan, steps: int) -> None:
    gate = Gate()
    worker = scripted("1", ["2"] * 8, lengths=[20] * 8, pace=gate)
    asked = policy(8, 8, plan, budget={"deadline_s": 600})
    task = asyncio.create_task(run(worker, asked))
    gate.step(steps)
    for _ in range(30):
        await asyncio.sleep(0)
    assert not worker.idle
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.idle
    assert len(asyncio.all_tasks()) == 1


async def test_readings_are_in_the_final_decision_when_asked_for() -> None:
    worker = scripted("5", ["4", None, "4"], schedule=completion_order([2, 1, 0]))
    events = await run(worker, policy(3, 2, "full", include_paths=True))
    decided = next(event for event in events if isinstance(event, Decided))
    assert decided.decision.readings is None
    decision, _ = outcome(events)
    response = decision.to_response()
    assert response["direct"] == {
        "answer": "5",
        "status": "ok",
        "text": "Answer: 5",
        "tokens": 2,
        "finish": "stop",
    }
    assert response["paths"] == [
        {
            "index": index,
            "answer": answer,
            "status": "ok" if answer else "invalid",
            "text": path_text(index, answer),
            "tokens": 5,
            "finish": "stop",
        }
        for index, answer in enumerate(["4", None, "4"])
    ]
    texts = [event.text for event in events if isinstance(event, PathDone)]
    assert texts == [path_text(2, "4"), path_text(1, None), path_text(0, "4")]
