"""Groups between a transport and the requests that read them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import (
    Abort,
    Command,
    Extend,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
    TokenLogprob,
    WorkerUnavailable,
)
from service.workers.streams import GroupStreams


def group(name: str = "g", paths: int = 2) -> Group:
    sampling = SamplingParams(max_tokens=8)
    requests = tuple(PathRequest(index=i, sampling=sampling) for i in range(paths))
    return Group(id=name, prompt=Prompt.of_tokens([1, 2]), paths=requests)


def output(path: int, token: int, *, last: bool = False) -> PathOutput:
    return PathOutput(
        group_id="g",
        path=path,
        tokens=(token,),
        text=chr(65 + token % 26),
        logprobs=(TokenLogprob(id=token, logprob=-1.0),),
        finish=Finish(reason="stop") if last else None,
    )


async def test_entering_submits_and_events_come_until_it_is_closed() -> None:
    sent: list[Command] = []
    streams = GroupStreams(sent.append)
    events = [
        GroupStarted(group_id="g", prompt_tokens=2),
        output(0, 1, last=True),
        output(1, 2, last=True),
        GroupClosed(group_id="g"),
    ]
    async with streams.open(group()) as stream:
        assert sent == [Submit(group=group())]
        streams.deliver(events)
        assert [event async for event in stream] == events
    # It ended by itself: nothing is left to abort.
    assert len(sent) == 1
    assert len(streams) == 0


async def test_a_reader_that_waits_is_woken() -> None:
    streams = GroupStreams(lambda command: None)
    async with streams.open(group()) as stream:
        reader = asyncio.create_task(anext(aiter(stream)))
        await asyncio.sleep(0)
        assert not reader.done()
        streams.deliver([output(0, 1)])
        assert await reader == output(0, 1)


@pytest.mark.parametrize("how", ["return", "raise", "cancel"])
async def test_leaving_early_aborts_the_whole_group(how: str) -> None:
    sent: list[Command] = []
    streams = GroupStreams(sent.append)

    async def use() -> None:
        async with streams.open(group()):
            if how == "raise":
                raise KeyError
            if how == "cancel":
                await asyncio.sleep(3600)

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sent[-1] == Abort(group_id="g", paths=None)
    # What still comes for it is dropped.
    streams.deliver([output(0, 1), GroupClosed(group_id="g")])
    assert len(streams) == 0


async def test_extend_and_abort_are_passed_on() -> None:
    sent: list[Command] = []
    streams = GroupStreams(sent.append)
    more = (PathRequest(index=2, sampling=SamplingParams(max_tokens=1)),)
    async with streams.open(group()) as stream:
        await stream.extend(more)
        await stream.abort([1])
        await stream.abort()
    assert sent[1:4] == [
        Extend(group_id="g", paths=more),
        Abort(group_id="g", paths=(1,)),
        Abort(group_id="g", paths=None),
    ]


async def test_a_submit_that_is_refused_leaves_nothing_behind() -> None:
    def refuse(command: Command) -> None:
        raise WorkerUnavailable("nobody")

    streams = GroupStreams(refuse)
    with pytest.raises(WorkerUnavailable):
        async with streams.open(group()):
            pass
    assert len(streams) == 0


async def test_the_same_id_twice_is_a_programming_error() -> None:
    streams = GroupStreams(lambda command: None)
    async with streams.open(group()):
        with pytest.raises(ValueError, match="open already"):
            await streams.open(group()).__aenter__()
        assert len(streams) == 1


async def test_when_the_worker_is_gone_every_reader_is_told() -> None:
    streams = GroupStreams(lambda command: None)
    async with streams.open(group("a")) as a, streams.open(group("b")) as b:
        streams.fail_all("unavailable", "gone")
        for stream, name in ((a, "a"), (b, "b")):
            events = [event async for event in stream]
            assert events == [GroupFailed(group_id=name, code="unavailable", message="gone")]


@given(
    produced=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200),
)
def test_a_slow_reader_loses_nothing_and_holds_one_output_per_path(produced) -> None:
    """Whatever the interleaving of tokens and reads, each path's tokens come once, in order."""

    async def run() -> None:
        streams = GroupStreams(lambda command: None)
        expected: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
        seen: dict[int, list[PathOutput]] = {0: [], 1: [], 2: [], 3: []}
        async with streams.open(group(paths=4)) as stream:
            events = aiter(stream)

            async def read() -> None:
                event = await anext(events)
                if isinstance(event, PathOutput):
                    seen[event.path].append(event)

            for token, (path, then_read) in enumerate(produced):
                streams.deliver([output(path, token)])
                expected[path].append(token)
                assert stream.buffered <= 4
                if then_read:
                    await read()
            for path in range(4):
                streams.deliver([output(path, 7, last=True)])
                expected[path].append(7)
            streams.deliver([GroupClosed(group_id="g")])
            assert stream.buffered <= 5
            rest = [event async for event in events]
        assert rest[-1] == GroupClosed(group_id="g")
        for event in rest[:-1]:
            assert isinstance(event, PathOutput)
            seen[event.path].append(event)
        for path, outputs in seen.items():
            tokens = [token for event in outputs for token in event.tokens]
            assert tokens == expected[path]
            assert "".join(e.text for e in outputs) == "".join(chr(65 + t % 26) for t in tokens)
            assert [lp.id for e in outputs for lp in e.logprobs] == tokens
            assert [e.finish is not None for e in outputs] == [False] * (len(outputs) - 1) + [True]

    asyncio.run(run())
