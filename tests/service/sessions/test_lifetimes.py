"""How sessions end, what they may use, and that nothing of them stays behind."""

import asyncio
import contextlib
import json
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.scripted import Gate, ScriptedWorker
from tests.service.guard.clock import Hands
from tests.service.sessions.support import LIVE, live, realtime, running, socket_base, text_of
from tests.service.support import MODEL, eventually
from tests.service.test_ops import at, scrape

KEY = "right-right-right-right"


def greet(group, path):
    return "hello from here"


def open_sessions(server) -> int:
    return sum(server.gateway.metrics.registry.get_sample_value(
        "pollux:open_sessions",
        {"model_name": MODEL, "engine": "0", "protocol": protocol},
    ) for protocol in ("gemini_live", "openai_realtime"))  # fmt: skip


async def test_open_sessions_are_counted_by_protocol() -> None:
    async with running(greet) as server:
        async with live(server) as one, realtime(server), realtime(server):
            await one.set_up()
            samples = await scrape(server.url)
            assert at(samples, "pollux:open_sessions", protocol="gemini_live") == 1
            assert at(samples, "pollux:open_sessions", protocol="openai_realtime") == 2
        await eventually(lambda: open_sessions(server) == 0)


async def test_an_idle_session_is_closed() -> None:
    async with running(greet, session_idle_timeout=0.05) as server:
        async with live(server) as client:
            await client.set_up()
            assert (await client.end())[1:] == (1001, "the session was idle for too long")
        async with realtime(server) as client:
            assert (await client.end())[1] == 1001
        await eventually(lambda: open_sessions(server) == 0)


async def test_silence_counts_only_when_no_answer_runs() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b", pace=gate)
    async with running(worker, session_idle_timeout=0.1) as server, live(server) as client:
        await client.set_up()
        await client.say("hi")
        await eventually(lambda: worker.groups)
        await asyncio.sleep(0.25)
        gate.release()
        heard, code, _ = await client.end()
    assert (text_of(heard), code) == ("a b", 1001)


async def test_a_session_is_warned_before_its_end() -> None:
    async with running(greet, session_lifetime=0.5) as server, live(server) as client:
        await client.set_up()
        heard, code, reason = await client.end()
    assert (code, reason) == (1001, "the session has lasted as long as it may")
    (warning,) = heard
    assert 0 <= float(warning["goAway"]["timeLeft"].removesuffix("s")) <= 0.05


async def test_the_end_of_a_session_ends_its_turn() -> None:
    worker = ScriptedWorker(lambda g, p: "a", pace=Gate())
    async with running(worker, session_lifetime=0.2) as server, realtime(server) as client:
        await client.say("hi")
        await client.send({"type": "response.create"})
        assert (await client.end())[1] == 1001
        assert worker.idle
        assert worker.groups[0].aborted == [0]


async def test_no_setup_in_time_closes_the_socket() -> None:
    async with (
        running(greet, socket_first_message_timeout=0.05) as server,
        live(server) as client,
    ):
        assert (await client.end())[1:] == (1008, "no setup came within 0.05 seconds")


async def test_too_many_messages_close_the_session() -> None:
    async with (
        running(greet, session_messages_per_minute=3) as server,
        realtime(server) as client,
    ):
        for _ in range(4):
            await client.send({"type": "?"})
        heard, code, reason = await client.end()
    assert (len(heard), code, reason) == (3, 1008, "more than 3 messages a minute")


async def test_a_session_has_so_many_turns_and_bytes() -> None:
    async with running(greet, session_max_turns=1, session_max_bytes=2000) as server:
        async with realtime(server) as client:
            assert (await client.ask("one"))[-1]["type"] == "response.done"
            assert "1 turns" in (await client.ask("two"))[-1]["error"]["message"]
            item = {"type": "message", "role": "user"}
            item["content"] = [{"type": "input_text", "text": "x" * 1900}]
            told = await client.told({"type": "conversation.item.create", "item": item})
            assert "it may have 2000 bytes" in told["error"]["message"]
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
            await client.say("two")
            assert (await client.end())[1:] == (
                1007,
                "a session may have 1 turns; begin another",
            )


async def test_a_message_may_be_as_large_as_a_body() -> None:
    async with running(greet, max_body_bytes=1000) as server, live(server) as client:
        await client.set_up()
        await client.send("x" * 1001)
        assert (await client.end())[1] == 1009


async def test_no_more_sessions_than_may_be_are_let_in() -> None:
    async with running(greet, max_sessions=1) as server:
        async with realtime(server):
            async with live(server) as client:
                heard, code, reason = await client.end()
                assert (heard, code) == ([], 1013)
                assert "1 sessions open" in reason
            with pytest.raises(InvalidStatus, match="429"):
                async with realtime(server):
                    pass
        await eventually(lambda: open_sessions(server) == 0)
        async with realtime(server):
            pass


async def test_every_turn_is_a_request_of_its_key() -> None:
    hands = Hands()
    keys = f"alice={KEY}"
    async with (
        running(greet, api_keys=keys, clock=hands) as server,
        live(server, f"{LIVE}?access_token={KEY}") as client,
    ):
        await client.set_up()
        await client.ask("one")
        await client.ask("two")
        samples = await scrape(server.url)
    assert at(samples, "pollux:key_requests_total", key_name="alice") == 2
    assert at(samples, "pollux:key_tokens_total", key_name="alice") > 6


@pytest.mark.parametrize(
    ("path", "status"), [(LIVE, "UNAUTHENTICATED"), (f"/v1/realtime?model={MODEL}", None)]
)
async def test_a_wrong_key_is_told_in_the_words_of_the_protocol(path: str, status) -> None:
    async with running(greet, api_keys=KEY) as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(socket_base(server) + path)
    assert refused.value.response.status_code == 401
    error = json.loads(refused.value.response.body)["error"]
    assert error.get("status") == status
    assert error["code"] == (401 if status else "invalid_api_key")


@pytest.mark.parametrize("open_session", [live, realtime])
async def test_a_client_that_vanishes_leaves_nothing_behind(open_session) -> None:
    worker = ScriptedWorker(lambda g, p: "a", pace=Gate())
    async with running(worker) as server:
        async with open_session(server) as client:
            if open_session is live:
                await client.set_up()
                await client.say("hi")
            else:
                await client.say("hi")
                await client.send({"type": "response.create"})
            await eventually(lambda: worker.groups)
            client.socket.transport.abort()
        await eventually(lambda: worker.idle)
        assert worker.groups[0].aborted == [0]
        await eventually(lambda: open_sessions(server) == 0)
        assert server.gateway.admission.requests == 0


async def test_a_client_that_takes_nothing_loses_its_turn() -> None:
    """It asks for endless text and reads none of it; others are served meanwhile."""
    worker = ScriptedWorker(lambda g, p: ("y" * 50_000 + " ") * 400)
    async with running(worker, session_write_timeout=0.2) as server:
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(raw, ("127.0.0.1", server.port))
            client = await connect(socket_base(server) + LIVE, sock=raw, compression=None)
            await client.send(json.dumps({"setup": {"model": MODEL}}))
            await client.recv()
            client.transport.pause_reading()
            turn = {"turns": [{"parts": [{"text": "hi"}]}], "turnComplete": True}
            await client.send(json.dumps({"clientContent": turn}))
            await eventually(lambda: worker.groups and worker.idle)
            await eventually(lambda: open_sessions(server) == 0)
            assert worker.groups[0].aborted == [0]
            assert server.gateway.admission.requests == 0
            client.transport.abort()


async def test_on_shutdown_idle_sessions_close_and_running_turns_end() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server:
        idle = await connect(socket_base(server) + LIVE)
        await idle.send(json.dumps({"setup": {"model": MODEL}}))
        await idle.recv()
        busy = await connect(f"{socket_base(server)}/v1/realtime?model={MODEL}")
        content = [{"type": "input_text", "text": "hi"}]
        item = {"type": "message", "role": "user", "content": content}
        await busy.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await busy.send(json.dumps({"type": "response.create"}))
        await eventually(lambda: worker.groups)
        reading = asyncio.ensure_future(_all_of(busy))
        asyncio.get_running_loop().call_later(0.2, gate.release)
    heard = await reading
    assert heard[-1]["response"]["status"] == "completed"
    assert busy.close_code == 1012
    assert await _all_of(idle) == []
    assert (idle.close_code, idle.close_reason) == (1012, "the server is shutting down")


async def test_after_the_grace_a_running_turn_is_cut(caplog) -> None:
    worker = ScriptedWorker(lambda g, p: "a", pace=Gate())
    async with running(worker, shutdown_grace=0.5) as server:
        busy = await connect(socket_base(server) + LIVE)
        await busy.send(json.dumps({"setup": {"model": MODEL}}))
        turn = {"turns": [{"parts": [{"text": "hi"}]}], "turnComplete": True}
        await busy.send(json.dumps({"clientContent": turn}))
        await eventually(lambda: worker.groups)
    assert [list(message) for message in await _all_of(busy)] == [["setupComplete"]]
    assert busy.close_code == 1012
    assert worker.idle
    assert "Traceback" not in caplog.text


async def _all_of(client) -> list[dict]:
    heard = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.append(json.loads(await client.recv()))
    return heard


async def test_many_idle_sessions_have_one_task_each_and_no_turn() -> None:
    async with running(greet) as server:
        before = len(asyncio.all_tasks())
        clients = [await connect(socket_base(server) + LIVE) for _ in range(50)]
        for client in clients:
            await client.send(json.dumps({"setup": {"model": MODEL}}))
            await client.recv()
        # Each client has a task of its own here, and each session that of its socket.
        assert len(asyncio.all_tasks()) - before <= 2 * len(clients)
        await asyncio.gather(*(client.close() for client in clients))
        await eventually(lambda: open_sessions(server) == 0)
