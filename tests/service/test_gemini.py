"""Gemini's protocol, driven by the unmodified google-genai client and by httpx."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.genai.models import AsyncModels

from model.contract import TokenLogprob
from tests.scripted import Chunk, Failure, Gate, PathScript, ScriptedWorker, say
from tests.service.support import MODEL, eventually, running, sse_objects

HELLO = {"contents": [{"parts": [{"text": "hello"}]}]}


@asynccontextmanager
async def client(url: str, **options) -> AsyncIterator[AsyncModels]:
    options = types.HttpOptions(base_url=url, **options)
    async with genai.Client(api_key="none", http_options=options).aio as opened:
        yield opened.models


def greet(group, path):
    return f"hello from path {path.index}"


async def test_an_answer_carries_text_finish_and_usage() -> None:
    async with running(greet) as server, client(server.url) as models:
        reply = await models.generate_content(model=MODEL, contents="hello")
        assert reply.text == "hello from path 0"
        assert reply.candidates[0].finish_reason is types.FinishReason.STOP
        assert reply.model_version == MODEL
        assert reply.response_id
        usage = reply.usage_metadata
        assert usage.prompt_token_count == 8
        assert usage.candidates_token_count == 4
        assert usage.total_token_count == 12
        assert usage.prompt_tokens_details[0].modality is types.MediaModality.TEXT


async def test_every_parameter_reaches_the_worker() -> None:
    config = types.GenerateContentConfig(
        system_instruction="be brief",
        temperature=0.4,
        top_p=0.9,
        top_k=40,
        candidate_count=2,
        max_output_tokens=21,
        stop_sequences=["X"],
        seed=-5,
        response_logprobs=True,
        logprobs=3,
        presence_penalty=-0.5,
        frequency_penalty=1.25,
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")
        ],
        thinking_config=types.ThinkingConfig(thinking_budget=0),
    )
    async with running(greet) as server, client(server.url) as models:
        reply = await models.generate_content(
            model=MODEL,
            contents=[
                types.Content(role="user", parts=[types.Part(text="a"), types.Part(text="b")]),
                types.Content(role="model", parts=[types.Part(text="c")]),
                types.Content(role="user", parts=[types.Part(text="d")]),
            ],
            config=config,
        )
        assert [c.index for c in reply.candidates] == [0, 1]
        group = server.worker.groups[0]
        first, second = (request.sampling for request in group.requests)
        assert first.temperature == 0.4
        assert first.top_p == 0.9
        assert first.top_k == 40
        assert first.max_tokens == 21
        assert first.stop == ("X",)
        assert first.logprobs == 3
        assert (first.presence_penalty, first.frequency_penalty) == (-0.5, 1.25)
        assert first.seed == -5 & (2**63 - 1)
        assert second.seed != first.seed
        text = server.backend.text.tokenizer
        shown = "".join(
            text.piece(i) if i >= 300 else text.decode([i]) for i in group.group.prompt.token_ids()
        )
        assert shown == (
            "<|system|>be brief<|end|><|user|>ab<|end|><|assistant|>c<|end|>"
            "<|user|>d<|end|><|assistant|>"
        )


async def test_snake_case_is_understood_at_every_level() -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hi", "thought_signature": "AA"}]}],
        "system_instruction": {"parts": [{"text": "s"}]},
        "generation_config": {"max_output_tokens": 3, "top_k": 2.0, "stop_sequences": ["Q"],
                              "thinking_config": {"include_thoughts": False}},
        "safety_settings": [],
    }  # fmt: skip
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1beta/models/{MODEL}:generateContent", json=body)
        assert reply.status_code == 200, reply.text
        sampling = server.worker.groups[0].requests[0].sampling
        assert (sampling.max_tokens, sampling.top_k, sampling.stop) == (3, 2, ("Q",))


async def test_the_official_client_streams() -> None:
    async with running(greet) as server, client(server.url) as models:
        texts = []
        last = None
        stream = await models.generate_content_stream(model=MODEL, contents="hello")
        async for chunk in stream:
            texts.append(chunk.text)
            last = chunk
        assert "".join(texts) == "hello from path 0"
        assert len(texts) == 4
        assert last.candidates[0].finish_reason is types.FinishReason.STOP
        assert last.usage_metadata.total_token_count == 12


async def test_a_stream_holds_nothing_but_data_lines() -> None:
    url = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + url, json=HELLO)
    chunks = sse_objects(reply.text)
    assert "[DONE]" not in chunks
    assert all(chunk["candidates"][0]["content"]["role"] == "model" for chunk in chunks)
    assert len({chunk["responseId"] for chunk in chunks}) == 1


async def test_without_alt_sse_a_stream_is_one_json_array() -> None:
    url = f"/v1beta/models/{MODEL}:streamGenerateContent"
    script = PathScript(say("a b c").chunks, Failure("internal", "broke"))
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + url, json=HELLO)
        chunks = json.loads(reply.text)
        assert reply.headers["content-type"] == "application/json"
        texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
        assert "".join(texts) == "hello from path 0"
    async with running(lambda g, p: script) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + url, json=HELLO)
        assert json.loads(reply.text)[-1]["error"]["status"] == "INTERNAL"


async def test_logprobs_have_the_shape_the_client_knows() -> None:
    top = ((65, -0.25), (66, -1.5))
    script = PathScript((Chunk((65,), "x", (TokenLogprob(id=65, logprob=-0.25, top=top),)),))
    async with running(lambda g, p: script) as server, client(server.url) as models:
        reply = await models.generate_content(
            model=MODEL,
            contents="hi",
            config=types.GenerateContentConfig(response_logprobs=True, logprobs=2),
        )
        candidate = reply.candidates[0]
        assert candidate.avg_logprobs == -0.25
        (chosen,) = candidate.logprobs_result.chosen_candidates
        assert (chosen.token_id, chosen.log_probability) == (65, -0.25)
        (place,) = candidate.logprobs_result.top_candidates
        assert [c.token_id for c in place.candidates] == [65, 66]


async def test_models_are_told_by_credential_where_paths_collide() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http, client(server.url) as models:
        names = [model.name async for model in await models.list()]
        assert names == ["models/tiny", "models/tiny:routed"]
        one = await models.get(model="tiny:routed")
        assert one.input_token_limit == 2048
        as_openai = await http.get(
            f"{server.url}/v1/models", headers={"authorization": "Bearer none"}
        )
        assert [m["id"] for m in as_openai.json()["data"]] == ["tiny", "tiny:routed"]
        prefixed = await http.get(f"{server.url}/gemini/v1/models")
        assert "models" in prefixed.json()
        other = await http.get(
            f"{server.url}/openai/v1/models/tiny", headers={"x-goog-api-key": "x"}
        )
        assert other.json()["object"] == "model"


async def test_tokens_are_counted_as_they_would_be_sent() -> None:
    async with running(greet) as server, client(server.url) as models:
        counted = await models.count_tokens(model=MODEL, contents="hello")
        assert counted.total_tokens == 8
        assert not server.worker.groups


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"parts": [{"text": "x" * 3000}]}]}, "contents"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [{"role": "wizard", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"inline_data": {}}]}]},
         "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"executableCode": {}}]}]}, "contents[0].parts[0]"),
        ({"generationConfig": {"maxOutputTokens": 2048}}, "contents"),
        ({"generationConfig": {"candidateCount": 33}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"generationConfig": {"stopSequences": [""]}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"presencePenalty": 2.1}}, "generationConfig.presencePenalty"),
        ({"generationConfig": {"frequency_penalty": -3}}, "generationConfig.frequencyPenalty"),
        ({"generationConfig": {"frequencyPenalty": "NaN"}}, "generationConfig.frequencyPenalty"),
        ({"generationConfig": {"repetitionPenalty": 1.5}}, "generationConfig.repetitionPenalty"),
        ({"generationConfig": {"colour": 1}}, "generationConfig.colour"),
        ({"generationConfig": {"responseMimeType": "text/html"}},
         "generationConfig.responseMimeType"),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 100}}},
         "generationConfig.thinkingConfig.thinkingBudget"),
        ({"tools": [{"functionDeclarations": [{"name": "f"}]}]}, "tools"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),

        ({"uncertaintyRouting": {"kk": 3}}, "uncertaintyRouting.kk"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_an_invalid_argument(change, field) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:generateContent", json={**HELLO, **change}
        )
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["code"] == 400
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["details"][0]["fieldViolations"][0]["field"] == field
        assert not server.worker.groups


async def test_errors_are_what_the_client_raises() -> None:
    full = PathScript((), Failure("capacity", "full"))
    async with running(lambda g, p: full) as server, client(server.url) as models:
        with pytest.raises(errors.ClientError) as caught:
            await models.generate_content(model=MODEL, contents="x")
        assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
        assert "retryDelay" in json.dumps(caught.value.details)
        with pytest.raises(errors.ClientError) as caught:
            await models.generate_content(model="other", contents="x")
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


async def test_an_error_in_the_middle_of_a_stream_is_raised_by_the_client() -> None:
    script = PathScript(say("a b c").chunks, Failure("unavailable", "the worker left"))
    async with running(lambda g, p: script) as server, client(server.url) as models:
        texts = []
        with pytest.raises(errors.ServerError, match="the worker left"):  # noqa: PT012
            stream = await models.generate_content_stream(model=MODEL, contents="x")
            async for chunk in stream:
                texts.append(chunk.text)
        assert texts == ["a", " b"]


async def test_the_clients_own_timeout_is_the_deadline() -> None:
    worker = ScriptedWorker(lambda g, p: "a", pace=Gate())
    async with running(worker) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/models/{MODEL}:generateContent",
            json=HELLO,
            headers={"x-server-timeout": "0.1"},
        )
        assert reply.status_code == 504
        assert reply.json()["error"]["status"] == "DEADLINE_EXCEEDED"
        assert worker.idle


async def test_a_client_that_leaves_a_stream_frees_its_path() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d e", pace=gate)
    url = f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"
    async with running(worker) as server:
        gate.step(2)
        async with (
            httpx.AsyncClient() as http,
            http.stream("POST", server.url + url, json=HELLO) as reply,
        ):
            await anext(reply.aiter_bytes())
        await eventually(lambda: worker.idle)
        assert worker.groups[0].aborted == [0]
