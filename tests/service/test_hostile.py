"""Clients that mean harm, or hang up: no stack trace, no hang, no wrong word."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect

from model.contract import GroupStarted
from service import protocols
from tests.scripted import Gate, ScriptedWorker
from tests.service.support import MODEL, eventually, running, sse_objects

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {"contents": [{"parts": [{"text": "hello"}]}]}
CHAT = "/v1/chat/completions"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"


def greet(group, path):
    return "hello"


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "host: x", *headers, "", "")).encode()


@pytest.mark.parametrize(
    "sent",
    [
        head(CHAT, "content-length: 100") + b'{"model"',
        head(CHAT, "transfer-encoding: chunked") + b'5\r\n{"mod\r\n',
        head(GENERATE, "content-length: 100") + b'{"contents"',
    ],
)
async def test_a_client_that_leaves_amid_its_body_is_no_failure_of_ours(caplog, sent) -> None:
    async with running(greet) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        async with httpx.AsyncClient() as http:
            assert (await http.post(server.url + CHAT, json=ASK)).status_code == 200
    assert "Traceback" not in caplog.text
    assert "failed" not in caplog.text


@pytest.mark.parametrize(("path", "gemini"), [(CHAT, False), (GENERATE, True)])
async def test_a_body_that_never_ends_its_arrival_is_answered(path: str, gemini: bool) -> None:
    async with running(greet, body_timeout=0.05) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(path, "content-length: 100") + b"{")
        reply = (await reader.read()).decode()
        assert reply.startswith("HTTP/1.1 408")
        assert "connection: close" in reply
        error = json.loads(reply.split("\r\n\r\n")[1])["error"]
        assert "did not arrive within 0.05 seconds" in error["message"]
        assert error.get("status") == ("DEADLINE_EXCEEDED" if gemini else None)
        writer.close()
        await writer.wait_closed()


async def test_an_answer_may_take_longer_than_a_body_may() -> None:
    gate = Gate()
    worker = ScriptedWorker(greet, pace=gate)
    async with running(worker, body_timeout=0.05) as server, httpx.AsyncClient() as http:
        asked = asyncio.create_task(http.post(server.url + CHAT, json=ASK))
        await asyncio.sleep(0.2)
        gate.release()
        assert (await asked).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "])
async def test_a_head_that_never_comes_is_cut(monkeypatch, sent: bytes) -> None:
    monkeypatch.setattr(protocols, "HEAD_TIMEOUT_S", 0.05)
    async with running(greet) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_the_time_for_a_head_is_not_the_time_for_an_answer(monkeypatch) -> None:
    monkeypatch.setattr(protocols, "HEAD_TIMEOUT_S", 0.05)
    gate = Gate()
    worker = ScriptedWorker(greet, pace=gate)
    async with running(worker) as server, httpx.AsyncClient() as http:
        for _ in range(2):  # the second on a connection that is kept
            asked = asyncio.create_task(http.post(server.url + CHAT, json=ASK))
            await asyncio.sleep(0.2)
            gate.release()
            assert (await asked).status_code == 200


async def test_a_deeply_nested_second_message_is_the_clients_mistake(caplog) -> None:
    worker = ScriptedWorker(greet, pace=Gate())
    async with running(worker) as server, connect(server.socket_url) as socket:
        await socket.send(json.dumps(ASK))
        await socket.send("[" * 100_000)
        assert "abort" in json.loads(await socket.recv())["error"]["message"]
        await socket.wait_closed()
        assert socket.close_code == 1008
        await eventually(lambda: worker.idle)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {**ASK, "max_tokens": True}, "max_tokens"),
        (CHAT, {**ASK, "n": True}, "n"),
        ("/v1/completions", {"model": MODEL, "prompt": "x", "logprobs": False}, "logprobs"),
        ("/v1/completions", {"model": MODEL, "prompt": [True]}, "prompt[0]"),
        (CHAT, {**ASK, "logit_bias": {"a": 1}}, "logit_bias.a"),
        (CHAT, {**ASK, "max_tokens": 0}, "max_tokens"),
        (CHAT, {**ASK, "uncertainty_routing": {"tau": 2}}, "uncertainty_routing.tau"),
        (
            CHAT,
            {**ASK, "uncertainty_routing": {"tau": 0.5, "min_votes": 2}},
            "uncertainty_routing",
        ),
    ],
)
async def test_the_field_at_fault_is_named_and_the_library_is_not(path, body, param) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + path, json=body)
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["param"] == param
        assert "Value error" not in error["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}},
            "generationConfig.maxOutputTokens",
        ),
        ({"generationConfig": {}, "generation_config": {"topK": 1}}, "generationConfig"),
        ({"generationConfig": {"mediaResolution": 1}}, "generationConfig.mediaResolution"),
        ({"generationConfig": {"logprobs": 1}}, "generationConfig.logprobs"),
    ],
)
async def test_gemini_names_the_field_with_its_place(body, field) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + GENERATE, json={**GEMINI, **body})
        assert reply.status_code == 400
        [detail] = reply.json()["error"]["details"]
        assert detail["fieldViolations"][0]["field"] == field


async def test_a_broken_header_is_not_called_a_broken_request() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, json=ASK, headers={"x-pollux-routing": "{"})
        assert reply.json()["error"]["message"].startswith("x-pollux-routing is not valid JSON")


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.get(server.url + CHAT)
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


async def test_a_gemini_method_that_is_not_here_is_not_found() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        for version in ("v1", "v1beta"):
            reply = await http.post(
                f"{server.url}/{version}/models/{MODEL}:embedText",
                json={},
                headers={"x-goog-api-key": "k"},
            )
            error = reply.json()["error"]
            assert (reply.status_code, error["status"]) == (404, "NOT_FOUND")
            assert "embedText" in error["message"]


async def test_probes_may_ask_for_the_head_alone() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        for path in ("/healthz", "/readyz", "/health", "/ping"):
            reply = await http.head(server.url + path)
            assert (reply.status_code, reply.content) == (200, b"")


async def test_many_prompts_leave_others_their_turn(monkeypatch) -> None:
    order = []
    async with running(greet) as server, httpx.AsyncClient() as http:
        encode = server.backend.text.encode_text

        def noting(text):
            order.append("prompt")
            asyncio.get_running_loop().call_soon(order.append, "other")
            return encode(text)

        monkeypatch.setattr(server.backend.text, "encode_text", noting)
        body = {"model": MODEL, "prompt": ["x", "y", "z"]}
        assert (await http.post(f"{server.url}/v1/completions", json=body)).status_code == 200
    assert order[:4] == ["prompt", "other", "prompt", "other"]


class Unstarted:
    """A stream without its GroupStarted."""

    def __init__(self, stream) -> None:
        self._stream = stream

    async def __aenter__(self):
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error) -> None:
        await self._stream.__aexit__(*error)

    async def __aiter__(self):
        async for event in self._stream:
            if not isinstance(event, GroupStarted):
                yield event


class UnstartedGroups(ScriptedWorker):
    """As the engine ends paths of no tokens: without having started their group."""

    def open(self, group):
        return Unstarted(super().open(group))


async def test_an_echo_of_no_tokens_is_whole_and_counted_also_in_a_stream() -> None:
    body = {"model": MODEL, "prompt": "hello", "echo": True, "max_tokens": 0, "n": 2}
    async with running(UnstartedGroups(lambda g, p: "")) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/completions"
        whole = (await http.post(url, json=body)).json()
        assert [choice["text"] for choice in whole["choices"]] == ["hello", "hello"]
        assert whole["usage"]["prompt_tokens"] == 5
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = sse_objects((await http.post(url, json={**body, **options})).text)
        texts = {0: "", 1: ""}
        for chunk in chunks[:-2]:
            for choice in chunk["choices"]:
                texts[choice["index"]] += choice["text"]
        assert texts == {0: "hello", 1: "hello"}
        assert chunks[-2]["usage"]["prompt_tokens"] == 5


async def test_offsets_are_of_the_text_that_is_given_back() -> None:
    """Control tokens spell nothing, and the bytes of one character are one place."""
    prompt = [301, *"é".encode(), 65]
    body = {"model": MODEL, "prompt": prompt, "echo": True, "logprobs": 0, "max_tokens": 2}
    async with running(lambda g, p: "ok") as server, httpx.AsyncClient() as http:
        ids = server.backend.text.encode_text("éA")
        body["prompt"] = [301, *ids]
        reply = (await http.post(f"{server.url}/v1/completions", json=body)).json()
    [choice] = reply["choices"]
    assert choice["text"].startswith("éA")
    assert choice["logprobs"]["text_offset"][:5] == [0, 0, 0, 1, 2]
