"""The benchmark's client reads streams of different servers alike."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.client import Client, RequestFailed


def _event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def _choice(index: int, finish: str | None = None, **fields: object) -> dict[str, object]:
    return {"index": index, "finish_reason": finish, **fields}


@asynccontextmanager
async def _server(pieces: Sequence[bytes], status: str = "200 OK") -> AsyncGenerator[str]:
    """Answers any request with these pieces, each sent on its own."""

    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            await reader.readexactly(length)
            writer.write(f"HTTP/1.1 {status}\r\nconnection: close\r\n\r\n".encode())
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            done.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await done.wait()


async def test_an_event_cut_in_two_arrives_with_its_second_part() -> None:
    whole = _event(choices=[_choice(0, delta={"content": "a"})])
    last = _event(choices=[_choice(0, "length", delta={})]) + b"data: [DONE]\n\n"
    async with _server([whole[:20], whole[20:], last]) as url, Client(url, "m") as client:
        done = await client.ask("x", new=2)
    assert len(done.arrivals[0]) == 1
    assert done.finished == {0: "length"}
    assert done.sent < done.first < done.ended


async def test_gaps_are_taken_within_an_answer_and_not_between_answers() -> None:
    pieces = [
        _event(choices=[_choice(0, text="a")]),
        _event(choices=[_choice(1, text="b")]),
        _event(choices=[_choice(0, text="c")]),
        _event(choices=[_choice(0, "length"), _choice(1, "length")]),
    ]
    async with _server(pieces) as url, Client(url, "m", "completions") as client:
        done = await client.ask("x", new=2, n=2)
    (gap,) = done.gaps()
    assert gap >= 0.03


async def test_roles_and_empty_pieces_are_no_tokens_and_usage_is_kept() -> None:
    pieces = [
        _event(choices=[_choice(0, delta={"role": "assistant", "content": None})]),
        _event(choices=[_choice(0, delta={"role": "assistant", "content": ""})]),
        _event(choices=[_choice(0, "length", delta={})]),
        _event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 1}),
    ]
    async with _server(pieces) as url, Client(url, "m") as client:
        done = await client.ask("x", new=1)
    assert done.arrivals == {}
    assert done.first == done.ended
    assert done.usage.prompt_tokens == 7


@pytest.mark.parametrize(
    ("status", "pieces", "says"),
    [
        ("429 Too Many Requests", [b'{"error": "full"}'], "429"),
        ("200 OK", [_event(error={"message": "the model failed"})], "the model failed"),
        ("200 OK", [_event(choices=[_choice(0, text="a")])], "ended before any answer"),
    ],
)
async def test_refusals_and_broken_streams_are_failures(
    status: str, pieces: list[bytes], says: str
) -> None:
    async with _server(pieces, status) as url, Client(url, "m") as client:
        with pytest.raises(RequestFailed, match=says):
            await client.ask("x", new=1)
