"""Who is let in: official clients, plain HTTP and sockets, with keys right, wrong and hostile."""

import asyncio
import contextlib
import json

import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.guard.credentials import presented
from tests.scripted import Gate, ScriptedWorker
from tests.service.guard.clock import Hands
from tests.service.log_support import written
from tests.service.support import MODEL, eventually, running, sse_objects
from tests.service.test_ops import at, scrape

KEY = "right-right-right-right"
KEYS = f"alice={KEY},bob=other-other-other-other"
WRONG = "wrong-wrong-wrong-wrong"
CHAT = "/v1/chat/completions"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {"contents": [{"parts": [{"text": "hello"}]}]}
BEARER = {"authorization": f"Bearer {KEY}"}


def greet(group, path):
    return "hello from here"


async def test_openais_client_comes_in_with_the_key_and_not_without() -> None:
    messages = [{"role": "user", "content": "hi"}]
    async with running(greet, api_keys=KEYS) as server:
        base = f"{server.url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY) as ai:
            reply = await ai.chat.completions.create(model=MODEL, messages=messages)
            assert reply.choices[0].message.content == "hello from here"
            stream = await ai.chat.completions.create(model=MODEL, messages=messages, stream=True)
            chunks = [chunk async for chunk in stream]
            assert len(chunks) > 2
        async with openai.AsyncOpenAI(base_url=base, api_key=WRONG) as ai:
            with pytest.raises(openai.AuthenticationError) as refused:
                await ai.chat.completions.create(model=MODEL, messages=messages)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.type == "authentication_error"
    assert WRONG not in str(refused.value)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_googles_client_comes_in_with_the_key_and_not_without(version: str) -> None:
    async with running(greet, api_keys=KEYS) as server:
        options = types.HttpOptions(base_url=server.url, api_version=version)

        def ask(key: str) -> str | None:
            with genai.Client(api_key=key, http_options=options) as ai:
                assert next(iter(ai.models.list())).name == "models/tiny"
                parts = ai.models.generate_content_stream(model=MODEL, contents="hi")
                return "".join(part.text for part in parts)

        assert await asyncio.to_thread(ask, KEY) == "hello from here"
        with pytest.raises(errors.ClientError) as refused:
            await asyncio.to_thread(ask, WRONG)
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (BEARER, ""),
        ({"authorization": f"bearer   {KEY}"}, ""),
        ({"x-goog-api-key": KEY}, ""),
        ({}, f"?key={KEY}"),
        ({}, f"?alt=sse&key={KEY.replace('-', '%2D')}"),
        ({}, f"?access_token={KEY}"),
        # A proxy's own credentials, or a placeholder that a client insists on.
        ({"authorization": "Basic eDp5", "x-goog-api-key": KEY}, ""),
        ({"authorization": "Bearer none"}, f"?key={KEY}"),
    ],
)
async def test_a_key_is_taken_from_where_clients_put_it(headers, query) -> None:
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        url = f"{server.url}{GENERATE}{query}"
        assert (await http.post(url, json=GEMINI, headers=headers)).status_code == 200
        async with connect(server.socket_url + query, additional_headers=headers) as socket:
            await socket.send(json.dumps(ASK))
            assert json.loads(await socket.recv())["type"] == "delta"


HOSTILE = [
    {},
    {"authorization": "Bearer"},
    {"authorization": "Bearer ,"},
    {"authorization": KEY},
    {"authorization": f"Bearer {KEY}x"},
    {"authorization": f"Bearer {KEY[:-1]}"},
    {"authorization": f"Bearer Bearer {KEY}"},
    {"authorization": f"Bearer {KEY.upper()}"},
    {"authorization": f"Bearer {KEYS}"},
    {"authorization": f"Bearer alice={KEY}"},
    {"authorization": b"Bearer \xff\xfe\xc3\xa9"},
    {"authorization": "Bearer " + "x" * 30_000},
    {"x-goog-api-key": b"\xe9" * 600},
    {"x-goog-api-key": "", "authorization": "Digest x"},
    {f"x-{i}": "y" for i in range(80)},
]


@pytest.mark.parametrize("headers", HOSTILE, ids=range(len(HOSTILE)))
async def test_whatever_else_is_presented_is_refused_without_a_complaint(headers) -> None:
    with written(log_level="warning") as log:
        async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
            reply = await http.post(server.url + CHAT, json=ASK, headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.socket_url, additional_headers=_texts(headers)):
                    pass
            assert refused.value.response.status_code == 401
            assert server.worker.groups == []
        assert log.text() == ""


def _texts(headers) -> dict[str, str]:
    """websockets' client sends text only, and at most so much of it."""
    texts = {n: v if isinstance(v, str) else v.decode("latin-1") for n, v in headers.items()}
    return {n: v[:4000] for n, v in list(texts.items())[:100] if v.isascii()}


async def test_only_the_first_of_each_kind_of_credential_counts() -> None:
    headers = [(b"authorization", b"Bearer a"), (b"authorization", f"Bearer {KEY}".encode())]
    headers += [(b"x-goog-api-key", b"b")] * 1000
    scope = {"headers": headers, "query_string": b"key=c&key=d&" * 1000}
    assert presented(scope) == [b"a", b"b", b"c"]


async def test_a_refusal_is_in_the_shape_of_the_protocol() -> None:
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        reply = await http.get(f"{server.url}/v1/models")
        assert reply.status_code == 401
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        for headers in ({"x-goog-api-key": WRONG}, {"x-goog-api-client": "x"}):
            error = (await http.get(f"{server.url}/v1/models", headers=headers)).json()["error"]
            assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
        assert (await http.get(f"{server.url}/nowhere")).status_code == 401
        assert reply.headers["x-request-id"]


async def test_what_watches_needs_no_key() -> None:
    paths = ("/healthz", "/readyz", "/health", "/ping", "/version", "/metrics")
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        for path in paths:
            assert (await http.get(server.url + path)).status_code == 200
        for path in ("/healthz/", "/metrics/x", "//healthz", "/HEALTHZ", "/openapi.json"):
            assert (await http.get(server.url + path)).status_code == 401
        # The path decides, whatever the host is said to be (CVE-2026-48710).
        raw = await _raw(server.port, b"GET /v1/models HTTP/1.1\r\nhost: x/healthz?\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 401")
        samples = await scrape(server.url)
    assert at(samples, "pollux:requests_refused_total", reason="unauthenticated") == 6


async def test_metrics_may_be_made_to_need_one() -> None:
    async with (
        running(greet, api_keys=KEYS, metrics_need_key=True) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/metrics", headers=BEARER)).status_code == 200
        assert (await http.get("/healthz")).status_code == 200


async def _raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head


async def test_without_keys_nobody_is_asked() -> None:
    async with running(greet, api_keys=" , ") as server, httpx.AsyncClient() as http:
        assert (await http.get(f"{server.url}/v1/models")).status_code == 200


@pytest.mark.parametrize(("size", "closes"), [(100, False), (1_500_000, True), (6_000_000, True)])
async def test_a_refused_body_is_thrown_away_within_bounds(size: int, closes: bool) -> None:
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        for _ in range(2):
            reply = await http.post(server.url + CHAT, content=b"x" * size)
            assert reply.status_code == 401
            assert (reply.headers.get("connection") == "close") is closes


async def test_a_refusal_does_not_wait_for_a_body_for_ever() -> None:
    async with running(greet, api_keys=KEYS, body_timeout=0.05) as server:
        request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
        head = await _raw(server.port, request)
    assert head.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in head


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_the_log_names_the_key_and_never_shows_it(level: str) -> None:
    with written(log_level=level) as log:
        async with (
            running(greet, api_keys=KEYS, log_level=level, cors_origins="*") as server,
            httpx.AsyncClient() as http,
        ):
            for key in (KEY, WRONG):
                for headers, query in (
                    ({"authorization": f"Bearer {key}"}, ""),
                    ({"x-goog-api-key": key}, ""),
                    ({}, f"?key={key}"),
                ):
                    reply = await http.post(server.url + CHAT + query, json=ASK, headers=headers)
                    assert key not in reply.text + str(reply.headers)
                    with contextlib.suppress(InvalidStatus):
                        async with connect(server.socket_url + query, additional_headers=headers):
                            pass
        requests = log.requests()
        assert KEY not in log.text()
        assert WRONG not in log.text()
    named = [entry["method"] for entry in requests if entry.get("key_name") == "alice"]
    assert sorted(named) == ["POST"] * 3 + ["WEBSOCKET"] * 3
    assert [entry["status"] for entry in requests].count(401) == 6


async def test_each_key_has_its_requests_a_minute(tmp_path) -> None:
    clock = Hands()
    async with (
        running(greet, api_keys_file=_file(tmp_path, requests_per_minute=2), clock=clock) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):
        for _ in range(2):
            assert (await http.post(CHAT, json=ASK)).status_code == 200
        refused = await http.post(CHAT, json=ASK)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "30"
        assert refused.headers["x-should-retry"] == "true"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        error = (await http.post(GENERATE, json=GEMINI)).json()["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert error["details"][0]["retryDelay"] == "30s"
        with pytest.raises(InvalidStatus) as socket:
            async with connect(server.socket_url, additional_headers=BEARER):
                pass
        assert socket.value.response.status_code == 429
        assert socket.value.response.headers["retry-after"] == "30"
        clock.now += 30
        assert (await http.post(CHAT, json=ASK)).status_code == 200
        samples = await scrape(server.url)
    assert at(samples, "pollux:requests_refused_total", reason="rate_limit") == 3
    assert at(samples, "pollux:key_requests_total", key_name="alice") == 3


def _file(folder, **limits):
    from service.guard.keys import digest_of

    file = folder / "keys.jsonl"
    line = {"name": "alice", "sha256": digest_of(KEY.encode()).hex(), **limits}
    file.write_text(json.dumps(line) + "\n")
    return file


async def test_prompts_and_answers_are_charged_and_overdrawn_tokens_waited_for(tmp_path) -> None:
    clock = Hands()
    async with (
        running(greet, api_keys_file=_file(tmp_path, tokens_per_minute=10), clock=clock) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):
        usage = (await http.post(CHAT, json={**ASK, "n": 2})).json()["usage"]
        refused = await http.post(CHAT, json=ASK)
        assert refused.status_code == 429
        debt = usage["total_tokens"] - 10
        assert refused.headers["retry-after"] == str((debt + 1) * 6)
        # OpenAI's client waits at most a minute and would try again at once instead.
        expected = "true" if (debt + 1) * 6 <= 60 else "false"
        assert refused.headers["x-should-retry"] == expected
        samples = await scrape(server.url)
        assert at(samples, "pollux:key_tokens_total", key_name="alice") == usage["total_tokens"]
        clock.now += (debt + 1) * 6
        stream = await http.post(CHAT, json={**ASK, "stream": True})
        assert sse_objects(stream.text)[-1] == "[DONE]"
        samples = await scrape(server.url)
    spent = usage["prompt_tokens"] + usage["completion_tokens"] // 2
    total = at(samples, "pollux:key_tokens_total", key_name="alice")
    assert total == usage["total_tokens"] + spent


async def test_a_routed_question_is_charged_for_both_prompts_and_every_path(tmp_path) -> None:
    async with (
        running(greet, api_keys_file=_file(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):
        body = {**ASK, "uncertainty_routing": {"k": 3, "plan": "all"}}
        assert (await http.post(CHAT, json=body)).status_code == 200
        samples = await scrape(server.url)
    counted = at(samples, "vllm:prompt_tokens_total") + at(samples, "vllm:generation_tokens_total")
    assert at(samples, "pollux:key_tokens_total", key_name="alice") == counted


async def test_sequences_at_once_are_limited_for_each_key_alone(tmp_path) -> None:
    gate = Gate()
    worker = ScriptedWorker(greet, pace=gate)
    file = _file(tmp_path, concurrent_sequences=4)
    bob = {"authorization": "Bearer other-other-other-other"}
    async with (
        running(worker, api_keys="bob=other-other-other-other", api_keys_file=file) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):
        first = asyncio.create_task(http.post(CHAT, json={**ASK, "n": 3}))
        await eventually(lambda: server.gateway.admission.paths == 3)
        for body in ({**ASK, "n": 2}, {**ASK, "uncertainty_routing": {"k": 3}}):
            refused = await http.post(CHAT, json=body)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
        never = await http.post(CHAT, json={**ASK, "uncertainty_routing": {"k": 4}})
        assert never.status_code == 403
        assert never.json()["error"]["type"] == "permission_error"
        assert "retry-after" not in never.headers
        others = asyncio.create_task(http.post(CHAT, json={**ASK, "n": 9}, headers=bob))
        await eventually(lambda: server.gateway.admission.paths == 12)
        gate.release()
        assert (await first).status_code == (await others).status_code == 200
        assert (await http.post(CHAT, json={**ASK, "n": 4})).status_code == 200
        samples = await scrape(server.url)
    assert at(samples, "pollux:requests_refused_total", reason="rate_limit") == 2
    assert at(samples, "pollux:requests_refused_total", reason="forbidden") == 1


async def test_a_client_that_leaves_gives_its_sequences_back(tmp_path) -> None:
    gate = Gate()
    file = _file(tmp_path, concurrent_sequences=1)
    async with (
        running(ScriptedWorker(greet, pace=gate), api_keys_file=file) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):
        left = asyncio.create_task(http.post(CHAT, json=ASK))
        await eventually(lambda: server.gateway.admission.paths == 1)
        left.cancel()
        await eventually(lambda: server.gateway.admission.paths == 0)
        gate.release()
        assert (await http.post(CHAT, json=ASK)).status_code == 200


async def test_a_change_of_the_file_takes_hold_and_keeps_what_was_used(tmp_path, caplog) -> None:
    clock = Hands()
    file = _file(tmp_path, requests_per_minute=2)
    async with (
        running(greet, api_keys_file=file, clock=clock) as server,
        httpx.AsyncClient(base_url=server.url, headers=BEARER) as http,
    ):

        async def status() -> int:
            return (await http.get("/v1/models")).status_code

        assert [await status(), await status(), await status()] == [200, 200, 429]
        file.write_text(file.read_text() + "# a word\n")
        assert await status() == 429
        clock.now += 1
        assert await status() == 429, "reading the file again forgives nothing"
        _file(tmp_path, requests_per_minute=3)
        clock.now += 1
        assert await status() == 200, "other limits begin anew"
        file.write_text("not keys\n")
        clock.now += 1
        assert await status() == 200, "a broken file changes nothing"
        assert "the keys stay as they were" in caplog.text
        file.write_text("# nobody\n")
        clock.now += 1
        assert await status() == 401
