"""The scripted worker itself: other tests lean on it, so its own promises are pinned."""

from collections.abc import Sequence

import pytest

from model.contract import (
    Event,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Worker,
    WorkerUnavailable,
)
from tests.scripted import Failure, Gate, ScriptedWorker, completion_order, say


def group(paths: int, *, is_open: bool = False, max_tokens: int = 99, stop: str = "") -> Group:
    sampling = SamplingParams(max_tokens=max_tokens, stop=(stop,) if stop else ())
    requests = tuple(PathRequest(index=index, sampling=sampling) for index in range(paths))
    return Group(id="g", prompt=Prompt.of_tokens([1, 2, 3]), paths=requests, open=is_open)


def text_of(events: Sequence[Event], path: int) -> str:
    return "".join(e.text for e in events if isinstance(e, PathOutput) and e.path == path)


def finishes(events: Sequence[Event]) -> dict[int, Finish]:
    outputs = [e for e in events if isinstance(e, PathOutput)]
    return {e.path: e.finish for e in outputs if e.finish is not None}


async def run(worker: ScriptedWorker, asked: Group) -> list[Event]:
    async with worker.open(asked) as stream:
        return [event async for event in stream]


async def test_replays_every_path_and_closes() -> None:
    worker = ScriptedWorker(lambda _, path: f"path {path.index} says so")
    as_worker: Worker = worker  # the protocol, checked by mypy
    events = await run(worker, group(2))
    assert isinstance(events[0], GroupStarted)
    assert events[0].prompt_tokens == 3
    assert events[-1] == GroupClosed(group_id="g")
    assert text_of(events, 0) == "path 0 says so"
    assert text_of(events, 1) == "path 1 says so"
    assert worker.idle
    assert as_worker.status().groups == 0


async def test_max_tokens_cuts_with_length_and_exact_fit_does_not() -> None:
    worker = ScriptedWorker(lambda *_: "one two three")
    cut = await run(worker, group(1, max_tokens=2))
    assert (text_of(cut, 0), finishes(cut)[0].reason) == ("one two", "length")
    fits = await run(worker, group(1, max_tokens=3))
    assert (text_of(fits, 0), finishes(fits)[0].reason) == ("one two three", "stop")


async def test_stop_string_across_chunks_never_shows() -> None:
    worker = ScriptedWorker(lambda *_: "Answer: 4\n\nQuestion: next")
    events = await run(worker, group(1, stop="\n\nQuestion:"))
    assert text_of(events, 0) == "Answer: 4"
    assert finishes(events)[0] == Finish(reason="stop", matched="\n\nQuestion:")


async def test_completion_order_is_what_the_test_says() -> None:
    worker = ScriptedWorker(lambda *_: "a b c", schedule=completion_order([2, 0, 1]))
    await run(worker, group(3))
    assert worker.groups[0].finished == [2, 0, 1]


async def test_open_group_takes_more_paths_until_it_is_aborted() -> None:
    worker = ScriptedWorker(lambda _, path: f"p{path.index}")
    events: list[Event] = []
    async with worker.open(group(1, is_open=True)) as stream:
        async for event in stream:
            events.append(event)
            done = finishes(events)
            if set(done) == {0} and not worker.groups[0].extensions:
                await stream.extend([PathRequest(index=1, sampling=SamplingParams(max_tokens=9))])
            if set(done) == {0, 1}:
                await stream.abort()
    assert isinstance(events[-1], GroupClosed)
    assert text_of(events, 1) == "p1"


async def test_aborted_path_finishes_with_abort_and_the_rest_goes_on() -> None:
    worker = ScriptedWorker(lambda *_: "a b c d")
    events: list[Event] = []
    async with worker.open(group(2)) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == 3:
                await stream.abort([1])
    assert finishes(events)[1].reason == "abort"
    assert finishes(events)[0].reason == "stop"
    assert worker.groups[0].aborted == [1]


async def test_abort_lag_lets_a_path_go_on_for_some_steps() -> None:
    worker = ScriptedWorker(lambda *_: "a b c d", abort_lag=2)
    events: list[Event] = []
    async with worker.open(group(1)) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, GroupStarted):
                await stream.abort([0])
    assert text_of(events, 0) == "a b"
    assert finishes(events)[0].reason == "abort"


async def test_leaving_the_context_aborts_what_runs() -> None:
    worker = ScriptedWorker(lambda *_: "a b c")
    async with worker.open(group(2)) as stream:
        await anext(aiter(stream))
        assert worker.status().running == 2
    assert worker.groups[0].aborted == [0, 1]
    assert worker.idle


async def test_failure_and_refusal() -> None:
    failing = ScriptedWorker(lambda *_: say("a b", finish=Failure("capacity", "full")))
    events = await run(failing, group(1))
    assert events[-1] == GroupFailed(group_id="g", code="capacity", message="full")
    assert failing.idle

    refusing = ScriptedWorker(lambda *_: "x", refuse=WorkerUnavailable("none", 3.0))
    with pytest.raises(WorkerUnavailable, match="none"):
        await run(refusing, group(1))


async def test_gate_releases_step_by_step() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda *_: "a b c", pace=gate)
    async with worker.open(group(1)) as stream:
        events = aiter(stream)
        await anext(events)
        gate.step()
        first = await anext(events)
        assert isinstance(first, PathOutput)
        assert first.text == "a"
        gate.release()
        assert isinstance([event async for event in events][-1], GroupClosed)


async def test_extending_a_closed_group_is_a_test_failure() -> None:
    worker = ScriptedWorker(lambda *_: "a")
    async with worker.open(group(1)) as stream:
        with pytest.raises(AssertionError, match="not open"):
            await stream.extend([PathRequest(index=1, sampling=SamplingParams(max_tokens=1))])
