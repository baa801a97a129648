"""Gemini's embeddings, driven by the unmodified google-genai client and by httpx."""

import asyncio

import httpx
import numpy as np
import pytest
from google import genai
from google.genai import errors, types

from service.api.document.gemini_replies import BatchEmbeddingReply, EmbeddingReply
from tests.scripted import ScriptedWorker
from tests.scripts import WIDTH
from tests.service.support import CONTEXT, MODEL, running
from tests.service.test_openai_embeddings import ids_of, unit, unused

HELLO = {"content": {"parts": [{"text": "hello"}]}}


def client(url: str, **options) -> genai.Client:
    return genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url, **options))


@pytest.mark.parametrize("version", [None, "v1", "v1beta", "v1alpha"])
async def test_the_official_client_gets_unit_vectors_in_order(version) -> None:
    async with running(unused) as server, client(server.url, api_version=version).aio as ai:
        reply = await ai.models.embed_content(model=MODEL, contents=["hello", "a", "bc"])
        wanted = [unit(*ids_of(text, server)) for text in ("hello", "a", "bc")]
    assert [entry.values for entry in reply.embeddings] == [
        pytest.approx(vector, rel=1e-6) for vector in wanted
    ]
    assert all(np.linalg.norm(entry.values) == pytest.approx(1) for entry in reply.embeddings)
    assert reply.usage_metadata.prompt_token_count == 8
    assert reply.usage_metadata.total_token_count == 8
    assert reply.usage_metadata.prompt_tokens_details[0].modality is types.MediaModality.TEXT


async def test_the_synchronous_client_gets_the_same() -> None:
    def ask(url: str) -> list[float]:
        with client(url) as ai:
            reply = ai.models.embed_content(model=MODEL, contents="hello")
        return reply.embeddings[0].values

    async with running(unused) as server:
        values = await asyncio.to_thread(ask, server.url)
        assert values == pytest.approx(unit(*ids_of("hello", server)), rel=1e-6)


async def test_the_clients_configuration_is_taken() -> None:
    config = types.EmbedContentConfig(
        task_type="RETRIEVAL_DOCUMENT", title="a title", output_dimensionality=WIDTH
    )
    async with running(unused) as server, client(server.url).aio as ai:
        plain = await ai.models.embed_content(model=MODEL, contents="hello")
        reply = await ai.models.embed_content(model=MODEL, contents="hello", config=config)
    assert reply.embeddings[0].values == plain.embeddings[0].values


async def test_a_single_text_has_a_path_of_its_own() -> None:
    async with running(unused) as server, httpx.AsyncClient() as http:
        path = f"{server.url}/v1beta/models/{MODEL}:embedContent"
        reply = (await http.post(path, json=HELLO)).json()
        snake = {**HELLO, "task_type": "CLUSTERING", "output_dimensionality": WIDTH}
        again = (await http.post(path, json=snake)).json()
        nested = {**HELLO, "embedContentConfig": {"taskType": "CLUSTERING", "autoTruncate": True}}
        third = (await http.post(path, json=nested)).json()
        assert reply["embedding"]["values"] == pytest.approx(unit(*ids_of("hello", server)))
    assert reply == again == third
    assert reply["usageMetadata"]["promptTokenCount"] == 5
    assert EmbeddingReply.model_validate(reply).model_dump(by_alias=True) == reply


async def test_the_document_has_both_operations_and_what_they_answer() -> None:
    async with running(unused) as server, httpx.AsyncClient(base_url=server.url) as http:
        batch = {"requests": [HELLO, HELLO]}
        path = f"/v1beta/models/{MODEL}:batchEmbedContents"
        reply = (await http.post(path, json=batch)).json()
        document = (await http.get("/openapi.json")).json()
    assert BatchEmbeddingReply.model_validate(reply).model_dump(by_alias=True) == reply
    for method, body in (
        ("/v1/embeddings", "EmbeddingRequest"),
        ("/v1beta/models/{name}:embedContent", "EmbedRequest"),
        ("/v1beta/models/{name}:batchEmbedContents", "BatchEmbedRequest"),
    ):
        content = document["paths"][method]["post"]["requestBody"]["content"]
        assert content["application/json"]["schema"]["$ref"].endswith(f"/{body}")
        assert body in document["components"]["schemas"]


async def test_parts_of_a_text_are_one_text() -> None:
    parts = {"content": {"role": "user", "parts": [{"text": "he"}, {"text": "llo"}]}}
    async with running(unused) as server, httpx.AsyncClient() as http:
        path = f"{server.url}/v1beta/models/{MODEL}:embedContent"
        assert (await http.post(path, json=parts)).json() == (
            await http.post(path, json=HELLO)
        ).json()


async def test_a_long_text_is_cut_where_the_caller_says_so() -> None:
    long = {"content": {"parts": [{"text": "x" * (CONTEXT + 1)}]}}
    async with running(unused) as server, httpx.AsyncClient() as http:
        path = f"{server.url}/v1beta/models/{MODEL}:embedContent"
        refused = await http.post(path, json=long)
        cut = await http.post(path, json={**long, "embedContentConfig": {"autoTruncate": True}})
        assert len(server.worker.groups[0].group.prompt) == CONTEXT
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert f"({CONTEXT + 1}) exceeds the maximum number of tokens allowed" in error["message"]
    assert error["details"][0]["fieldViolations"][0]["field"] == "content"
    assert cut.status_code == 200


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"outputDimensionality": WIDTH + 1}, "outputDimensionality", f"{WIDTH} dimensions"),
        ({"embedContentConfig": {"outputDimensionality": 1}}, "outputDimensionality", "cannot"),
        ({"content": {"parts": [{"text": ""}]}}, "content", "empty"),
        ({"content": {"parts": []}}, "content.parts", ""),
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0]", "inlineData"),
        (
            {"content": {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}},
            "content",
            "text parts only",
        ),
        ({"taskType": "NONSENSE"}, "taskType", ""),
        ({"model": "models/other"}, "model", "'models/other'"),
        ({"uncertaintyRouting": {"k": 3}}, "uncertaintyRouting", "not supported"),
        ({"nonsense": 1}, "nonsense", "unknown parameter"),
        ({"mimeType": "image/png"}, "mimeType", "not supported"),
    ],
)
async def test_what_cannot_be_is_refused_in_googles_shape(change, field, said) -> None:
    async with running(unused) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/models/{MODEL}"
        single = await http.post(f"{url}:embedContent", json={**HELLO, **change})
        batch = {"requests": [HELLO, {**HELLO, **change}]}
        many = await http.post(f"{url}:batchEmbedContents", json=batch)
        assert not server.worker.groups
    for reply, place in ((single, ""), (many, "requests[1].")):
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert said in error["message"]
        found = error["details"][0]["fieldViolations"][0]["field"]
        assert found.removeprefix(place).startswith(field)


async def test_requests_that_contradict_and_batches_of_nothing_are_refused() -> None:
    async with running(unused, max_inputs=2) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1beta/models/{MODEL}:batchEmbedContents"

        async def said(*requests) -> str:
            reply = await http.post(url, json={"requests": list(requests)})
            assert reply.status_code == 400
            return reply.json()["error"]["message"]

        sized = [{**HELLO, "outputDimensionality": size} for size in (WIDTH, WIDTH - 1)]
        assert "different sizes" in await said(*sized)
        assert "1 to 2 inputs" in await said()
        assert "1 to 2 inputs" in await said(HELLO, HELLO, HELLO)


async def test_the_routed_alias_has_no_vectors_and_says_so_in_the_list() -> None:
    async with running(unused) as server, client(server.url).aio as ai:
        with pytest.raises(errors.ClientError, match="an embedding has no vote"):
            await ai.models.embed_content(model=f"{MODEL}:routed", contents="a")
        listed = {model.name: model.supported_actions async for model in await ai.models.list()}
    methods = {"embedContent", "batchEmbedContents"}
    assert methods <= set(listed[f"models/{MODEL}"])
    assert not methods & set(listed[f"models/{MODEL}:routed"])


async def test_the_clients_own_timeout_is_the_deadline() -> None:
    worker = ScriptedWorker(unused)
    async with running(worker) as server, client(server.url, timeout=7000).aio as ai:
        await ai.models.embed_content(model=MODEL, contents="a")
    assert worker.groups[0].group.deadline_s == 7


async def test_an_unknown_method_names_those_there_are() -> None:
    async with running(unused) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1beta/models/{MODEL}:embedText", json={})
    assert reply.status_code == 404
    assert "batchEmbedContents" in reply.json()["error"]["message"]
