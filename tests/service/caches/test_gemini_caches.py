"""Gemini's cachedContents, driven by the unmodified client and by hand."""

import asyncio
import datetime
from contextlib import asynccontextmanager

import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.service.sessions.support import live
from tests.service.support import MODEL, TEMPLATE, running, shown, tiny_text

KEY = "right-right-right-right"
OTHER = "other-other-other-other"
KEYS = f"alice={KEY},bob={OTHER}"
CONFIG = {
    "display_name": "book",
    "system_instruction": "be brief",
    "contents": "a long book",
    "ttl": "300s",
}
BODY = {"model": f"models/{MODEL}", "contents": [{"parts": [{"text": "a long book"}]}]}
ASK = [{"parts": [{"text": "who?"}]}]


def greet(group, path):
    return "Answer: 4"


async def test_a_live_session_goes_on_with_cached_content() -> None:
    async with running(greet, api_keys=KEYS, session_hold_seconds=0) as server:
        async with opened(server) as client:
            cache = await client.caches.create(model=MODEL, config=CONFIG)
        headers = {"x-goog-api-key": KEY}
        async with live(server, additional_headers=headers) as session:
            await session.set_up(cachedContent=cache.name)
            await session.ask("who?")
            await session.ask("where?")
            await session.send({"contextUpdate": {"systemInstruction": {"parts": [{"text": "x"}]}}})
            _, _, reason = await session.end()
            assert "cached content stays as it is" in reason
        turn = "<|system|>be brief<|end|><|user|>a long book\n\nwho?<|end|><|assistant|>"
        second = f"{turn}Answer: 4<|end|><|user|>where?<|end|><|assistant|>"
        assert prompts(server) == [turn, second]
        holds = [stream.group.id for stream in server.worker.groups if stream.group.hold]
        assert [s.group.near for s in server.worker.groups if not s.group.hold] == holds * 2


@pytest.mark.parametrize(
    ("key", "more", "message"),
    [
        (OTHER, {}, "CachedContent not found"),
        (KEY, {"cachedContent": "cachedContents/none"}, "CachedContent not found"),
        (KEY, {"systemInstruction": {"parts": [{"text": "x"}]}}, "can not be used with"),
    ],
)
async def test_a_live_session_is_refused_cached_content_that_it_may_not_have(
    key, more, message
) -> None:
    async with running(greet, api_keys=KEYS) as server:
        async with opened(server) as client:
            cache = await client.caches.create(model=MODEL, config=CONFIG)
        async with live(server, additional_headers={"x-goog-api-key": key}) as session:
            setup = {"model": f"models/{MODEL}", "cachedContent": cache.name, **more}
            await session.send({"setup": setup})
            _, _, reason = await session.end()
            assert message in reason


def prompts(server) -> list[str]:
    return [
        shown(server.backend.text, group.group.prompt.token_ids())
        for group in server.worker.groups
        if not group.group.hold
    ]


@asynccontextmanager
async def opened(server, key: str = KEY, **options):
    options = {"async_client_args": {"transport": httpx.AsyncHTTPTransport()}, **options}
    http = types.HttpOptions(base_url=server.url, **options)
    async with genai.Client(api_key=key, http_options=http).aio as client:
        yield client


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_the_official_client_makes_uses_changes_and_deletes(transport, version) -> None:
    options = {"api_version": version}
    if transport == "aiohttp":
        pytest.importorskip("aiohttp")
        options["async_client_args"] = None
    async with running(greet, api_keys=KEYS) as server, opened(server, **options) as client:
        cache = await client.caches.create(model=MODEL, config=CONFIG)
        assert cache.name.startswith("cachedContents/")
        assert (cache.model, cache.display_name) == (f"models/{MODEL}", "book")
        assert (cache.expire_time - cache.create_time).total_seconds() == pytest.approx(300, abs=5)
        prefix = "<|system|>be brief<|end|><|user|>a long book"
        assert cache.usage_metadata.total_token_count == len("be brief") + len("a long book") + 3
        assert await client.caches.get(name=cache.name) == cache
        longer = await client.caches.update(name=cache.name, config={"ttl": "600s"})
        assert longer.expire_time > cache.expire_time
        assert [one.name async for one in await client.caches.list()] == [cache.name]

        config = types.GenerateContentConfig(cached_content=cache.name)
        reply = await client.models.generate_content(model=MODEL, contents="who?", config=config)
        assert reply.text == "Answer: 4"
        stream = await client.models.generate_content_stream(
            model=MODEL, contents="who?", config=config
        )
        assert "".join([chunk.text async for chunk in stream]) == "Answer: 4"
        whole = prefix + "\n\nwho?<|end|><|assistant|>"
        assert prompts(server) == [whole, whole]

        await client.caches.delete(name=cache.name)
        with pytest.raises(errors.ClientError) as gone:
            await client.caches.get(name=cache.name)
        assert gone.value.status == "NOT_FOUND"
        with pytest.raises(errors.ClientError) as gone:
            await client.models.generate_content(model=MODEL, contents="who?", config=config)
        assert (gone.value.code, gone.value.status) == (403, "PERMISSION_DENIED")


async def test_the_synchronous_client_does_the_same() -> None:
    async with running(greet) as server:
        options = types.HttpOptions(base_url=server.url)

        def use() -> None:
            with genai.Client(api_key="none", http_options=options) as client:
                cache = client.caches.create(model=MODEL, config=CONFIG)
                assert client.caches.get(name=cache.name) == cache
                soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
                changed = client.caches.update(name=cache.name, config={"expire_time": soon})
                assert abs((changed.expire_time - soon).total_seconds()) < 1
                assert [one.name for one in client.caches.list()] == [cache.name]
                client.caches.delete(name=cache.name)
                assert list(client.caches.list()) == []

        await asyncio.to_thread(use)


async def test_routed_questions_go_on_with_cached_content() -> None:
    async with running(greet) as server, opened(server) as client:
        cache = await client.caches.create(model=MODEL, config=CONFIG)
        config = types.GenerateContentConfig(
            cached_content=cache.name,
            http_options={"extra_body": {"uncertaintyRouting": {"k": 2, "answer": "number"}}},
        )
        for model in (MODEL, f"{MODEL}:routed"):
            reply = await client.models.generate_content(
                model=model, contents="who?", config=config
            )
            assert reply.sdk_http_response.headers["x-pollux-route"]
        beginning = "<|system|>be brief<|end|><|user|>a long book\n\nwho?"
        assert all(prompt.startswith(beginning) for prompt in prompts(server))


async def test_a_count_tells_what_is_cached() -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        cache = (await http.post("/v1beta/cachedContents", json=BODY)).json()
        whole = {"model": f"models/{MODEL}", "contents": ASK, "cachedContent": cache["name"]}
        reply = await http.post(
            f"/v1beta/models/{MODEL}:countTokens", json={"generateContentRequest": whole}
        )
        counted = reply.json()
        assert counted["cachedContentTokenCount"] == cache["usageMetadata"]["totalTokenCount"]
        assert counted["totalTokens"] > counted["cachedContentTokenCount"]


async def test_pages_of_the_list_hold() -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        names = [
            (await http.post("/v1beta/cachedContents", json=BODY)).json()["name"] for _ in range(3)
        ]
        first = (await http.get("/v1beta/cachedContents?pageSize=2")).json()
        assert [one["name"] for one in first["cachedContents"]] == names[:0:-1]
        query = f"pageSize=2&pageToken={first['nextPageToken']}"
        rest = (await http.get(f"/v1beta/cachedContents?{query}")).json()
        assert [one["name"] for one in rest["cachedContents"]] == names[:1]
        assert "nextPageToken" not in rest
        assert (await http.get("/v1beta/cachedContents?pageToken=x")).status_code == 400


async def test_one_key_neither_sees_nor_uses_what_another_has() -> None:
    async with running(greet, api_keys=KEYS) as server, opened(server) as alice:
        cache = await alice.caches.create(model=MODEL, config=CONFIG)
        async with opened(server, OTHER) as bob:
            assert [one async for one in await bob.caches.list()] == []
            with pytest.raises(errors.ClientError) as refused:
                await bob.caches.delete(name=cache.name)
            assert refused.value.code == 404
            with pytest.raises(errors.ClientError) as refused:
                await bob.models.generate_content(
                    model=MODEL, contents="who?", config={"cached_content": cache.name}
                )
            assert refused.value.code == 403
        assert prompts(server) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"ttl": "300"}, "ttl"),
        ({"ttl": "0s"}, "ttl"),
        ({"ttl": "99999999s"}, "ttl"),
        ({"ttl": "300s", "expireTime": "2030-01-01T00:00:00Z"}, "ttl"),
        ({"expireTime": "2030-01-01T00:00:00"}, "expireTime"),
        ({"expireTime": "2001-01-01T00:00:00Z"}, "ttl"),
        ({"expireTime": "tomorrow"}, "expireTime"),
        ({"displayName": "x" * 129}, "displayName"),
        ({"colour": "red"}, "colour"),
        ({"kmsKeyName": "x"}, "kmsKeyName"),
        ({"contents": [{"parts": [{"text": "x" * 3000}]}]}, "contents"),
        ({"contents": [{"parts": [{"text": "x"}]}] * 600}, "contents"),
        ({"tools": [{"functionDeclarations": [{"name": "f"}]}]}, "tools"),
    ],
)
async def test_what_cannot_be_cached_is_an_invalid_argument(change, field) -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        reply = await http.post("/v1beta/cachedContents", json={**BODY, **change})
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["details"][0]["fieldViolations"][0]["field"] == field
        assert len(server.gateway.caches) == 0


async def test_an_unknown_model_is_not_found_and_an_update_changes_only_the_time() -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        reply = await http.post("/v1/cachedContents", json={**BODY, "model": "models/other"})
        assert reply.status_code == 404
        name = (await http.post("/v1/cachedContents", json=BODY)).json()["name"]
        for body in ({}, {"displayName": "x"}, {"ttl": "1s", "expireTime": "2030-01-01T00:00:00Z"}):
            assert (await http.patch(f"/v1/{name}", json=body)).status_code == 400


@pytest.mark.parametrize(
    "own",
    [
        {"systemInstruction": {"parts": [{"text": "x"}]}},
        {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
        {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}},
    ],
)
async def test_a_request_has_no_beginning_of_its_own_beside_a_cached_one(own) -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        name = (await http.post("/v1beta/cachedContents", json=BODY)).json()["name"]
        reply = await http.post(
            f"/v1beta/models/{MODEL}:generateContent",
            json={"contents": ASK, "cachedContent": name, **own},
        )
        assert reply.status_code == 400
        assert "CachedContent can not be used with" in reply.json()["error"]["message"]


async def test_a_beginning_that_the_template_refuses_is_told() -> None:
    text = tiny_text(TEMPLATE.replace("{% for", "{{ raise_exception('no') }}{% for"))
    async with running(greet, text=text) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1beta/cachedContents", json=BODY)
        assert reply.status_code == 400


async def test_metrics_tell_how_many_are_kept() -> None:
    async with running(greet) as server, httpx.AsyncClient(base_url=server.url) as http:
        await http.post("/v1beta/cachedContents", json=BODY)
        lines = (await http.get("/metrics")).text.splitlines()
    (line,) = [one for one in lines if one.startswith("pollux:cached_contents{")]
    assert line.endswith(" 1.0")
