"""Completions, as lm-evaluation-harness and the openai client use them."""

import httpx
import openai
import pytest

from model.contract import TokenLogprob
from tests.scripted import Chunk, Failure, PathScript
from tests.service.support import MODEL, running, sse_objects


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def name_prompt(group, path):
    return f"{len(group.prompt)} tokens, path {path.index}"


async def test_a_text_prompt_is_encoded_as_plain_text() -> None:
    async with running(name_prompt) as server, client(server.url) as ai:
        reply = await ai.completions.create(model=MODEL, prompt="<|end|>")
        # The spelled-out control token is seven characters, not one token.
        assert reply.choices[0].text == "7 tokens, path 0"
        assert server.worker.groups[0].requests[0].sampling.max_tokens == 16


async def test_token_ids_are_taken_as_they_are() -> None:
    async with running(name_prompt) as server, client(server.url) as ai:
        await ai.completions.create(model=MODEL, prompt=[5, 6, 303])
        assert server.worker.groups[0].group.prompt.token_ids() == (5, 6, 303)


async def test_penalties_reach_the_worker() -> None:
    async with running(name_prompt) as server, client(server.url) as ai:
        await ai.completions.create(
            model=MODEL,
            prompt="x",
            presence_penalty=-2,
            frequency_penalty=2,
            extra_body={"repetition_penalty": 10, "top_k": 3, "min_p": 0.1, "min_tokens": 1},
        )
        sampling = server.worker.groups[0].requests[0].sampling
        assert (sampling.presence_penalty, sampling.frequency_penalty) == (-2, 2)
        assert sampling.repetition_penalty == 10
        assert (sampling.top_k, sampling.min_p, sampling.min_tokens) == (3, 0.1, 1)


async def test_many_prompts_times_n_are_numbered_prompt_by_prompt() -> None:
    async with running(name_prompt) as server, client(server.url) as ai:
        for prompt in (["a", "bb"], [[5], [5, 6]]):
            reply = await ai.completions.create(model=MODEL, prompt=prompt, n=2)
            assert [(choice.index, choice.text) for choice in reply.choices] == [
                (0, "1 tokens, path 0"),
                (1, "1 tokens, path 1"),
                (2, "2 tokens, path 0"),
                (3, "2 tokens, path 1"),
            ]
            assert reply.usage.prompt_tokens == 3
        assert server.gateway.admission.requests == 0


async def test_many_prompts_stream_into_their_own_choices() -> None:
    async with running(name_prompt) as server, client(server.url) as ai:
        texts: dict[int, str] = {}
        stream = await ai.completions.create(
            model=MODEL, prompt=["a", "bb"], n=2, stream=True, echo=True
        )
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
        assert texts == {
            0: "a1 tokens, path 0",
            1: "a1 tokens, path 1",
            2: "bb2 tokens, path 0",
            3: "bb2 tokens, path 1",
        }


async def test_loglikelihood_of_a_prompt_as_lm_eval_asks_for_it() -> None:
    scored = PathScript(
        (Chunk((67,), "!", (TokenLogprob(id=67, logprob=-0.125, top=((67, -0.125),)),)),)
    )
    async with running(lambda g, p: scored) as server, client(server.url) as ai:
        reply = await ai.completions.create(
            model=MODEL, prompt=[65, 66], max_tokens=1, temperature=0, logprobs=1, echo=True, seed=1
        )
        group = server.worker.groups[0].group
        assert group.prompt_logprobs == 1
        (choice,) = reply.choices
        names = [server.backend.text.tokenizer.decode([i]) for i in (65, 66, 67)]
        assert choice.text == names[0] + names[1] + "!"
        assert choice.logprobs.tokens == names
        # The first token has no context; the prompt's are the script's -0.5.
        assert choice.logprobs.token_logprobs == [None, -0.5, -0.125]
        assert choice.logprobs.top_logprobs == [None, {names[1]: -0.5}, {names[2]: -0.125}]
        assert choice.logprobs.text_offset == [0, 1, 2]


async def test_the_chosen_token_is_among_the_alternatives() -> None:
    entry = TokenLogprob(id=67, logprob=-4.0, top=((68, -0.5),))
    script = PathScript((Chunk((67,), "!", (entry,)),))
    async with running(lambda g, p: script) as server, client(server.url) as ai:
        reply = await ai.completions.create(model=MODEL, prompt="x", logprobs=1)
        decode = server.backend.text.tokenizer.decode
        (top,) = reply.choices[0].logprobs.top_logprobs
        assert top == {decode([68]): -0.5, decode([67]): -4.0}


async def test_a_prompt_can_be_scored_without_writing_anything() -> None:
    async with running(lambda g, p: PathScript((), "length")) as server, client(server.url) as ai:
        reply = await ai.completions.create(
            model=MODEL, prompt="ab", max_tokens=0, logprobs=0, echo=True
        )
        assert reply.choices[0].text == "ab"
        assert reply.choices[0].finish_reason == "length"
        assert len(reply.choices[0].logprobs.tokens) == 2
        assert reply.usage.completion_tokens == 0


async def test_a_streamed_echo_brings_its_scores_with_it() -> None:
    body = {"model": MODEL, "prompt": "ab", "echo": True, "logprobs": 0, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    async with running(lambda g, p: "c") as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/completions", json=body)
    *chunks, done = sse_objects(reply.text)
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["text"] for choice in choices] == ["ab", "c"]
    assert choices[0]["logprobs"]["token_logprobs"] == [None, -0.5]
    assert choices[1]["logprobs"]["text_offset"] == [2]
    assert choices[1]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["prompt_tokens"] == 2


async def test_pieces_tell_the_usage_so_far_where_that_is_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"model": MODEL, "prompt": "ab", "stream": True, "stream_options": options}
    async with running(lambda g, p: "one two") as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/completions", json=body)
    *chunks, _ = sse_objects(reply.text)
    told = [(c["usage"]["prompt_tokens"], c["usage"]["completion_tokens"]) for c in chunks]
    assert told == [(2, 1), (2, 2), (2, 2)]


async def test_one_failing_prompt_fails_the_request_and_ends_the_others() -> None:
    def script(group, path):
        if len(group.prompt) == 1:
            return PathScript((), Failure("invalid", "not this one"))
        return "word " * 50

    async with running(script) as server, client(server.url) as ai:
        with pytest.raises(openai.BadRequestError, match="not this one"):
            await ai.completions.create(model=MODEL, prompt=["aa", "b", "cc"], max_tokens=100)
        assert server.worker.idle
        assert server.gateway.admission.requests == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["x"] * 257}, "prompt"),
        ({"prompt": [5, -1]}, "prompt"),
        ({"prompt": [5, 99999]}, "prompt"),
        ({"prompt": [5, "x"]}, "prompt[1]"),
        ({"prompt": "x" * 3000}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"frequency_penalty": "NaN"}, "frequency_penalty"),
        ({"repetition_penalty": -1}, "repetition_penalty"),
        ({"uncertainty_routing": {}}, "uncertainty_routing"),
        ({"model": "tiny:routed"}, "uncertainty_routing"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(change, param) -> None:
    body = {"model": MODEL, "prompt": "x", **change}
    async with running(name_prompt) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/completions", json=body)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
        assert not server.worker.groups
