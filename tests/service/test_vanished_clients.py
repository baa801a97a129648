"""Clients that leave a real engine of a tiny model: its pages are what they were before."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from model.contract import Prompt
from model.engine.engine import Engine
from tests.broker_world import until
from tests.model.host import TINY
from tests.service.sessions.support import LIVE
from tests.service.support import Running, running
from tests.service.test_holds import tiny_backend, unused

IDS = list(range(5, 29))
ANSWER = 64
"""Tokens, of which each takes STEP_S: nobody here waits for all of them."""
STEP_S = 0.02


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.step

    def slow(engine: Engine) -> None:
        time.sleep(STEP_S)
        step(engine)

    monkeypatch.setattr(Engine, "step", slow)


@pytest.fixture
async def served(parity_fixtures: Path, slowly: None) -> AsyncIterator[Running]:
    """With pages in use already: a prefix that is held."""
    backend = tiny_backend(parity_fixtures)
    async with running(unused, backend=backend, session_hold_seconds=0) as server:
        await until(lambda: backend.status().state == "ready")
        await server.gateway.holds.hold(Prompt.of_tokens([*range(40, 64)]))
        await until(lambda: backend.status().held_pages > 0)
        await until(lambda: backend.status().pages_used == backend.status().held_pages)
        yield server


def state_of(server: Running) -> tuple[int, int, int, int]:
    """Pages, groups (the hold is one), paths that decode, paths that wait."""
    status = server.backend.status()
    return status.pages_used, status.groups, status.running, status.waiting


async def ask(server: Running, n: int = 1, stream: bool = True) -> asyncio.StreamWriter:
    body = {"model": "tiny", "prompt": IDS, "max_tokens": ANSWER, "n": n, "ignore_eos": True}
    content = json.dumps({**body, "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode() + content)
    return writer


async def amid_a_stream(server: Running) -> int:
    return await _amid(server, stream=True)


async def amid_an_answer(server: Running) -> int:
    return await _amid(server, stream=False)


async def _amid(server: Running, *, stream: bool) -> int:
    before = state_of(server)
    writer = await ask(server, stream=stream)
    await until(lambda: state_of(server)[2] == 1)
    assert state_of(server)[0] > before[0]
    writer.transport.abort()
    return ANSWER


async def in_the_queue(server: Running) -> int:
    before, rows = state_of(server), TINY.max_rows
    running = await ask(server, n=rows)
    await until(lambda: state_of(server)[2] == rows)
    queued = [await ask(server, stream=bool(number % 2)) for number in range(4)]
    await until(lambda: state_of(server)[3] > 0)
    for writer in queued:
        writer.transport.abort()
    await until(lambda: state_of(server)[1:] == (before[1] + 1, rows, 0))
    running.transport.abort()
    return rows * ANSWER


async def amid_a_live_turn(server: Running) -> int:
    before, tokens = state_of(server), 48
    async with connect(f"ws://127.0.0.1:{server.port}{LIVE}") as socket:
        config = {"maxOutputTokens": tokens, "temperature": 0}
        setup = {"model": "models/tiny", "generationConfig": config}
        await socket.send(json.dumps({"setup": setup}))
        assert "setupComplete" in json.loads(await socket.recv())
        await socket.send(json.dumps({"realtimeInput": {"text": "hi"}}))
        await until(lambda: state_of(server)[2] == 1)
        assert state_of(server)[0] > before[0]
        socket.transport.abort()
    return tokens


async def test_pages_are_back_when_clients_vanish(served: Running) -> None:
    """In one server: what takes time here is its start."""
    for vanish in (amid_a_stream, amid_an_answer, in_the_queue, amid_a_live_turn):
        before, made = state_of(served), served.backend.status().decode_tokens
        asked = await vanish(served)
        await until(lambda: state_of(served) == before)  # noqa: B023 (awaited here)
        computed = served.backend.status().decode_tokens - made
        assert computed < asked, "nothing is computed to its end for nobody"
