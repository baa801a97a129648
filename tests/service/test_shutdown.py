"""What a client sees when the server ends: its answer within the grace, a clear word after it."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.scripted import Gate, ScriptedWorker
from tests.service.support import MODEL, eventually, running, sse_objects

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
GEMINI = {"contents": [{"parts": [{"text": "hello"}]}]}


async def rest(socket) -> tuple[list[dict], int]:
    heard = []
    try:
        while True:
            heard.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return heard, socket.close_code


async def test_a_socket_gets_its_answer_within_the_grace() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server:
        socket = await connect(server.socket_url)
        idle = await connect(server.socket_url)
        gate.step(1)
        await socket.send(json.dumps(ASK))
        assert json.loads(await socket.recv())["text"] == "a"
        asyncio.get_running_loop().call_later(0.2, gate.release)
    heard, code = await rest(socket)
    assert (heard[-1]["type"], code) == ("done", 1000)
    assert heard[-1]["response"]["choices"][0]["message"]["content"] == "a b c d"
    assert await rest(idle) == ([], 1012)


async def test_after_the_grace_each_is_told_in_its_protocol(caplog) -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "word " * 200, pace=gate)
    async with httpx.AsyncClient(timeout=10) as http:
        async with running(worker, shutdown_grace=1) as server:
            socket = await connect(server.socket_url)
            await socket.send(json.dumps(ASK))
            asked = [
                asyncio.create_task(http.post(server.url + path, json=body))
                for path, body in (
                    (CHAT, ASK),
                    (CHAT, {**ASK, "stream": True}),
                    (STREAM, GEMINI),
                )
            ]
            await eventually(lambda: len(worker.groups) == 4)
            gate.step(40)
            await asyncio.sleep(0.1)
        whole, stream, google = await asyncio.gather(*asked)
    assert whole.status_code == 503
    assert whole.json()["error"]["type"] == "service_unavailable_error"
    last = sse_objects(stream.text)[-1]
    assert last["error"]["message"] == "the server is shutting down"
    assert sse_objects(google.text)[-1]["error"]["status"] == "UNAVAILABLE"
    heard, code = await rest(socket)
    assert (heard[-1]["type"], code) == ("error", 1013)
    assert worker.idle
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("sent", [b'{"model"', b""])
async def test_a_half_sent_request_is_told_as_well(caplog, sent) -> None:
    async with running(lambda g, p: "x", shutdown_grace=1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n"
        )
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(0.05)
    reply = await reader.read()
    assert reply.startswith(b"HTTP/1.1 503")
    assert b"shutting down" in reply
    writer.close()
    await writer.wait_closed()
    assert "Traceback" not in caplog.text
