"""The router against scripted workers: what it starts, stops, counts and shows."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from model.contract import Group, PathRequest, Prompt, SamplingParams, WorkerUnavailable
from routing import router
from routing.answers.base import Extraction
from routing.policy import RoutingPolicy
from routing.router import (
    Decided,
    DirectDone,
    PathDone,
    Question,
    RoutingFailed,
    Shown,
    path_seed,
    route,
)
from tests.routing.questions import (
    DIRECT,
    QUESTION,
    REASONED,
    outcome,
    path_text,
    policy,
    run,
    scripted,
)
from tests.scripted import Failure, Gate, PathScript, ScriptedWorker, completion_order, say


async def test_agreement_with_the_greedy_answer_stops_early_and_shows_the_first_path() -> None:
    worker = scripted("4", ["4"] * 16)
    asked = RoutingPolicy.model_validate({"answer": "number"})
    events = await run(worker, asked, min_running=1)
    decision, shown = outcome(events)
    assert decision.to_response() == {
        "route": "either",
        "answer": "4",
        "consensus": [7 / 16, 1.0],
        "votes": {"4": 7},
        "k": 16,
        "tau": 0.6,
        "min_votes": 10,
        "samples": {"run": 7, "stopped": 0, "saved": 9, "invalid": 0},
        "limited_by": None,
        "calibration": None,
        "answer_type": "number",
    }
    assert (shown.text, shown.path, shown.finish_reason) == (path_text(0, "4"), 0, "stop")
    assert [request.index for request in worker.groups[1].requests] == list(range(7))


async def test_events_come_in_order_with_votes_that_grow() -> None:
    worker = scripted("5", ["4", None, "cut", "4"], schedule=completion_order(range(4)))
    events = await run(worker, policy(4, 2, "all"))
    kinds = [type(event) for event in events]
    assert kinds == [DirectDone, *[PathDone] * 4, Decided, Shown]
    paths = [event for event in events if isinstance(event, PathDone)]
    assert [path.status for path in paths] == ["ok", "invalid", "truncated", "ok"]
    assert [path.answer for path in paths] == ["4", None, None, "4"]
    assert [path.votes for path in paths] == [{"4": 1}, {"4": 1}, {"4": 1}, {"4": 2}]
    assert [(path.run, path.remaining) for path in paths] == [(1, 3), (2, 2), (3, 1), (4, 0)]
    assert paths[0].consensus == (0.25, 1.0)
    decision, shown = outcome(events)
    assert (decision.route, decision.answer, decision.samples.invalid) == ("majority", "4", 2)
    assert (shown.path, shown.text) == (0, path_text(0, "4"))


async def test_usage_counts_prompts_once_and_stopped_tokens_too() -> None:
    worker = scripted("4", ["5", "5", "5", "9"], lengths=[0, 0, 0, 50])
    _, shown = outcome(await run(worker, policy(4, 2)))
    direct, paths = worker.groups
    assert paths.aborted == [3]
    assert shown.usage.prompt_tokens == len(DIRECT) + len(REASONED)
    assert shown.usage.reasoning_tokens == sum(paths.produced.values())
    assert shown.usage.completion_tokens == sum(paths.produced.values()) + direct.produced[0]
    assert paths.produced[3] > 0


async def test_seeds_differ_per_path_and_never_change() -> None:
    worker = scripted("1", ["2", "3", "4", "5"])
    await run(worker, policy(4, 4, "all"))
    seeds = [request.sampling.seed for request in worker.groups[1].requests]
    assert seeds == [path_seed(11, index) for index in range(4)]
    assert len(set(seeds)) == 4
    assert path_seed(0, 0) == 2965711081458776583
    assert worker.groups[0].group.paths[0].sampling.temperature == 0


async def test_a_threshold_out_of_reach_runs_no_path() -> None:
    worker = scripted("4", [])
    decision, shown = outcome(await run(worker, policy(8, 9)))
    assert (decision.route, decision.samples.saved) == ("greedy", 8)
    assert shown.usage.prompt_tokens == len(DIRECT)
    assert shown.usage.reasoning_tokens == 0
    assert len(worker.groups) == 1


async def test_greedy_route_without_a_usable_answer_is_null_and_shows_the_greedy_text() -> None:
    worker = scripted(None, ["1", "2", "3", None])
    decision, shown = outcome(await run(worker, policy(4, 3)))
    assert (decision.route, decision.answer) == ("greedy", None)
    assert (shown.text, shown.path) == ("nothing", None)


async def test_overruled_greedy_shows_the_lowest_voter_and_finishes_only_what_that_needs() -> None:
    # 1 to 4 decide; 0 is still running and votes the same, 5 and 6 need not finish.
    worker = scripted("9", ["4"] * 7, schedule=completion_order([1, 2, 3, 4, 0]))
    events = await run(worker, policy(7, 4), min_running=7)
    decided_at = next(i for i, event in enumerate(events) if isinstance(event, Decided))
    assert [e.path for e in events[decided_at:] if isinstance(e, PathDone)] == [0]
    decision, shown = outcome(events)
    assert shown.path == 0
    assert (decision.samples.run, decision.samples.stopped) == (5, 2)
    assert sorted(worker.groups[1].aborted) == [5, 6]


async def test_paths_start_no_faster_than_a_decision_could_need_them() -> None:
    worker = scripted("4", ["4"] * 16, schedule=completion_order(range(16)))
    await run(worker, policy(16, 10), min_running=1)
    assert len(worker.groups[1].group.paths) == 7
    assert worker.groups[1].extensions == []

    split = scripted("4", ["5", "4"] * 8, schedule=completion_order(range(16)))
    await run(split, policy(16, 10), min_running=1)
    assert set(split.groups[1].extensions) == {1}


async def test_min_running_keeps_paths_going_beyond_what_a_decision_needs() -> None:
    worker = scripted("4", ["4"] * 16, schedule=completion_order(range(16)))
    decision, _ = outcome(await run(worker, policy(16, 10), min_running=4))
    assert (decision.samples.run, decision.samples.stopped) == (7, 3)


async def test_the_greedy_answer_shows_the_first_of_its_voters_among_those_always_started() -> None:
    # m 4 of 8: no poll is decided before 4 paths, so 0 to 3 are always there; 4 may not be.
    late = scripted("4", ["7", "8", "9", "6", "4", "4", "4", "4"])
    decision, shown = outcome(await run(late, policy(8, 4, "full")))
    assert (decision.answer, shown.path, shown.text) == ("4", None, "Answer: 4")
    there = scripted("4", ["7", "8", "9", "4", "4", "4", "4", "4"])
    decision, shown = outcome(await run(there, policy(8, 4, "full")))
    assert (decision.answer, shown.path, shown.text) == ("4", 3, path_text(3, "4"))
    lone = scripted("4", ["7", "8", "4", "6"])
    decision, shown = outcome(await run(lone, policy(4, 2, "full")))
    assert (decision.route, shown.path) == ("greedy", None)


async def test_a_running_path_that_may_show_the_greedy_answer_is_finished_first() -> None:
    worker = scripted("4", ["4"] * 7, schedule=completion_order([1, 2, 3, 0]))
    decision, shown = outcome(await run(worker, policy(7, 5), min_running=7))
    assert (decision.route, shown.path) == ("either", 0)
    assert (decision.samples.run, decision.samples.stopped) == (4, 3)
    assert sorted(worker.groups[1].aborted) == [4, 5, 6]


async def test_leaving_midway_aborts_everything() -> None:
    worker = scripted("1", ["2"] * 8, lengths=[20] * 8)
    events = route(QUESTION, policy(8, 8, "all"), worker, "r")
    async with aclosing(events):
        assert isinstance(await anext(events), DirectDone)
        assert isinstance(await anext(events), PathDone)
        assert worker.status().running == 7
    assert worker.idle
    assert len(worker.groups[1].aborted) == 7


@pytest.mark.parametrize("steps", [0, 1, 2, 6])
async def test_cancelling_the_task_aborts_everything(steps: int) -> None:
    gate = Gate()
    worker = scripted("1", ["2"] * 8, lengths=[20] * 8)
    worker.pace = gate
    task = asyncio.create_task(run(worker, policy(8, 8, "all")))
    gate.step(steps)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not worker.idle
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.idle


async def test_failures_of_either_group_carry_their_code() -> None:
    def fails(where: Prompt) -> ScriptedWorker:
        def script(group: Group, _: PathRequest) -> PathScript:
            if group.prompt == where:
                return say("x", finish=Failure("capacity", "no pages left", "prompt"))
            return say("Answer: 1")

        return ScriptedWorker(script)

    for where in (DIRECT, REASONED):
        with pytest.raises(RoutingFailed, match="no pages left") as caught:
            await run(fails(where), policy(4, 3))
        assert (caught.value.code, caught.value.param) == ("capacity", "prompt")


async def test_a_refusing_worker_is_unavailable() -> None:
    worker = ScriptedWorker(lambda *_: "x", refuse=WorkerUnavailable("all busy", 7.0))
    with pytest.raises(RoutingFailed, match="all busy") as caught:
        await run(worker, policy(4, 3))
    assert (caught.value.code, caught.value.retry_after) == ("unavailable", 7.0)


async def test_a_path_that_the_worker_cut_is_a_failure_not_a_vote() -> None:
    worker = ScriptedWorker(lambda *_: say("Answer: 1", finish="abort"))
    with pytest.raises(RoutingFailed, match="stopped a path"):
        await run(worker, policy(4, 3))


@pytest.mark.parametrize(("direct", "paths"), [(0.5, 0.7), (0, 0)])
def test_a_question_needs_a_greedy_answer_and_random_paths(direct: float, paths: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        Question(
            direct=DIRECT,
            reasoned=REASONED,
            direct_sampling=SamplingParams(max_tokens=1, temperature=direct),
            path_sampling=SamplingParams(max_tokens=1, temperature=paths),
        )


async def test_an_extractor_that_blocks_is_kept_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: set[int] = set()

    class Slow:
        name, form, blocking = "slow", None, True

        def extract(self, text: str, *, truncated: bool = False) -> Extraction:
            threads.add(threading.get_ident())
            return Extraction(text, "4", (0, len(text)), "test", "ok")

    monkeypatch.setattr(router, "extractor_for", lambda *_: Slow())
    decision, _ = outcome(await run(scripted("4", ["4"] * 3), policy(3, 2)))
    assert decision.answer == "4"
    assert threading.get_ident() not in threads
    assert threads
