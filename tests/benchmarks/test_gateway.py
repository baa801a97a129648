"""The gateway's benchmark finds what a stream lacks, and runs against the real server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gateway import asks, loads, rows, table
from benchmarks.gateway.asks import Protocol
from benchmarks.gateway.costs import Process
from benchmarks.gateway.loads import Target
from benchmarks.gateway.rows import Figure
from benchmarks.gateway.scripted import ScriptedBackend
from benchmarks.gateway.tokens import BadStream, check, token
from tests.service.support import running

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
TAG, COUNT = 7, 12


def reply(places: list[int], tag: int = TAG) -> bytes:
    """A chat stream with these tokens, one event and one chunk each."""
    raw = HEAD
    for place in places:
        event = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
        event %= token(tag, 0, place).encode()
        raw += b"%x\r\n%b\r\n" % (len(event), event)
    return raw + b"0\r\n\r\n"


def verify(raw: bytes) -> int:
    return asks.verify(asks.CHAT, raw, TAG, COUNT)


def test_a_whole_stream_is_accepted() -> None:
    assert verify(reply(list(range(COUNT)))) == COUNT


@given(st.data())
def test_a_token_that_is_lost_doubled_or_moved_is_found(data: st.DataObject) -> None:
    places = list(range(COUNT))
    at = data.draw(st.integers(0, COUNT - 1))
    match data.draw(st.sampled_from(["lost", "doubled", "moved"])):
        case "lost":
            del places[at]
        case "doubled":
            places.insert(at, places[at])
        case _:
            other = data.draw(st.integers(0, COUNT - 1).filter(lambda one: one != at))
            places.insert(other, places.pop(at))
    with pytest.raises(BadStream):
        verify(reply(places))


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 2, *range(3, COUNT)], "token 2 of stream 7.0 is early: 1 was due"),
        ([0, 0, *range(1, COUNT)], "token 0 of stream 7.0 is repeated or late: 1 was due"),
        ([0, 1], "stream 7.0 has 2 of 12 tokens"),
    ],
)
def test_what_is_wrong_is_said(places: list[int], said: str) -> None:
    with pytest.raises(BadStream, match=said):
        verify(reply(places))


def test_tokens_of_another_stream_are_found() -> None:
    with pytest.raises(BadStream, match="came in stream"):
        check(token(8, 0, 0), TAG, 0, 1)


def test_a_stream_that_was_cut_off_is_found() -> None:
    with pytest.raises(BadStream, match="cut off"):
        verify(reply(list(range(COUNT))).removesuffix(b"0\r\n\r\n"))


@pytest.mark.parametrize("protocol", [asks.CHAT, asks.COMPLETIONS, asks.GEMINI, asks.SOCKET])
async def test_streams_of_the_real_gateway_are_measured_whole(protocol: Protocol) -> None:
    backend = ScriptedBackend()
    async with running(lambda group, path: "", backend=backend, max_requests=64) as server:
        target = Target("here", server.port, Process.of_this(), backend.card.name)
        done = await loads.streams(target, protocol, 8, 20)
    assert (done.tokens, done.events) == (160, 160), "every token came as an event of its own"
    assert done.together == 8


async def test_a_routed_question_reaches_its_answer_over_the_scripted_worker() -> None:
    backend = ScriptedBackend(answers=True)
    async with running(lambda group, path: "", backend=backend, max_samples=64) as server:
        target = Target("here", server.port, Process.of_this(), backend.card.name)
        sizes = rows.Sizes(routed=2)
        figures = [figure async for figure in rows.routed(target, sizes)]
    assert [figure.row for figure in figures] == [
        "routed, k 16, CPU ms",
        "routed, k 16, p50 ms",
        "n = 17, not routed, CPU ms",
        "n = 17, not routed, p50 ms",
    ]


async def test_sockets_that_ask_nothing_are_counted() -> None:
    backend = ScriptedBackend()
    async with running(lambda group, path: "", backend=backend) as server:
        target = Target("here", server.port, Process.of_this(), backend.card.name)
        idle = await loads.idle_sockets(target, asks.SOCKET.path, 3, settle=0.01)
    assert idle.sockets == 3


def test_ratios_say_how_many_times_as_good_we_are() -> None:
    results = {
        "Pollux": [Figure("rate", 200.0), Figure("time", 2.0, less=True)],
        "peer": [Figure("rate", 100.0), Figure("time", 6.0, less=True)],
    }
    ours, theirs = results["Pollux"], results["peer"]
    assert table.cell(theirs[0], ours[0]) == "100 2x"
    assert table.cell(theirs[1], ours[1]) == "6.00 3x"
    assert table.cell(None, ours[0]) == ""
