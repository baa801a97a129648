"""What may come in, how much at once, and what is said when it is too much."""

import asyncio
import contextlib
import json
import threading

import httpx
import pytest

from model.contract import WorkerStatus, WorkerUnavailable
from service.errors import ApiError
from service.guard.admission import Admission
from tests.scripted import Gate, ScriptedWorker
from tests.service.support import MODEL, eventually, running

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {"contents": [{"parts": [{"text": "hello"}]}]}
CHAT = "/v1/chat/completions"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"


def greet(group, path):
    return "hello"


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    async with running(greet, max_body_bytes=1000) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n{"
        )
        # The rest is never sent, and the answer comes all the same.
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 413")
        assert "connection: close" in head
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        error = json.loads(await reader.readexactly(length))["error"]
        assert error["code"] == "request_too_large"
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("path", "gemini"), [(CHAT, False), (GENERATE, True)])
async def test_a_body_is_counted_while_it_streams(path: str, gemini: bool) -> None:
    sent = 0

    async def far_too_much():
        nonlocal sent
        for _ in range(15):
            sent += 400
            yield b" " * 400
            await asyncio.sleep(0)

    async with running(greet, max_body_bytes=1000) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + path, content=far_too_much())
        assert reply.status_code == 413
        error = reply.json()["error"]
        if gemini:
            assert (error["code"], error["status"]) == (413, "INVALID_ARGUMENT")
        else:
            assert error["type"] == "invalid_request_error"


async def test_an_endless_body_is_cut() -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 4000
            yield b" " * 4000

    async with running(greet, max_body_bytes=1000) as server, httpx.AsyncClient() as http:
        with pytest.raises(httpx.TransportError):
            await http.post(server.url + CHAT, content=endless())
        # Sockets buffer a little; memory never grows with what is sent.
        assert sent < 20_000_000


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = json.dumps(ASK).encode()
    async with running(greet, max_body_bytes=len(body)) as server, httpx.AsyncClient() as http:
        assert (await http.post(server.url + CHAT, content=body)).status_code == 200
        assert (await http.post(server.url + CHAT, content=body + b" ")).status_code == 413


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000])
async def test_what_is_no_request_is_a_clear_error_in_either_protocol(content: bytes) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, content=content)
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"
        reply = await http.post(server.url + GENERATE, content=content)
        assert reply.status_code == 400
        assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized(monkeypatch) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:

        def never(*_, **__):
            raise AssertionError("it was tokenized")

        monkeypatch.setattr(server.backend.text, "encode_chat", never)
        monkeypatch.setattr(server.backend.text, "encode_text", never)
        long = "x" * (2048 * 32 + 1)
        chat = {**ASK, "messages": [{"role": "user", "content": long}]}
        for body in (chat, {**chat, "uncertainty_routing": {}}):
            reply = await http.post(server.url + CHAT, json=body)
            assert reply.status_code == 400
            assert reply.json()["error"]["code"] == "context_length_exceeded"
        for prompt in (long, [5] * 2049):
            body = {"model": MODEL, "prompt": prompt}
            reply = await http.post(f"{server.url}/v1/completions", json=body)
            assert reply.json()["error"]["code"] == "context_length_exceeded"
        google = {"contents": [{"parts": [{"text": long}]}]}
        for verb in ("generateContent", "countTokens"):
            reply = await http.post(f"{server.url}/v1beta/models/{MODEL}:{verb}", json=google)
            assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_long_prompts_are_tokenized_off_the_loop(monkeypatch) -> None:
    threads = set()
    async with running(greet) as server, httpx.AsyncClient() as http:
        text = server.backend.text
        encode = text.encode_chat

        def noting(*args, **options):
            threads.add(threading.current_thread() is threading.main_thread())
            return encode(*args, **options)

        monkeypatch.setattr(text, "encode_chat", noting)
        body = {**ASK, "messages": [{"role": "user", "content": "x" * 20_000}]}
        await http.post(server.url + CHAT, json=body)
        assert threads == {False}


async def test_endless_headers_are_cut() -> None:
    async with running(greet) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                writer.write(b"x" * 10_000)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).startswith(b"HTTP/1.1 431")
        assert reader.at_eof() or reader.exception() is not None
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_many_requests_on_one_connection_each_have_their_own_header_budget() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        for _ in range(5):
            reply = await http.get(f"{server.url}/healthz", headers={"x-long": "x" * 30_000})
            assert reply.status_code == 200


async def test_more_requests_than_allowed_are_told_to_come_back() -> None:
    gate = Gate()
    worker = ScriptedWorker(greet, pace=gate)
    async with running(worker, max_requests=2) as server, httpx.AsyncClient() as http:
        running_now = [
            asyncio.create_task(http.post(server.url + CHAT, json=ASK)) for _ in range(2)
        ]
        await eventually(lambda: server.gateway.admission.requests == 2)
        refused = await http.post(server.url + CHAT, json=ASK)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        streamed = await http.post(server.url + CHAT, json={**ASK, "stream": True})
        assert streamed.status_code == 429
        google = await http.post(server.url + GENERATE, json=GEMINI)
        assert google.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert google.json()["error"]["details"][0]["retryDelay"] == "1s"
        gate.release()
        assert [reply.status_code for reply in await asyncio.gather(*running_now)] == [200, 200]
        assert (await http.post(server.url + CHAT, json=ASK)).status_code == 200


def test_paths_are_counted_and_a_lone_request_is_always_let_in() -> None:
    admission = Admission(max_requests=10, max_paths=8)
    with admission.admit(20), pytest.raises(ApiError), admission.admit(1):
        pass
    with admission.admit(4), admission.admit(4):
        with pytest.raises(ApiError), admission.admit(1):
            pass
        assert (admission.requests, admission.paths) == (2, 8)
    assert (admission.requests, admission.paths) == (0, 0)


async def test_until_the_model_is_ready_requests_are_unavailable() -> None:
    status = WorkerStatus(state="starting", detail="reading weights")
    async with running(greet, status=status) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, json=ASK)
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        assert "reading weights" in reply.json()["error"]["message"]
        reply = await http.post(server.url + GENERATE, json=GEMINI)
        assert reply.json()["error"]["status"] == "UNAVAILABLE"


async def test_without_any_worker_the_models_are_unavailable_too() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        server.backend.card = None
        for reply in (
            await http.get(f"{server.url}/v1/models"),
            await http.post(server.url + CHAT, json=ASK),
        ):
            assert reply.status_code == 503


async def test_a_worker_that_takes_nothing_says_when_to_come_back() -> None:
    worker = ScriptedWorker(greet, refuse=WorkerUnavailable("the queue is full", 2.5))
    async with running(worker) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, json=ASK)
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "3"
        assert reply.json()["error"]["message"] == "the queue is full"


async def test_what_is_not_there_is_told_in_its_protocols_shape() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.get(f"{server.url}/v1/nothing")
        assert reply.status_code == 404
        assert reply.json()["error"]["type"] == "invalid_request_error"
        reply = await http.get(f"{server.url}/v1beta/nothing")
        assert reply.json()["error"]["status"] == "NOT_FOUND"
        reply = await http.get(server.url + CHAT)
        assert reply.status_code == 405


async def test_an_unexpected_exception_shows_nothing_of_the_inside(caplog) -> None:
    def broken(group, path):
        raise RuntimeError("secret")

    async with running(broken) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, json=ASK)
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert reply.json()["error"]["type"] == "server_error"
        assert reply.headers["x-request-id"] in caplog.text
        reply = await http.post(server.url + GENERATE, json=GEMINI)
        assert reply.json()["error"]["status"] == "INTERNAL"
        assert server.gateway.admission.requests == 0


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3_4", True), ("with space", False), ("x" * 129, False)]
)
async def test_request_ids_are_kept_when_harmless(given: str, kept: bool) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.get(f"{server.url}/healthz", headers={"x-request-id": given})
        assert (reply.headers["x-request-id"] == given) is kept
        assert reply.headers["x-request-id"]
