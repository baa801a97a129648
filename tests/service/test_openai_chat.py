"""Chat completions, driven by the unmodified openai client and by httpx."""

import httpx
import openai
import pytest

from model.contract import TokenLogprob
from tests.scripted import Chunk, Failure, Gate, PathScript, ScriptedWorker, say
from tests.service.support import MODEL, eventually, running, sse_objects

HELLO = [{"role": "user", "content": "hello"}]


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def greet(group, path):
    return f"hello from path {path.index}"


async def test_a_plain_answer_carries_text_finish_and_usage() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO)
        assert reply.object == "chat.completion"
        assert reply.model == MODEL
        assert reply.choices[0].message.content == "hello from path 0"
        assert reply.choices[0].finish_reason == "stop"
        prompt = server.worker.groups[0].group.prompt
        assert prompt.token_ids()[0] == 301
        assert prompt.token_ids()[-2:] == (303, 302)
        assert reply.usage.prompt_tokens == len(prompt) == 8
        assert reply.usage.completion_tokens == 4
        assert reply.usage.total_tokens == 12


async def test_every_parameter_reaches_the_worker() -> None:
    async with running(greet) as server, client(server.url) as ai:
        await ai.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            temperature=0.3,
            top_p=0.8,
            seed=7,
            stop=["X", "YY"],
            max_completion_tokens=33,
            logit_bias={"5": -3.5},
            logprobs=True,
            top_logprobs=2,
            presence_penalty=0.5,
            frequency_penalty=-1.5,
            user="me",
            extra_body={
                "top_k": 5,
                "min_p": 0.1,
                "ignore_eos": True,
                "min_tokens": 2,
                "stop_token_ids": [9],
                "repetition_penalty": 1.2,
            },
        )
        (request,) = server.worker.groups[0].requests
        sampling = request.sampling
        assert sampling.temperature == 0.3
        assert sampling.top_p == 0.8
        assert sampling.seed == 7
        assert sampling.stop == ("X", "YY")
        assert sampling.max_tokens == 33
        assert sampling.logit_bias == ((5, -3.5),)
        assert sampling.logprobs == 2
        assert sampling.top_k == 5
        assert sampling.min_p == 0.1
        assert sampling.ignore_eos
        assert sampling.min_tokens == 2
        assert sampling.stop_ids == (9,)
        assert sampling.presence_penalty == 0.5
        assert sampling.frequency_penalty == -1.5
        assert sampling.repetition_penalty == 1.2


async def test_n_answers_are_paths_of_one_group_with_seeds_of_their_own() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO, n=3, seed=11)
        texts = {choice.index: choice.message.content for choice in reply.choices}
        assert texts == {i: f"hello from path {i}" for i in range(3)}
        assert len(server.worker.groups) == 1
        seeds = [path.sampling.seed for path in server.worker.groups[0].requests]
        assert seeds[0] == 11
        assert len(set(seeds)) == 3


async def test_without_a_seed_two_requests_differ() -> None:
    async with running(greet) as server, client(server.url) as ai:
        for _ in range(2):
            await ai.chat.completions.create(model=MODEL, messages=HELLO)
        first, second = (group.requests[0].sampling.seed for group in server.worker.groups)
        assert first != second


async def test_a_stream_is_role_deltas_finish_usage_done_in_this_order() -> None:
    body = {
        "model": MODEL,
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with running(lambda g, p: "one two") as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, done = sse_objects(reply.text)
    assert done == "[DONE]"
    assert [chunk["object"] for chunk in chunks] == ["chat.completion.chunk"] * 5
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [[c["delta"] for c in chunk["choices"]] for chunk in chunks] == [
        [{"role": "assistant", "content": ""}],
        [{"content": "one"}],
        [{"content": " two"}],
        [{}],
        [],
    ]
    assert chunks[3]["choices"][0]["finish_reason"] == "stop"
    assert [chunk["usage"] for chunk in chunks[:4]] == [None] * 4
    assert chunks[4]["usage"]["completion_tokens"] == 2


async def test_every_chunk_tells_the_usage_so_far_where_that_is_asked_for() -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    options = {"include_usage": True, "continuous_usage_stats": True}
    alone = {"continuous_usage_stats": True}
    async with running(lambda g, p: "one two") as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/chat/completions"
        reply = await http.post(url, json={**body, "stream_options": options})
        without = await http.post(url, json={**body, "stream_options": alone})
    *chunks, _ = sse_objects(reply.text)
    used = [chunk["usage"] for chunk in chunks]
    assert [one["completion_tokens"] for one in used] == [0, 1, 2, 2, 2]
    assert len({one["prompt_tokens"] for one in used}) == 1
    assert all(u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] for u in used)
    # Without include_usage it asks for nothing, as in vLLM.
    assert not any("usage" in chunk for chunk in sse_objects(without.text)[:-1])


async def test_streamed_choices_are_indexed_and_complete() -> None:
    async with running(greet) as server, client(server.url) as ai:
        texts = {0: "", 1: "", 2: ""}
        finished = []
        stream = await ai.chat.completions.create(model=MODEL, messages=HELLO, n=3, stream=True)
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                if choice.finish_reason:
                    finished.append((choice.index, choice.finish_reason))
        assert texts == {i: f"hello from path {i}" for i in range(3)}
        assert sorted(finished) == [(0, "stop"), (1, "stop"), (2, "stop")]


async def test_logprobs_name_tokens_and_their_bytes() -> None:
    # Id 255 is a lone byte that is no character; 303 is a control token.
    top = ((65, -0.25), (303, float("-inf")))
    script = PathScript(
        (Chunk((65,), "x", (TokenLogprob(id=65, logprob=-0.25, top=top),)),), "length"
    )
    async with running(lambda g, p: script) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2
        )
        piece = server.backend.text.tokenizer.token_bytes(65)
        (entry,) = reply.choices[0].logprobs.content
        assert entry.token == piece.decode()
        assert entry.bytes == list(piece)
        assert entry.logprob == -0.25
        assert [t.token for t in entry.top_logprobs] == [piece.decode(), "<|end|>"]
        assert entry.top_logprobs[1].logprob == -9999.0
        assert entry.top_logprobs[1].bytes is None
        assert reply.choices[0].finish_reason == "length"


async def test_roles_and_parts_become_the_templates_messages() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "<|end|>"},
    ]
    async with running(greet) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=messages)
        ids = server.worker.groups[0].group.prompt.token_ids()
        text = server.backend.text.tokenizer
        shown = "".join(text.piece(i) if i >= 300 else text.decode([i]) for i in ids)
        assert shown == (
            "<|system|>be brief<|end|><|user|>a\nb<|end|>"
            "<|assistant|>c<|end|><|user|><|end|><|end|><|assistant|>"
        )
        # What the user typed is text; the template's own are control tokens.
        assert ids.count(303) == 4


async def test_the_answer_may_fill_what_is_left_of_the_context() -> None:
    async with running(greet, default_max_tokens=10_000) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=HELLO)
        assert server.worker.groups[0].requests[0].sampling.max_tokens == 2048 - 8


async def test_the_default_length_is_capped_by_a_setting() -> None:
    async with running(greet, default_max_tokens=50) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=HELLO)
        assert server.worker.groups[0].requests[0].sampling.max_tokens == 50


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"messages": [{"role": "user", "content": "x" * 3000}]}, "messages",
         "context_length_exceeded"),
        ({"max_tokens": 2048}, "messages", "context_length_exceeded"),
        ({"n": 0}, "n", None),
        ({"n": 33}, "n", None),
        ({"temperature": 2.5}, "temperature", None),
        ({"temperature": "NaN"}, "temperature", None),
        ({"top_p": 0}, "top_p", None),
        ({"stop": ["x"] * 17}, "stop", None),
        ({"stop": ""}, "stop", None),
        ({"logit_bias": {"5": 101}}, "logit_bias", None),
        ({"logit_bias": {"9999": 1}}, "logit_bias", None),
        ({"stop_token_ids": [9999]}, "stop_token_ids", None),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens", None),
        ({"presence_penalty": 2.5}, "presence_penalty", None),
        ({"presence_penalty": "NaN"}, "presence_penalty", None),
        ({"frequency_penalty": -2.5}, "frequency_penalty", None),
        ({"repetition_penalty": 0}, "repetition_penalty", None),
        ({"repetition_penalty": 10.5}, "repetition_penalty", None),
        ({"repetition_penalty": "high"}, "repetition_penalty", None),
        ({"length_penalty": 2}, "length_penalty", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools",
         "unsupported_parameter"),
        ({"use_beam_search": 1}, "use_beam_search", "unsupported_parameter"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"messages": []}, "messages", None),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", None),
        ({"messages": [{"role": "user"}]}, "messages[0]", None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0].content[0]", None),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", None),
        ({"top_logprobs": 3}, "top_logprobs", None),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", None),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(change, param, code) -> None:
    body = {"model": MODEL, "messages": HELLO, **change}
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert error["code"] == code
        assert "\n" not in error["message"]
        assert not server.worker.groups, "nothing may reach the worker"


async def test_an_unknown_model_is_not_found() -> None:
    async with running(greet) as server, client(server.url) as ai:
        with pytest.raises(openai.NotFoundError) as caught:
            await ai.chat.completions.create(model="gpt-9", messages=HELLO)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert "tiny:routed" in caught.value.message


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("invalid", "not this", "stop_ids"), 400),
        (Failure("capacity", "full"), 429),
        (Failure("unavailable", "gone"), 503),
        (Failure("deadline", "late"), 504),
        (Failure("internal", "broken"), 500),
    ],
)
async def test_a_failure_before_the_first_token_has_its_own_status(failure, status) -> None:
    script = PathScript((), failure)
    async with running(lambda g, p: script) as server, httpx.AsyncClient() as http:
        body = {"model": MODEL, "messages": HELLO}
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
        assert reply.status_code == status
        assert reply.json()["error"]["message"] == failure.message
        assert ("retry-after" in reply.headers) == (status in (429, 503))


async def test_a_failure_in_the_middle_of_a_stream_is_its_last_event() -> None:
    script = PathScript(say("a b c").chunks, Failure("internal", "the engine broke"))
    async with running(lambda g, p: script) as server, client(server.url) as ai:
        seen = ""
        with pytest.raises(openai.APIError, match="the engine broke"):  # noqa: PT012
            async for chunk in await ai.chat.completions.create(
                model=MODEL, messages=HELLO, stream=True
            ):
                seen += chunk.choices[0].delta.content or ""
        assert seen == "a b"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_paths(stream: bool) -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d e f", pace=gate)
    body = {"model": MODEL, "messages": HELLO, "stream": stream, "n": 2}
    async with running(worker) as server:
        async with httpx.AsyncClient() as http:
            request = http.build_request("POST", f"{server.url}/v1/chat/completions", json=body)
            if stream:
                gate.step(2)
                reply = await http.send(request, stream=True)
                await anext(reply.aiter_bytes())
                await reply.aclose()
            else:
                with pytest.raises(httpx.ReadTimeout):
                    await http.send(
                        http.build_request(
                            "POST", request.url, json=body, extensions={"timeout": {"read": 0.2}}
                        )
                    )
        await eventually(lambda: worker.groups and worker.idle)
        assert sorted(worker.groups[0].aborted) == [0, 1]
        assert server.gateway.admission.requests == 0
        assert server.gateway.admission.paths == 0


async def test_a_request_that_takes_too_long_ends_and_frees_its_paths() -> None:
    worker = ScriptedWorker(lambda g, p: "a b", pace=Gate())
    body = {"model": MODEL, "messages": HELLO}
    async with running(worker, request_timeout=0.1) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
        assert reply.status_code == 504
        assert reply.json()["error"]["type"] == "timeout_error"
        assert worker.idle
        assert worker.groups[0].group.deadline_s == 0.1
