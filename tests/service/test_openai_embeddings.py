"""OpenAI's embeddings, driven by the unmodified openai client and by httpx."""

import asyncio
import base64

import httpx
import numpy as np
import openai
import pytest

from model.contract import Group, Prompt
from service.api.document.openai_replies import EmbeddingsReply
from service.api.embedding import LANES
from tests.scripted import Failure, Gate, ScriptedWorker
from tests.scripts import WIDTH, made_up_vector
from tests.service.support import CONTEXT, MODEL, VOCABULARY, eventually, running


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def unused(group, path):
    raise AssertionError("an embedding has no paths")


def unit(*ids: int) -> list[float]:
    """What the scripted worker makes of a prompt, as the gateway tells it."""
    group = Group(id="x", prompt=Prompt.of_tokens(ids), paths=())
    values = np.frombuffer(made_up_vector(group), "<f4").astype(np.float64)
    return (values / np.linalg.norm(values)).tolist()


def ids_of(text: str, server) -> tuple[int, ...]:
    return server.backend.text.encode_text(text)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_the_official_client_gets_unit_vectors_in_order(encoding) -> None:
    more = {} if encoding is None else {"encoding_format": encoding}
    async with running(unused) as server, client(server.url) as ai:
        reply = await ai.embeddings.create(model=MODEL, input=["hello", "a", "bc"], **more)
        wanted = [unit(*ids_of(text, server)) for text in ("hello", "a", "bc")]
    assert reply.object == "list"
    assert reply.model == MODEL
    assert [entry.index for entry in reply.data] == [0, 1, 2]
    assert {entry.object for entry in reply.data} == {"embedding"}
    for entry, vector in zip(reply.data, wanted, strict=True):
        values = entry.embedding
        if isinstance(values, str):
            values = np.frombuffer(base64.b64decode(values), "<f4").tolist()
        assert values == pytest.approx(vector, rel=1e-6)
        assert np.linalg.norm(values) == pytest.approx(1)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == 8


def test_the_synchronous_client_gets_the_same() -> None:
    def ask(url: str) -> list[float]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as ai:
            return ai.embeddings.create(model=MODEL, input="hello").data[0].embedding

    async def both() -> tuple[list[float], list[float]]:
        async with running(unused) as server, client(server.url) as ai:
            here = await ai.embeddings.create(model=MODEL, input="hello")
            return await asyncio.to_thread(ask, server.url), here.data[0].embedding

    one, other = asyncio.run(both())
    assert one == other


async def test_base64_holds_the_very_numbers() -> None:
    async with running(unused) as server, httpx.AsyncClient(base_url=server.url) as http:
        ask = {"model": MODEL, "input": "hello"}
        plain = (await http.post("/v1/embeddings", json=ask)).json()
        packed = (
            await http.post("/v1/embeddings", json={**ask, "encoding_format": "base64"})
        ).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == plain["data"][0]["embedding"]
    for reply in (plain, packed):
        assert EmbeddingsReply.model_validate(reply).model_dump() == reply
    assert len(raw) == 4 * WIDTH


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ([5, 6, 303], [(5, 6, 303)]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
    ],
)
async def test_token_ids_are_taken_as_they_are(given, prompts) -> None:
    async with running(unused) as server, client(server.url) as ai:
        reply = await ai.embeddings.create(model=MODEL, input=given)
        asked = [stream.group for stream in server.worker.groups]
    assert [group.prompt.token_ids() for group in asked] == prompts
    assert all(group.embed and not group.paths for group in asked)
    assert [entry.embedding for entry in reply.data] == [
        pytest.approx(unit(*ids), rel=1e-6) for ids in prompts
    ]
    assert reply.usage.prompt_tokens == sum(map(len, prompts))


async def test_special_tokens_spelled_by_a_user_are_plain_text() -> None:
    async with running(unused) as server, client(server.url) as ai:
        await ai.embeddings.create(model=MODEL, input="<|end|>")
        assert len(server.worker.groups[0].group.prompt) == 7


async def test_the_first_tokens_are_kept_where_a_limit_is_given() -> None:
    async with running(unused) as server, client(server.url) as ai:

        async def prompt(given, limit: int) -> tuple[int, ...]:
            extra = {"truncate_prompt_tokens": limit}
            await ai.embeddings.create(model=MODEL, input=given, extra_body=extra)
            return server.worker.groups[-1].group.prompt.token_ids()

        assert await prompt("hello", 3) == ids_of("hel", server)
        assert await prompt("hello", 9) == ids_of("hello", server)
        assert await prompt([5, 6, 7], 2) == (5, 6)
        assert await prompt("x" * 3 * CONTEXT, -1) == ids_of("x" * CONTEXT, server)
        # Far beyond what is worth tokenizing.
        assert await prompt("x" * 100 * CONTEXT, -1) == ids_of("x" * CONTEXT, server)


async def test_fields_without_effect_are_taken() -> None:
    async with running(unused) as server, client(server.url) as ai:
        await ai.embeddings.create(
            model=MODEL,
            input="hello",
            user="somebody",
            dimensions=WIDTH,
            extra_body={"normalize": True, "priority": 0, "add_special_tokens": False},
        )
        assert len(server.worker.groups) == 1


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"dimensions": WIDTH - 1}, "dimensions", f"have {WIDTH} dimensions"),
        ({"dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": ""}, "input", "empty"),
        ({"input": ["a", ""]}, "input[1]", "empty"),
        ({"input": [[3], []]}, "input[1]", "empty"),
        ({"input": []}, "input", "1 to 2048 inputs"),
        ({"input": [VOCABULARY]}, "input", "token ids must be in"),
        ({"input": [[1], [-1]]}, "input[1]", "token ids must be in"),
        ({"input": {"text": "a"}}, "input", ""),
        ({"input": ["a", 3]}, "input[1]", ""),
        ({"input": [True]}, "input[0]", ""),
        ({"input": "x" * (CONTEXT + 1)}, "input", f"maximum context length is {CONTEXT}"),
        ({"input": ["a", "x" * (CONTEXT + 1)]}, "input[1]", "your input[1] resulted in"),
        ({"input": ["a", "x" * 100 * CONTEXT]}, "input[1]", "too many for a context"),
        ({"input": [[1] * (CONTEXT + 1)]}, "input[0]", "maximum context length"),
        ({"encoding_format": "int8"}, "encoding_format", ""),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", ""),
        ({"normalize": False}, "normalize", "not supported"),
        ({"model": f"{MODEL}:routed"}, "model", "no vote"),
        ({"uncertainty_routing": {"k": 3}}, "uncertainty_routing", "not supported"),
        ({"temperature": 1}, "temperature", "unknown parameter"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(change, param, said) -> None:
    async with running(unused) as server, httpx.AsyncClient() as http:
        body = {"model": MODEL, "input": "hello", **change}
        reply = await http.post(f"{server.url}/v1/embeddings", json=body)
        assert not server.worker.groups
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)
    assert said in error["message"]
    assert "\n" not in error["message"]


async def test_a_routing_header_is_refused() -> None:
    headers = {"x-pollux-routing": '{"k": 3}'}
    async with running(unused) as server, httpx.AsyncClient(headers=headers) as http:
        body = {"model": MODEL, "input": "hello"}
        reply = await http.post(f"{server.url}/v1/embeddings", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "x-pollux-routing"


async def test_an_unknown_model_is_not_found() -> None:
    async with running(unused) as server, client(server.url) as ai:
        with pytest.raises(openai.NotFoundError, match="there is no model"):
            await ai.embeddings.create(model="other", input="a")


async def test_more_inputs_than_a_request_may_hold_are_refused() -> None:
    async with running(unused, max_inputs=2) as server, client(server.url) as ai:
        await ai.embeddings.create(model=MODEL, input=["a", "b"])
        with pytest.raises(openai.BadRequestError, match="1 to 2 inputs"):
            await ai.embeddings.create(model=MODEL, input=["a", "b", "c"])


async def test_each_input_is_admitted_as_a_path_and_a_worker_has_few_at_once() -> None:
    gate = Gate()
    worker = ScriptedWorker(unused, pace=gate)
    texts = [f"text {number}" for number in range(LANES + 20)]
    async with running(worker, max_paths=100) as server, client(server.url) as ai:
        asked = asyncio.create_task(ai.embeddings.create(model=MODEL, input=texts))
        await eventually(lambda: len(worker.groups) == LANES)
        assert server.gateway.admission.paths == LANES + 20
        assert server.gateway.admission.requests == 1
        with pytest.raises(openai.RateLimitError):
            await ai.embeddings.create(model=MODEL, input=["a"] * 20)
        gate.release()
        reply = await asked
        assert server.gateway.admission.paths == server.gateway.admission.requests == 0
        assert [entry.embedding for entry in reply.data] == [
            pytest.approx(unit(*ids_of(text, server)), rel=1e-6) for text in texts
        ]
    assert worker.idle


async def test_who_leaves_frees_the_worker() -> None:
    gate = Gate()
    worker = ScriptedWorker(unused, pace=gate)
    async with running(worker) as server, client(server.url) as ai:
        asked = asyncio.create_task(ai.embeddings.create(model=MODEL, input=["a", "b"]))
        await eventually(lambda: len(worker.groups) == 2)
        asked.cancel()
        await eventually(lambda: worker.idle)
        await eventually(lambda: server.gateway.admission.requests == 0)


@pytest.mark.parametrize(
    ("made", "status", "said"),
    [
        (Failure("capacity", "the queue is full"), 429, "the queue is full"),
        (Failure("deadline", "the deadline passed"), 504, "deadline"),
        (None, 503, "ended this request early"),
        (np.zeros(WIDTH, "<f4").tobytes(), 500, "no direction"),
        (np.full(WIDTH, np.nan, "<f4").tobytes(), 500, "no direction"),
    ],
)
async def test_one_that_fails_ends_the_request_with_its_reason(made, status, said) -> None:
    def vectors(group):
        return made if len(group.prompt) == 2 else made_up_vector(group)

    worker = ScriptedWorker(unused, vectors=vectors)
    async with running(worker) as server, httpx.AsyncClient() as http:
        body = {"model": MODEL, "input": ["a", "bb", "ccc"]}
        reply = await http.post(f"{server.url}/v1/embeddings", json=body)
        assert server.gateway.admission.requests == 0
    assert reply.status_code == status
    assert said in reply.json()["error"]["message"]
    assert worker.idle


async def test_prompt_tokens_are_counted_and_charged() -> None:
    async with running(unused) as server, client(server.url) as ai:
        await ai.embeddings.create(model=MODEL, input=["hello", "a"])
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{server.url}/metrics")).text
    at = {line.split("{")[0]: line.split()[-1] for line in text.splitlines() if line[0] != "#"}
    assert float(at["vllm:prompt_tokens_total"]) == 6
    assert float(at["vllm:request_params_n_sum"]) == 2
    assert (
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 1.0'
        in (text)
    )


async def test_keys_are_asked_for() -> None:
    async with running(unused, api_keys="alice=s3cret-s3cret-s3cret") as server:
        async with client(server.url) as ai:
            with pytest.raises(openai.AuthenticationError):
                await ai.embeddings.create(model=MODEL, input="a")
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="s3cret-s3cret-s3cret"
        ) as ai:
            await ai.embeddings.create(model=MODEL, input="a")
