"""Every request has one line in the log, written at its end, with what it was and cost."""

import asyncio
import contextlib
import socket

import httpx
import pytest

from service.commands import serve
from tests.scripted import Gate, ScriptedWorker
from tests.service.guard.test_door import BEARER, KEYS, WRONG
from tests.service.guard.test_slow_clients import ask as slow_ask
from tests.service.guard.test_slow_clients import endless, many
from tests.service.log_support import written
from tests.service.support import MODEL, eventually, running
from tests.service.test_routed import POLICY, three_of_four
from tests.service.test_thinking import KINDS, saying, thought_tokens

SECRET = "the-secret-of-the-question"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": SECRET}]}
CONTENTS = {"contents": [{"parts": [{"text": SECRET}]}]}
CHAT = "/v1/chat/completions"
GEMINI = f"/v1beta/models/{MODEL}"


def answer(group, path):
    return "a secret answer"


WORKING = [
    (CHAT, ASK, "openai", False),
    (CHAT, {**ASK, "stream": True}, "openai", True),
    (CHAT, {**ASK, "n": 3}, "openai", False),
    ("/v1/completions", {"model": MODEL, "prompt": [SECRET, "b"]}, "openai", False),
    ("/v1/completions", {"model": MODEL, "prompt": SECRET, "stream": True}, "openai", True),
    ("/v1/responses", {"model": MODEL, "input": SECRET}, "openai", False),
    ("/v1/responses", {"model": MODEL, "input": SECRET, "stream": True}, "openai", True),
    (f"{GEMINI}:generateContent", CONTENTS, "gemini", False),
    (f"{GEMINI}:streamGenerateContent?alt=sse&key=QUERY", CONTENTS, "gemini", True),
    (f"{GEMINI}:streamGenerateContent", CONTENTS, "gemini", True),
]


@pytest.mark.parametrize(("path", "body", "protocol", "stream"), WORKING)
async def test_a_request_has_one_line_with_its_figures(path, body, protocol, stream) -> None:
    worker = ScriptedWorker(answer, cached=4)
    with written() as log:
        async with running(worker) as server, httpx.AsyncClient(base_url=server.url) as http:
            reply = await http.post(path, json=body, headers={"x-request-id": "mine"})
            assert reply.status_code == 200
            entry = await log.one()
        assert entry["level"] == "info"
        assert entry["request_id"] == "mine"
        assert (entry["method"], entry["path"]) == ("POST", path.partition("?")[0])
        assert (entry["status"], entry["protocol"]) == (200, protocol)
        assert (entry["model"], entry["stream"]) == (MODEL, stream)
        assert entry["prompt_tokens"] == sum(len(g.group.prompt) for g in worker.groups)
        assert entry["completion_tokens"] == sum(sum(g.produced.values()) for g in worker.groups)
        assert entry["cached_tokens"] == 4 * len(worker.groups)
        assert entry["finish"] == ["stop"]
        assert 0 < entry["ttft_s"] <= entry["duration_s"]
        assert not {"error", "key_name", "route", "prompt", "answer"} & entry.keys()
        assert "secret" not in log.text()
        assert "QUERY" not in log.text()


@pytest.mark.parametrize(
    ("path", "body", "prompt_tokens"),
    [
        ("/v1/embeddings", {"model": MODEL, "input": ["abc", "de"]}, 5),
        (f"{GEMINI}:embedContent", {"content": {"parts": [{"text": "abc"}]}}, 3),
    ],
)
async def test_embeddings_have_the_tokens_they_read(path, body, prompt_tokens) -> None:
    with written() as log:
        async with running(answer) as server, httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.post(path, json=body)).status_code == 200
            entry = await log.one()
    assert (entry["prompt_tokens"], entry["completion_tokens"]) == (prompt_tokens, 0)
    assert "ttft_s" not in entry


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models", None, 200),
        ("POST", "/tokenize", {"model": MODEL, "prompt": "abc"}, 200),
        ("POST", f"{GEMINI}:countTokens", CONTENTS, 200),
        ("GET", "/nowhere", None, 404),
        ("DELETE", CHAT, None, 405),
    ],
)
async def test_what_needs_no_worker_has_no_figures(method, path, body, status) -> None:
    with written() as log:
        async with running(answer) as server, httpx.AsyncClient(base_url=server.url) as http:
            await http.request(method, path, json=body)
            entry = await log.one()
    assert (entry["method"], entry["path"], entry["status"]) == (method, path, status)
    assert "prompt_tokens" not in entry
    assert "finish" not in entry


async def test_probes_have_no_line_and_an_address_goes_without_its_query() -> None:
    with written() as log:
        async with running(answer) as server, httpx.AsyncClient(base_url=server.url) as http:
            for path in ("/healthz", "/readyz", "/health", "/ping", "/metrics", "/metrics?x=1"):
                assert (await http.get(path)).status_code == 200
            await http.get("/v1/models?key=SECRET&pageSize=3")
            await http.get("/v1/models?access_token=SECRET")
        assert [entry["path"] for entry in log.requests()] == ["/v1/models"] * 2
        assert "SECRET" not in log.text()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, {**ASK, "uncertainty_routing": POLICY}),
     ("/v1/responses", {"model": MODEL, "input": "q", "uncertainty_routing": POLICY})],
)  # fmt: skip
async def test_a_vote_says_how_it_was_decided(path, body, stream) -> None:
    with written() as log:
        async with (
            running(three_of_four) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            assert (await http.post(path, json={**body, "stream": stream})).status_code == 200
            entry = await log.one()
            direct, paths = server.worker.groups
    assert (entry["route"], entry["k"], entry["stream"]) == ("majority", 4, stream)
    samples = [entry[f"samples_{name}"] for name in ("run", "stopped", "saved", "invalid")]
    assert samples == [4, 0, 0, 1]
    assert entry["prompt_tokens"] == len(direct.group.prompt) + len(paths.group.prompt)
    reasoning = sum(paths.produced.values())
    assert entry["reasoning_tokens"] == reasoning
    assert entry["completion_tokens"] == reasoning + sum(direct.produced.values())


@KINDS
@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_of_reasoning_are_told_apart(text, stream) -> None:
    with written() as log:
        async with (
            running(saying(text), text=text) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            await http.post(CHAT, json={**ASK, "stream": stream})
            entry = await log.one()
    assert entry["reasoning_tokens"] == thought_tokens(text)


async def test_a_refusal_names_its_kind_its_code_and_the_key() -> None:
    with written() as log:
        async with (
            running(answer, api_keys=KEYS) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            await http.post(CHAT, json={**ASK, "model": "forged\nmodel"}, headers=BEARER)
            await http.post(CHAT, json=ASK, headers={"authorization": f"Bearer {WRONG}"})
        unknown, stranger = log.requests()
    assert (unknown["status"], unknown["error"]) == (404, "unknown_model")
    assert (unknown["error_code"], unknown["key_name"]) == ("model_not_found", "alice")
    assert "model" not in unknown
    assert (stranger["status"], stranger["error"]) == (401, "unauthenticated")
    assert "key_name" not in stranger


async def test_a_key_is_not_taken_for_the_next_request_of_its_connection() -> None:
    with written() as log:
        async with (
            running(answer, api_keys=KEYS, cors_origins="https://a.example") as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            assert (await http.get("/v1/models", headers=BEARER)).status_code == 200
            asks = {"origin": "https://a.example", "access-control-request-method": "GET"}
            assert (await http.options("/v1/models", headers=asks)).status_code == 200
        first, second = log.requests()
    assert first["key_name"] == "alice"
    assert "key_name" not in second


async def test_a_failure_has_its_line_and_one_with_the_traceback() -> None:
    def broken(group, path):
        raise LookupError(f"what was asked: {SECRET}\nINFO forged")

    with written() as log:
        async with running(broken) as server, httpx.AsyncClient(base_url=server.url) as http:
            reply = await http.post(CHAT, json=ASK, headers={"x-request-id": "mine"})
            assert reply.status_code == 500
        told, request = (entry for entry in log.entries() if entry.get("request_id") == "mine")
    assert (told["level"], told["logger"]) == ("error", "pollux")
    assert told["exception"].endswith("LookupError")
    assert "in broken" in told["exception"]
    assert SECRET not in log.text()
    assert (request["status"], request["error"]) == (500, "internal")


async def test_a_client_that_leaves_its_stream_is_told_with_what_it_had() -> None:
    gate = Gate()
    with written() as log:
        async with (
            running(ScriptedWorker(answer, pace=gate)) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            async with http.stream("POST", CHAT, json={**ASK, "stream": True}) as reply:
                gate.step(2)
                await anext(reply.aiter_lines())
                await eventually(lambda: server.worker.groups[0].produced[0])
            entry = await log.one()
    assert (entry["status"], entry["error"], entry["finish"]) == (200, "aborted", ["abort"])
    assert entry["completion_tokens"] > 0


async def test_prompts_and_answers_are_logged_only_where_that_is_wanted() -> None:
    with written(log_prompts=True) as log:
        async with (
            running(answer, log_prompts=True) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            await http.post(CHAT, json={**ASK, "n": 2})
            entry = await log.one()
    assert entry["prompt"] == f"user: {SECRET}"
    assert entry["answer"] == ["a secret answer"] * 2


async def test_a_long_prompt_and_a_long_answer_are_shortened() -> None:
    with written(log_prompts=True) as log:
        async with (
            running(lambda g, p: "word " * 1500, log_prompts=True) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            body = {"model": MODEL, "messages": [{"role": "user", "content": "x " * 2500}]}
            reply = await http.post(CHAT, json=body)
            assert reply.status_code in (200, 400)
            prompt = {"model": MODEL, "prompt": "p", "n": 2, "max_tokens": 1500}
            assert (await http.post("/v1/completions", json=prompt)).status_code == 200
        first, second = log.requests()
    assert len(first["prompt"]) == 4096
    assert sum(map(len, second["answer"])) == 4096


async def test_clients_that_are_cut_are_counted_and_logged_seldom() -> None:
    with written() as log:
        async with (
            running(answer) as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            for _ in range(3):
                with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as c:
                    c.setblocking(False)
                    large = b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000
                    loop = asyncio.get_running_loop()
                    await loop.sock_sendall(c, large)
                    assert (await loop.sock_recv(c, 100)).startswith(b"HTTP/1.1 431")
            metrics = (await http.get("/metrics")).text
        told = [e for e in log.entries() if e["logger"] == "pollux.connections"]
    assert [entry["reason"] for entry in told] == ["large_head"]
    assert told[0]["client"].startswith("127.0.0.1:")
    assert f'engine="0",model_name="{MODEL}",reason="large_head"}} 3.0' in metrics


async def test_what_is_no_http_is_told_once_however_often_it_comes() -> None:
    with written() as log:
        async with running(answer) as server:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"\x16\x03\x01 hello\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
                writer.close()
                await writer.wait_closed()
        warned = [entry for entry in log.entries() if entry["level"] == "warning"]
    assert [entry["reason"] for entry in warned] == ["not_http"]


async def test_a_reader_that_is_cut_is_told_and_its_request_was_aborted(monkeypatch) -> None:
    monkeypatch.setattr(serve, "watch_peers", lambda *_: None)
    with written() as log:
        async with running(ScriptedWorker(endless), **many(write_timeout=0.1)) as server:
            with contextlib.closing(await slow_ask(server.port, CHAT, {**ASK, "stream": True})):
                await eventually(log.requests, 10_000)
        entry = await log.one()
        [cut] = [e for e in log.entries() if e["logger"] == "pollux.connections"]
    assert (entry["status"], entry["error"]) == (200, "aborted")
    assert (cut["reason"], cut["client"]) == ("slow_reader", entry["client"])


async def test_the_text_format_says_the_same_in_one_readable_line() -> None:
    with written(log_format="text") as log:
        async with (
            running(three_of_four, api_keys=KEYS) as server,
            httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
        ):
            body = {**ASK, "uncertainty_routing": POLICY}
            await http.post(CHAT, json=body, headers={"x-request-id": "mine"})
        [line] = [line for line in log.lines() if "pollux.access" in line]
    head, *facts = line.partition(f"POST {CHAT} 200 ")[2].split(" ")
    told = dict(fact.split("=") for fact in [head, *facts])
    assert told["request_id"] == "mine"
    assert told["key_name"] == "alice"
    assert (told["route"], told["k"], told["samples_run"]) == ("majority", "4", "4")
    assert (told["stream"], told["finish"], told["model"]) == ("no", "stop", MODEL)
    assert "method" not in told
