"""Who does not read, or is gone, holds nothing: neither pages nor memory nor descriptors."""

import asyncio
import contextlib
import json
import socket

import httpx
import pytest

from service.commands import serve
from service.commands.serve import bind
from service.guard.liveness import IDLE_S
from tests.scripted import Gate, ScriptedWorker
from tests.scripts import Chunk, PathScript
from tests.service.support import MODEL, eventually, running, settings_of

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
STREAMS = [
    (CHAT, {**ASK, "stream": True}),
    ("/v1/responses", {"model": MODEL, "input": "hello", "stream": True}),
    (
        f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "hello"}]}]},
    ),
]
LARGE = 100_000
CHUNKS = 1000
"""Of LARGE characters each: far more than the kernel's buffers take."""


@pytest.fixture
def no_kernel(monkeypatch) -> None:
    """Linux cuts a full connection too, by TCP_USER_TIMEOUT: without it, only the server can."""
    monkeypatch.setattr(serve, "watch_peers", lambda *_: None)


def endless(group, path):
    return PathScript(tuple(Chunk((1000,), "x" * LARGE) for _ in range(CHUNKS)))


def deaf() -> socket.socket:
    """A socket whose kernel takes next to nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    return client


def request(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def ask(port: int, path: str, body: object) -> socket.socket:
    client = deaf()
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, request(path, body))
    return client


async def shake_hands(port: int) -> socket.socket:
    client = deaf()
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(
        client,
        b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 101")
    return client


def many(**changes: object) -> dict[str, object]:
    return {"default_max_tokens": 2000, **changes}


def stopped_early(worker: ScriptedWorker) -> bool:
    """It was aborted, and the answer was never made whole: what waited was bounded."""
    [stream] = worker.groups
    return stream.aborted == [0] and stream.produced[0] < CHUNKS


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_a_reader_that_stops_is_cut_and_its_group_aborted(path, body) -> None:
    worker = ScriptedWorker(endless)
    async with running(worker, **many(write_timeout=0.1)) as server:
        with contextlib.closing(await ask(server.port, path, body)):
            await eventually(lambda: worker.groups and worker.idle, 10_000)
            assert stopped_early(worker)


@pytest.mark.usefixtures("no_kernel")
async def test_a_websocket_reader_that_stops_is_cut_and_its_group_aborted() -> None:
    worker = ScriptedWorker(endless)
    async with running(worker, **many(write_timeout=0.1)) as server:
        with contextlib.closing(await shake_hands(server.port)) as client:
            text = json.dumps(ASK).encode()
            frame = b"\x81" + bytes([0x80 | len(text)]) + b"\x00" * 4 + text
            await asyncio.get_running_loop().sock_sendall(client, frame)
            await eventually(lambda: worker.groups and worker.idle, 10_000)
            assert stopped_early(worker)


async def test_a_reader_that_waits_within_its_time_gets_everything() -> None:
    worker = ScriptedWorker(endless)
    async with running(worker, **many(write_timeout=30)) as server:
        client = await ask(server.port, CHAT, {**ASK, "stream": True, "max_tokens": 60})
        reader, writer = await asyncio.open_connection(sock=client, limit=1 << 16)
        await eventually(lambda: worker.groups)
        before = -1
        while worker.groups[0].produced[0] != before:  # until it is held up
            before = worker.groups[0].produced[0]
            await asyncio.sleep(0.05)
        assert not worker.idle
        seen = b""
        while not seen.endswith(b"0\r\n\r\n"):
            seen = (seen + await reader.read(1 << 16))[-100:]
        assert b"[DONE]" in seen
        writer.close()
        await writer.wait_closed()
        assert worker.groups[0].aborted == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["reset", "half-close"])
async def test_a_client_that_vanishes_while_it_waits_is_aborted(stream: bool, how: str) -> None:
    worker = ScriptedWorker(endless, pace=Gate())  # as if it queued: nothing ever comes
    async with running(worker) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(CHAT, {**ASK, "stream": stream}))
        await eventually(lambda: worker.groups)
        if how == "reset":
            writer.transport.abort()
        else:
            writer.write_eof()
        await eventually(lambda: worker.idle)
        assert worker.groups[0].aborted == [0]
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_more_connections_than_may_be_are_told_so_at_once() -> None:
    async with running(endless, max_connections=2) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert (await reader.read()).startswith(b"HTTP/1.1 503")
        for _, other in [*held, (reader, writer)]:
            other.close()
            await other.wait_closed()
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/healthz")).status_code == 200


async def test_a_connection_that_is_only_kept_makes_room_for_a_new_one() -> None:
    async with running(endless, max_connections=1, keep_alive_timeout=600) as server:
        writers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.append(writer)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.usefixtures("no_kernel")
async def test_a_flood_of_pings_that_nobody_reads_the_pongs_of_is_cut() -> None:
    async with running(endless, write_timeout=0.1) as server:
        client = await shake_hands(server.port)
        loop = asyncio.get_running_loop()
        ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125

        async def flood() -> None:
            while True:
                await loop.sock_sendall(client, ping * 1000)

        with contextlib.closing(client), pytest.raises(ConnectionError):
            await flood()


async def test_a_peer_that_fell_silent_is_probed() -> None:
    with bind(settings_of(write_timeout=7.5)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == IDLE_S
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500
