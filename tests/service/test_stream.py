"""The WebSocket at /v1/stream."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from model.contract import WorkerStatus
from tests.scripted import Failure, Gate, PathScript, ScriptedWorker, say
from tests.service.support import HERMES_TEMPLATE, MODEL, eventually, running, tiny_text
from tests.service.test_routed import DECISION, POLICY, three_of_four

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


async def conversation(url: str, *messages) -> tuple[list[dict], int]:
    """Everything the server says, and the code it closes with."""
    async with connect(url) as socket:
        for message in messages:
            await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        heard = []
        try:
            while True:
                heard.append(json.loads(await socket.recv()))
        except ConnectionClosed:
            return heard, socket.close_code


async def test_plain_deltas_then_the_whole_response() -> None:
    async with running(lambda g, p: f"hello {p.index}") as server:
        heard, code = await conversation(server.socket_url, {**ASK, "n": 2})
    assert code == 1000
    *deltas, done = heard
    texts = {0: "", 1: ""}
    for delta in deltas:
        assert delta["type"] == "delta"
        texts[delta["index"]] += delta["text"]
    assert texts == {0: "hello 0", 1: "hello 1"}
    assert done["type"] == "done"
    assert done["response"]["object"] == "chat.completion"
    contents = [choice["message"]["content"] for choice in done["response"]["choices"]]
    assert contents == ["hello 0", "hello 1"]
    assert done["response"]["usage"]["completion_tokens"] == 4


async def test_calls_come_whole_with_the_response() -> None:
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "now"}}]
    text = tiny_text(HERMES_TEMPLATE)
    async with running(lambda g, p: f"One moment. {call}", text=text) as server:
        heard, code = await conversation(server.socket_url, {**ASK, "tools": tools})
    assert code == 1000
    *deltas, done = heard
    assert "".join(delta["text"] for delta in deltas) == "One moment."
    message = done["response"]["choices"][0]["message"]
    assert message["content"] == "One moment."
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["now"]


async def test_penalties_reach_the_worker() -> None:
    penalties = {"presence_penalty": 1, "frequency_penalty": 0.5, "repetition_penalty": 1.1}
    async with running(lambda g, p: "x") as server:
        _, code = await conversation(server.socket_url, {**ASK, **penalties})
        assert code == 1000
        sampling = server.worker.groups[0].requests[0].sampling
        assert {name: getattr(sampling, name) for name in penalties} == penalties


async def test_a_routed_question_shows_its_vote() -> None:
    async with running(three_of_four) as server:
        heard, code = await conversation(server.socket_url, {**ASK, "uncertainty_routing": POLICY})
    assert code == 1000
    kinds = [message["type"] for message in heard]
    assert kinds == ["direct", "vote", "vote", "vote", "vote", "decision", "delta", "done"]
    assert heard[4]["remaining"] == 0
    assert {k: v for k, v in heard[5].items() if k != "type"} == DECISION
    assert heard[7]["response"]["uncertainty_routing"] == DECISION
    assert heard[6]["text"] == heard[7]["response"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("{", None),
        (b"\xff", None),
        ({"messages": []}, "model"),
        ({**ASK, "n": 99}, "n"),
        ({**ASK, "model": "other"}, "model"),
        ({**ASK, "tools": [1]}, "tools[0]"),
        ({**ASK, "frequency_penalty": 3}, "frequency_penalty"),
    ],
)
async def test_a_bad_request_is_told_and_closed(message, param) -> None:
    async with running(lambda g, p: "x") as server:
        heard, code = await conversation(server.socket_url, message)
    assert code == 1008
    assert [m["type"] for m in heard] == ["error"]
    assert heard[0]["error"]["type"] == "invalid_request_error"
    assert heard[0]["error"]["param"] == param


async def test_a_socket_that_asks_nothing_is_closed() -> None:
    async with running(lambda g, p: "x", socket_first_message_timeout=0.05) as server:
        heard, code = await conversation(server.socket_url)
    assert code == 1008
    assert "no request came" in heard[0]["error"]["message"]


async def test_a_message_that_is_too_long_is_refused() -> None:
    async with running(lambda g, p: "x", max_body_bytes=1000) as server:
        heard, code = await conversation(server.socket_url, "x" * 1001)
    assert (heard, code) == ([], 1009)


async def test_abort_ends_the_paths_at_once() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server, connect(server.socket_url) as socket:
        gate.step(1)
        await socket.send(json.dumps(ASK))
        assert json.loads(await socket.recv())["text"] == "a"
        await socket.send(json.dumps({"type": "abort"}))
        assert json.loads(await socket.recv()) == {"type": "aborted"}
        assert worker.idle
        assert worker.groups[0].aborted == [0]


async def test_a_client_that_leaves_frees_its_paths() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server:
        async with connect(server.socket_url) as socket:
            gate.step(1)
            await socket.send(json.dumps(ASK))
            await socket.recv()
        await eventually(lambda: worker.idle)
        assert worker.groups[0].aborted == [0]
        assert server.gateway.admission.requests == 0


async def test_any_other_second_message_is_an_error() -> None:
    worker = ScriptedWorker(lambda g, p: "a", pace=Gate())
    async with running(worker) as server:
        heard, code = await conversation(server.socket_url, ASK, ASK)
        assert code == 1008
        assert "abort" in heard[-1]["error"]["message"]
        assert worker.idle


async def test_a_failure_in_the_middle_is_told_and_closed() -> None:
    script = PathScript(say("a b").chunks, Failure("internal", "broke"))
    async with running(lambda g, p: script) as server:
        heard, code = await conversation(server.socket_url, ASK)
    assert code == 1011
    assert [m["type"] for m in heard] == ["delta", "error"]


async def test_a_server_that_is_not_ready_says_try_again() -> None:
    status = WorkerStatus(state="starting", detail="compiling")
    async with running(lambda g, p: "x", status=status) as server:
        heard, code = await conversation(server.socket_url, ASK)
    assert code == 1013
    assert "compiling" in heard[0]["error"]["message"]


async def test_many_sockets_do_not_mix_their_answers() -> None:
    async with running(lambda g, p: f"length {len(g.prompt)}") as server:
        asks = [
            {"model": MODEL, "messages": [{"role": "user", "content": "x" * n}]}
            for n in range(1, 30)
        ]
        answers = await asyncio.gather(*(conversation(server.socket_url, ask) for ask in asks))
    for n, (heard, code) in enumerate(answers, start=1):
        assert code == 1000
        assert heard[-1]["response"]["choices"][0]["message"]["content"] == f"length {n + 3}"
