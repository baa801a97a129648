"""WebSockets in the log: one line each, when they are closed; a session's turns at level debug."""

import contextlib
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.scripted import Gate, ScriptedWorker
from tests.service.guard.test_door import KEY, KEYS, WRONG
from tests.service.log_support import Written, written
from tests.service.sessions.support import LIVE, Live, running
from tests.service.support import MODEL, eventually
from tests.service.test_routed import POLICY, three_of_four

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "the secret question"}]}


def answer(group, path):
    return "a secret answer"


async def ask(url: str, message: object, **options) -> None:
    """One question of /v1/stream, to the end of its socket."""
    async with connect(url, **options) as client:
        await client.send(json.dumps(message))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_a_question_over_a_socket_has_one_line_with_its_figures(level: str) -> None:
    with written(log_level=level) as log:
        async with running(answer, log_level=level, api_keys=KEYS) as server:
            url = f"{server.socket_url}?key={KEY}"
            await ask(url, ASK, additional_headers={"x-request-id": "mine"})
            entry = await log.one()
            [group] = server.worker.groups
    assert (entry["method"], entry["path"], entry["protocol"]) == (
        *("WEBSOCKET", "/v1/stream"),
        "pollux_stream",
    )
    assert (entry["status"], entry["close_code"]) == (101, 1000)
    assert (entry["request_id"], entry["key_name"]) == ("mine", "alice")
    assert (entry["model"], entry["stream"], entry["finish"]) == (MODEL, True, ["stop"])
    assert entry["prompt_tokens"] == len(group.group.prompt)
    assert entry["completion_tokens"] == sum(group.produced.values())
    assert "secret" not in log.text()
    assert KEY not in log.text()
    if level == "info":
        about = [entry["logger"] for entry in log.entries() if "socket" in str(entry).lower()]
        assert about == ["pollux.access"]


async def test_a_vote_over_a_socket_says_how_it_was_decided() -> None:
    with written() as log:
        async with running(three_of_four) as server:
            await ask(server.socket_url, {**ASK, "uncertainty_routing": POLICY})
            entry = await log.one()
    assert (entry["route"], entry["k"], entry["samples_run"]) == ("majority", 4, 4)


async def test_a_socket_that_is_closed_for_a_mistake_says_which() -> None:
    with written() as log:
        async with running(answer) as server:
            await ask(server.socket_url, {**ASK, "model": "other"})
            entry = await log.one()
    assert (entry["status"], entry["close_code"]) == (101, 1008)
    assert (entry["error"], entry["error_code"]) == ("unknown_model", "model_not_found")


async def test_a_socket_that_is_refused_has_its_status() -> None:
    with written() as log:
        async with running(answer, api_keys=KEYS) as server:
            headers = {"authorization": f"Bearer {WRONG}"}
            with pytest.raises(InvalidStatus):
                await ask(server.socket_url, ASK, additional_headers=headers)
            entry = await log.one()
    assert (entry["status"], entry["error"]) == (401, "unauthenticated")
    assert "close_code" not in entry


async def test_a_client_that_goes_has_its_own_close_code() -> None:
    gate = Gate()
    with written() as log:
        async with running(ScriptedWorker(answer, pace=gate)) as server:
            async with connect(server.socket_url) as client:
                await client.send(json.dumps(ASK))
                await eventually(lambda: server.worker.groups)
                await client.close(4001)
            entry = await log.one()
    assert entry["close_code"] == 4001


def turns(log: Written) -> list[dict]:
    return [entry for entry in log.entries() if entry["logger"] == "pollux.access.turns"]


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_a_session_has_one_line_for_all_turns_and_at_debug_one_for_each(level: str) -> None:
    with written(log_level=level) as log:
        async with running(answer, log_level=level) as server:
            url = f"ws{server.url.removeprefix('http')}{LIVE}"
            async with connect(url) as socket:
                client = Live(socket)
                await client.set_up()
                for question in ("the secret question", "another secret"):
                    await client.say(question)
                    await client.turn()
            entry = await log.one()
            groups = server.worker.groups
            assert (entry["protocol"], entry["status"], entry["turns"]) == ("gemini_live", 101, 2)
            assert entry["close_code"] == 1000
            assert (entry["model"], entry["finish"]) == (MODEL, ["stop"])
            assert entry["prompt_tokens"] == sum(len(g.group.prompt) for g in groups)
            assert entry["completion_tokens"] == sum(sum(g.produced.values()) for g in groups)
            assert "secret" not in log.text()
            told = turns(log)
            if level == "info":
                assert told == []
                return
            assert [turn["message"] for turn in told] == ["turn 1", "turn 2"]
            assert [turn["prompt_tokens"] for turn in told] == [len(g.group.prompt) for g in groups]
            assert {turn["request_id"] for turn in told} == {entry["request_id"]}


async def test_a_session_that_a_mistake_ends_says_which() -> None:
    with written() as log:
        async with running(answer) as server:
            url = f"ws{server.url.removeprefix('http')}{LIVE}"
            async with connect(url) as socket:
                await socket.send(json.dumps({"setup": {"model": "models/other"}}))
                with contextlib.suppress(ConnectionClosed):
                    await socket.recv()
            entry = await log.one()
    assert (entry["error"], entry["close_code"]) == ("unknown_model", 1008)
    assert entry["turns"] == 0


async def test_a_turn_that_is_interrupted_has_its_line() -> None:
    gate = Gate()
    with written(log_level="debug") as log:
        async with running(ScriptedWorker(answer, pace=gate)) as server:
            url = f"ws{server.url.removeprefix('http')}/v1/realtime?model={MODEL}"
            async with connect(url) as socket:
                await socket.recv()
                said = {"role": "user", "content": [{"type": "input_text", "text": "q"}]}
                for event in (
                    {"type": "conversation.item.create", "item": {"type": "message", **said}},
                    {"type": "response.create"},
                ):
                    await socket.send(json.dumps(event))
                await eventually(lambda: server.worker.groups)
                gate.step(1)
                await eventually(lambda: server.worker.groups[0].produced[0])
                await socket.send(json.dumps({"type": "response.cancel"}))
                await eventually(lambda: turns(log))
            entry = await log.one()
    [turn] = turns(log)
    assert turn["finish"] == entry["finish"] == ["abort"]
    assert (entry["protocol"], entry["turns"]) == ("openai_realtime", 1)


async def test_a_session_whose_prompts_are_logged_has_them_with_its_turns() -> None:
    with written(log_level="debug", log_prompts=True) as log:
        async with running(answer, log_level="debug", log_prompts=True) as server:
            url = f"ws{server.url.removeprefix('http')}{LIVE}"
            async with connect(url) as socket:
                client = Live(socket)
                await client.set_up()
                await client.say("one")
                await client.turn()
            entry = await log.one()
    [turn] = turns(log)
    assert (turn["prompt"], turn["answer"]) == ("user: one", ["a secret answer"])
    assert "prompt" not in entry
