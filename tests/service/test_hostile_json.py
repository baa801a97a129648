"""JSON that is meant to hurt, at every endpoint that reads some: one line back, and no more."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from routing.policy import RoutingPolicy
from service.api.parsing import MAX_PARTS, parse_json
from service.errors import ApiError
from tests.service.sessions.support import live, realtime
from tests.service.sessions.support import running as running_sessions
from tests.service.support import MODEL, running

DEEP = 100_000
TURN = {"parts": [{"text": "@"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "@"}]},
    "/v1/completions": {"model": MODEL, "prompt": "@"},
    "/v1/embeddings": {"model": MODEL, "input": "@"},
    "/v1/responses": {"model": MODEL, "input": "@"},
    "/tokenize": {"prompt": "@"},
    "/detokenize": {"tokens": ["@"]},
    f"/v1beta/models/{MODEL}:generateContent": {"contents": [TURN]},
    f"/v1beta/models/{MODEL}:countTokens": {"contents": [TURN]},
    f"/v1beta/models/{MODEL}:embedContent": {"content": TURN},
    f"/v1beta/models/{MODEL}:batchEmbedContents": {"requests": [{"content": TURN}]},
    "/v1beta/cachedContents": {"model": MODEL, "contents": [TURN]},
}


def put(body: dict[str, Any], text: bytes) -> bytes:
    """The body, with JSON in place of its text."""
    return json.dumps(body).encode().replace(b'"@"', text)


def more(member: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda body: put(body, b'"a"')[:-1] + b", " + member + b"}"


REFUSED: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "arrays": lambda _: b"[" * DEEP,
    "closed arrays": lambda _: b"[" * DEEP + b"]" * DEEP,
    "objects": lambda _: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep within": more(b'"user": ' + b"[" * 10_000 + b"]" * 10_000),
    "many keys": more(b", ".join(b'"k%d": 1' % i for i in range(MAX_PARTS))),
    "a lone surrogate": lambda body: put(body, rb'"\ud800"'),
    "no UTF-8": lambda body: put(body, b'"\xff"'),
    "an encoded surrogate": lambda body: put(body, b'"\xed\xa0\x80"'),
    "a raw control character": lambda body: put(body, b'"\0"'),
    "a byte behind": lambda body: put(body, b'"a"') + b"\0",
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + put(body, b'"a"'),
    "UTF-16": lambda body: put(body, b'"a"').decode().encode("utf-16"),
    "an endless string": lambda body: put(body, b'"' + b"x" * 3_000_000),
    "an endless number": lambda body: put(body, b"9" * DEEP),
    "an endless key": more(b'"' + b"k" * 3_000_000 + b'": 1'),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_reader_should_take_is_one_line_at_every_endpoint(name: str, caplog) -> None:
    async with (
        running(lambda g, p: "a") as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        for path, body in BODIES.items():
            reply = await http.post(path, content=REFUSED[name](body))
            assert reply.status_code == 400, (path, reply.text)
            error = reply.json()["error"]
            assert "\n" not in error["message"]
            assert len(error["message"]) < 600
            gemini = path.startswith("/v1beta")
            shape = error.get("status") if gemini else error.get("type")
            assert shape == ("INVALID_ARGUMENT" if gemini else "invalid_request_error")
        assert server.worker.groups == []
    assert "Traceback" not in caplog.text


async def test_what_is_ignored_may_be_nested_and_not_endlessly() -> None:
    """200 deep, the body itself and an array of its own included."""
    generate = f"/v1beta/models/{MODEL}:generateContent"
    async with (
        running(lambda g, p: "a") as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for path, name in (("/v1/chat/completions", b"user"), (generate, b"labels")):
            for levels, status in ((199, 200), (201, 400)):
                member = b'"%s": %s%s' % (name, b"[" * levels, b"]" * levels)
                reply = await http.post(path, content=more(member)(BODIES[path]))
                assert reply.status_code == status


NUMBERS = [b"9" * 4300, b"-" + b"9" * 4300, b"1e308", b"1e400", b"1e4000", b"9" * 5000, b"NaN"]
WHOLE = {
    "/v1/chat/completions": [
        "n", "max_tokens", "max_completion_tokens", "seed", "top_k", "min_tokens",
        "thinking_token_budget", "temperature", "repetition_penalty",
    ],
    "/v1/completions": ["n", "max_tokens", "seed", "logprobs"],
    "/v1/responses": ["max_output_tokens", "seed", "top_logprobs"],
    "/v1/embeddings": ["dimensions", "truncate_prompt_tokens"],
}  # fmt: skip
WITHIN = {
    "uncertainty_routing": ["k", "min_votes", "tau", "max_tokens", "seed", "temperature"],
    "generationConfig": [
        "temperature",
        "topK",
        "topP",
        "candidateCount",
        "maxOutputTokens",
        "seed",
    ],
}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:6].decode())
async def test_numbers_that_no_machine_holds_are_the_callers_mistake(number, caplog) -> None:
    generate = f"/v1beta/models/{MODEL}:generateContent"
    counted = b'{"responseMimeType": "application/json", "responseSchema": {"minLength": %s}}'
    bodies = [
        (path, more(b'"%s": %s' % (name.encode(), number))(BODIES[path]))
        for path, names in WHOLE.items()
        for name in names
    ]
    for field, names in WITHIN.items():
        path = generate if field == "generationConfig" else "/v1/chat/completions"
        for name in names:
            member = b'"%s": {"%s": %s}' % (field.encode(), name.encode(), number)
            bodies.append((path, more(member)(BODIES[path])))
    bodies.append((generate, more(b'"generationConfig": ' + counted % number)(BODIES[generate])))
    bodies.append(("/detokenize", put(BODIES["/detokenize"], number)))
    async with (
        running(lambda g, p: "a") as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        for path, content in bodies:
            reply = await http.post(path, content=content)
            assert reply.status_code == 400, (path, content[-200:], reply.text)
            assert len(reply.json()["error"]["message"]) < 600
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", BODIES)
async def test_of_a_key_that_is_given_twice_the_last_counts(path: str) -> None:
    """As most readers have it, whoever stands between client and server included."""
    body = put(BODIES[path], b"1" if path == "/detokenize" else b'"a"')
    name = next(iter(BODIES[path])).encode()
    wrong = b'{"%s": {"a": 1}, ' % name + body[1:]
    async with (
        running(lambda g, p: "a") as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        assert (await http.post(path, content=wrong)).status_code == 200
        turned = body[:-1] + b', "%s": {"a": 1}}' % name
        assert (await http.post(path, content=turned)).status_code in (400, 404)


async def test_an_escaped_nul_is_a_character_like_others() -> None:
    async with (
        running(lambda g, p: "a") as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        for path, body in BODIES.items():
            if path != "/detokenize":
                reply = await http.post(path, content=put(body, rb'"a\u0000b"'))
                assert reply.status_code == 200, (path, reply.text)


LARGE = [b"[" * DEEP, b'{"a": [' + b"{}," * MAX_PARTS + b"1]}", b'{"type": "' + b"x" * 100_000]


@pytest.mark.parametrize("content", LARGE, ids=("deep", "many parts", "cut short"))
async def test_sessions_read_large_messages_as_requests_are_read(content: bytes, caplog) -> None:
    async with running_sessions(lambda g, p: "a") as server:
        async with realtime(server) as client:
            await client.send(content.decode())
            error = (await client.hear())["error"]
            assert (error["type"], "\n" in error["message"]) == ("invalid_request_error", False)
            assert (f"more than {MAX_PARTS}" in error["message"]) is (content is not LARGE[2])
            assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"
        async with live(server) as client:
            await client.set_up()
            await client.send(content.decode())
            assert (await client.end())[1] == 1007
    assert "Traceback" not in caplog.text


def test_a_header_of_deep_json_is_refused() -> None:
    with pytest.raises(ApiError, match="x-pollux-routing is not valid JSON"):
        parse_json("[" * 60_000, RoutingPolicy, param="x-pollux-routing")
