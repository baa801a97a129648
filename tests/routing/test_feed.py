"""Groups read as one: in turn, up to a deadline, and nothing left behind."""

import asyncio

import pytest

from model.contract import (
    Group,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    WorkerUnavailable,
)
from routing.feed import DeadlinePassed, Feed
from tests.scripted import Failure, Gate, ScriptedWorker, say


def group(name: str) -> Group:
    request = PathRequest(index=0, sampling=SamplingParams(max_tokens=99))
    return Group(id=name, prompt=Prompt.of_tokens(range(3)), paths=(request,))


async def never(_: float) -> None:
    await asyncio.Event().wait()


async def test_one_group_after_another_is_read_to_its_end() -> None:
    worker = ScriptedWorker(lambda *_: "a b")
    async with Feed(worker, None, never) as feed:
        assert await feed.next() is None
        await feed.open(group("first"))
        first = []
        while (event := await feed.next()) is not None:
            first.append(event)
        assert isinstance(first[0], GroupStarted)
        assert [e.text for e in first if isinstance(e, PathOutput)] == ["a", " b"]
        await feed.open(group("second"))
        assert isinstance(await feed.next(), GroupStarted)
    assert worker.idle


@pytest.mark.parametrize("seconds", [None, 9.0])
async def test_groups_take_turns_however_much_one_has_to_say(seconds: float | None) -> None:
    worker = ScriptedWorker(lambda *_: "w " * 50)
    async with Feed(worker, seconds, never) as feed:
        await feed.open(group("a"))
        await feed.open(group("b"))
        heard = [await feed.next() for _ in range(40)]
    counts = [sum(e is not None and e.group_id == name for e in heard) for name in ("a", "b")]
    assert min(counts) >= 18
    assert worker.idle
    assert len(asyncio.all_tasks()) == 1


async def test_the_deadline_wins_over_whatever_is_there() -> None:
    over = asyncio.Event()

    async def until_over(_: float) -> None:
        await over.wait()

    worker = ScriptedWorker(lambda *_: "w " * 50)
    async with Feed(worker, 1.0, until_over) as feed:
        await feed.open(group("a"))
        for _ in range(5):
            assert await feed.next() is not None
        over.set()
        await asyncio.sleep(0)
        with pytest.raises(DeadlinePassed):
            await feed.next()
    assert worker.idle
    assert worker.groups[0].aborted == [0]
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_is_an_event_and_the_other_group_goes_on() -> None:
    def script(asked: Group, _: PathRequest):
        return (
            say("x", finish=Failure("internal", "broke"))
            if asked.id == "a"
            else say("y " * 8 + "y")
        )

    worker = ScriptedWorker(script)
    async with Feed(worker, None, never) as feed:
        await feed.open(group("a"))
        await feed.open(group("b"))
        heard = []
        while (event := await feed.next()) is not None:
            heard.append(event)
    assert sum(isinstance(event, GroupFailed) for event in heard) == 1
    assert sum(isinstance(event, PathOutput) for event in heard) == 9


async def test_a_refusal_leaves_no_group_behind() -> None:
    worker = ScriptedWorker(lambda *_: "w " * 9, pace=Gate())
    async with Feed(worker, 1.0, never) as feed:
        await feed.open(group("a"))
        worker.refuse = WorkerUnavailable("full")
        with pytest.raises(WorkerUnavailable):
            await feed.open(group("b"))
    assert worker.idle
    assert len(asyncio.all_tasks()) == 1


async def test_a_reader_that_is_cancelled_leaves_nothing_behind() -> None:
    worker = ScriptedWorker(lambda *_: "w " * 9, pace=Gate())

    async def read() -> None:
        async with Feed(worker, 1.0, never) as feed:
            await feed.open(group("a"))
            await feed.open(group("b"))
            while await feed.next() is not None:
                pass

    task = asyncio.create_task(read())
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.idle
    assert len(asyncio.all_tasks()) == 1
