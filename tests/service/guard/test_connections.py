"""What a raw connection may send: heads, trailers, requests ahead, bodies behind, frames."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from service import protocols
from service.protocols import (
    MAX_FRAGMENTS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    MAX_SOCKET_LINE,
)
from tests.scripted import Gate, ScriptedWorker
from tests.service.support import MODEL, Running, eventually, running

CHAT = "/v1/chat/completions"
ASK = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}).encode()
GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def greet(group, path):
    return "hello"


@pytest.fixture
def log(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """With uvicorn's own, which tells nobody above it."""
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addHandler(caplog.handler)
    yield caplog
    uvicorn.removeHandler(caplog.handler)


class Raw:
    """A connection that says what no client would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def reply(self) -> tuple[int, bytes]:
        """A status and its body."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """What comes until the server closes; what a reset destroyed is b""."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def flood(self, pieces: Iterable[bytes]) -> bool:
        """Whether the server closed before all was sent."""
        try:
            for piece in pieces:
                await self.send(piece)
                if self.reader.at_eof():
                    return True
        except ConnectionError:
            return True
        return False


@asynccontextmanager
async def raw(server: Running) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def endless(piece: bytes, times: int = 20_000) -> Iterable[bytes]:
    """Far more than the kernel's buffers take."""
    return (piece for _ in range(times))


def headers(count: int) -> bytes:
    """With the host there are so many."""
    return b"".join(b"x-%d: y\r\n" % number for number in range(count - 1))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET + headers(MAX_HEADERS), 200),
        (GET + headers(MAX_HEADERS + 1), 431),
        (GET + b"x: " + b"y" * (MAX_HEADER_BYTES - 100) + b"\r\n", 200),
        (GET + b"x: " + b"y" * MAX_HEADER_BYTES + b"\r\n", 431),
        (b"GET /%s HTTP/1.1\r\n" % (b"x" * (MAX_HEADER_BYTES - 100)), 404),
        (b"GET /%s HTTP/1.1\r\n" % (b"x" * MAX_HEADER_BYTES), 431),
        (HANDSHAKE + b"x: " + b"y" * (MAX_SOCKET_LINE - 1) + b"\r\n", 101),
        (HANDSHAKE + b"x: " + b"y" * MAX_SOCKET_LINE + b"\r\n", 431),
        (HANDSHAKE.replace(b"stream", b"stream?key=" + b"y" * MAX_SOCKET_LINE), 431),
    ],
)
async def test_a_head_has_bounds_also_when_it_comes_in_one_piece(head, status, log) -> None:
    async with running(greet) as server, raw(server) as client:
        await client.send(head + b"\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 %d " % status)
    assert "Traceback" not in log.text


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"),
        *("/tokenize", "/detokenize", "/v1beta/cachedContents"),
        *(f"/v1beta/models/{MODEL}:{verb}" for verb in ("generateContent", "countTokens")),
        *(f"/v1beta/models/{MODEL}:{verb}" for verb in ("streamGenerateContent", "embedContent")),
    ],
)
async def test_a_body_is_answered_at_its_limit_and_not_at_its_end(path: str) -> None:
    async with running(greet, max_body_bytes=1000) as server, raw(server) as client:
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % path.encode()
        await client.send(head + b"3e8\r\n" + b" " * 1000 + b"\r\n")
        with pytest.raises(TimeoutError):  # so many may come, and more were announced
            await asyncio.wait_for(client.reader.read(1), 0.05)
        await client.send(b"1\r\n \r\n")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 413")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        error = json.loads(await client.reader.readexactly(length))["error"]
        if path.startswith("/v1beta"):
            assert (error["code"], error["status"]) == (413, "INVALID_ARGUMENT")
        else:
            assert error["code"] == "request_too_large"


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: -1",
        b"content-length: 0x10",
        b"content-length: 99999999999999999999999",
        b"content-length: 2\r\ncontent-length: 3",
        b"content-length: 2\r\ntransfer-encoding: chunked",
        b"transfer-encoding: gzip",
        b"x-nul: a\0b",
        b"x-space : a",
    ],
)
async def test_a_head_that_could_be_read_in_two_ways_is_not_read(head: bytes) -> None:
    async with running(greet) as server, raw(server) as client:
        await client.send(POST + head + b"\r\n\r\n{}")
        assert (await client.rest()).startswith(b"HTTP/1.1 400")
        assert server.worker.groups == []


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"t: " + b"x" * 1000 + b"\r\n", id="many trailers"),
        pytest.param(b"x" * 1000, id="a trailer without an end"),
    ],
)
async def test_trailers_without_end_are_cut_while_they_come(piece: bytes) -> None:
    async with running(greet) as server, raw(server) as client:
        await client.send(CHUNKED + b"2\r\n{}\r\n0\r\nt: ")
        assert await client.flood(endless(piece))


async def test_an_extension_of_a_chunk_without_end_is_cut() -> None:
    async with running(greet) as server, raw(server) as client:
        await client.send(CHUNKED + b"2;")
        assert await client.flood(endless(b"x" * 1000))


async def test_trailers_are_read_by_nobody() -> None:
    async with running(greet) as server, raw(server) as client:
        body = b"%x\r\n%s\r\n0\r\nx-pollux-routing: {\r\n\r\n" % (len(ASK), ASK)
        await client.send(CHUNKED + body)
        status, _ = await client.reply()
        assert status == 200


async def test_a_body_in_the_smallest_chunks_is_read() -> None:
    async with running(greet) as server, raw(server) as client:
        await client.send(CHUNKED, b"1\r\n \r\n" * 40_000)
        await client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(ASK), ASK))
        assert (await client.reply())[0] == 200


async def test_so_many_requests_may_wait_behind_one_and_more_end_the_connection() -> None:
    gate = Gate()
    async with running(ScriptedWorker(greet, pace=gate)) as server:
        first = POST + b"content-length: %d\r\n\r\n%s" % (len(ASK), ASK)
        ahead = GET + b"\r\n"
        async with raw(server) as client:
            await client.send(first + ahead * MAX_PIPELINED)
            await eventually(lambda: server.worker.groups)
            gate.release()
            assert [(await client.reply())[0] for _ in range(MAX_PIPELINED + 1)] == [200] * (
                MAX_PIPELINED + 1
            )
        async with raw(server) as client:
            await client.send(first + ahead * (MAX_PIPELINED + 1))
            assert await client.rest() == b""
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/healthz")).status_code == 200


async def test_what_is_no_request_does_not_end_up_within_an_answer() -> None:
    gate = Gate()
    stream = json.dumps({**json.loads(ASK), "stream": True}).encode()
    async with running(ScriptedWorker(lambda g, p: "abc", pace=gate)) as server:
        async with raw(server) as client:
            await client.send(POST + b"content-length: %d\r\n\r\n%s" % (len(stream), stream))
            await client.head()
            await client.send(b"rubbish\r\n\r\n")
            assert b"400" not in await client.rest()
        await eventually(lambda: server.worker.idle)


async def trickle(client: Raw, piece: bytes) -> None:
    """Until the server has had enough."""
    for _ in range(1000):
        if await client.flood([piece]):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never had enough")


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(b"POST /nothing HTTP/1.1\r\ncontent-length: 999\r\n\r\n", b"x", id="a body"),
        pytest.param(GET + b"\r\n", b"\r\n", id="empty lines"),
    ],
)
async def test_who_goes_on_sending_after_the_answer_is_cut(monkeypatch, head, piece) -> None:
    monkeypatch.setattr(protocols, "HEAD_TIMEOUT_S", 0.1)
    async with running(greet, keep_alive_timeout=600) as server, raw(server) as client:
        await client.send(head)
        await client.reply()
        await trickle(client, piece)


async def test_a_body_that_ends_behind_its_answer_leaves_a_connection_for_the_next() -> None:
    one_place = {"max_connections": 1, "keep_alive_timeout": 600}
    async with running(greet, **one_place) as server, raw(server) as client:
        for _ in range(2):
            await client.send(b"POST /nothing HTTP/1.1\r\ncontent-length: 4\r\n\r\n")
            assert (await client.reply())[0] == 404
            await client.send(b"1234")
        await asyncio.sleep(0.05)
        async with raw(server) as other:  # which takes the place of one that is only kept
            await other.send(GET + b"\r\n")
            assert (await other.reply())[0] == 200


@asynccontextmanager
async def socket(server: Running) -> AsyncIterator[Raw]:
    async with raw(server) as client:
        await client.send(HANDSHAKE + b"\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 101")
        yield client


def frame(first: int, content: bytes = b"") -> bytes:
    """Masked with nothing. first: the byte with the opcode and whether it is the last."""
    assert len(content) < 126
    return bytes([first, 0x80 | len(content)]) + b"\0\0\0\0" + content


TEXT, MORE, LAST_MORE, WHOLE_TEXT = 0x01, 0x00, 0x80, 0x81


def close_code(said: bytes) -> int:
    """Of the frame that closes, the last one."""
    place = said.index(b"\x88")
    return int.from_bytes(said[place + 2 : place + 4])


async def test_a_message_has_so_many_fragments_also_empty_ones() -> None:
    async with running(greet) as server:
        async with socket(server) as client:
            await client.send(frame(TEXT, b"{"), frame(MORE) * (MAX_FRAGMENTS - 2))
            await client.send(frame(LAST_MORE, b"}"))
            said = await client.rest()
            assert (b"missing required parameter" in said, close_code(said)) == (True, 1008)
        async with socket(server) as client:
            await client.send(frame(TEXT, b"{"), frame(MORE) * MAX_FRAGMENTS)
            assert close_code(await client.rest()) == 1009


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"])
async def test_text_that_is_no_utf_8_closes_the_socket_in_one_line(content, log) -> None:
    async with running(greet) as server, socket(server) as client:
        await client.send(frame(WHOLE_TEXT, content))
        assert close_code(await client.rest()) == 1007
    assert "Traceback" not in log.text


async def test_a_frame_that_announces_more_than_may_come_is_refused_unread() -> None:
    async with running(greet, max_body_bytes=1000) as server, socket(server) as client:
        await client.send(b"\x81\xfe" + (1001).to_bytes(2) + b"\0\0\0\0")
        assert close_code(await client.rest()) == 1009


async def test_fragments_together_may_be_as_large_as_a_message() -> None:
    async with running(greet, max_body_bytes=1000) as server, socket(server) as client:
        await client.send(frame(TEXT, b"x" * 100), frame(MORE, b"x" * 100) * 9)
        await client.send(frame(MORE, b"x"))
        assert close_code(await client.rest()) == 1009


async def test_a_flood_of_messages_waits_in_the_kernel() -> None:
    """Beyond what one read brings, nothing is taken in while the first is worked on."""
    gate = Gate()
    async with running(ScriptedWorker(greet, pace=gate)) as server, socket(server) as client:
        text = b"\x81\xfe" + len(ASK).to_bytes(2) + b"\0\0\0\0" + ASK
        await client.send(text)
        await eventually(lambda: server.worker.groups)
        await client.send(frame(WHOLE_TEXT) * 1000)
        said = await client.rest()
        assert close_code(said) == 1008
        await eventually(lambda: server.worker.idle)
