"""Routed questions through both protocols: asked in every way, answered in every way."""

import json
from urllib.parse import unquote

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from tests.scripted import Gate, ScriptedWorker, completion_order
from tests.service.support import MODEL, eventually, running, sse_objects, tiny_text

QUESTION = [{"role": "user", "content": "What is two and two?"}]
POLICY = {"k": 4, "tau": 0.5, "answer": "number", "plan": "full"}
DECISION = {
    "route": "majority",
    "answer": "4",
    "consensus": [0.75, 0.75],
    "votes": {"4": 3},
    "k": 4,
    "tau": 0.5,
    "min_votes": 3,
    "samples": {"run": 4, "stopped": 0, "saved": 0, "invalid": 1},
    "limited_by": None,
    "calibration": None,
    "answer_type": "number",
    "plan": "full",
}


def is_direct(group) -> bool:
    return not group.open


def three_of_four(group, path):
    """The direct answer is wrong, three paths agree, one says nothing that counts."""
    if is_direct(group):
        return "Answer: 5"
    return "I do not know." if path.index == 2 else f"Path {path.index} thinks. Answer: 4"


def body(**more):
    return {"model": MODEL, "messages": QUESTION, **more}


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def test_the_field_asks_and_the_same_named_field_answers() -> None:
    async with running(three_of_four) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            **body(), extra_body={"uncertainty_routing": POLICY}
        )
        assert reply.uncertainty_routing == DECISION
        assert reply.choices[0].message.content == "Path 0 thinks. Answer: 4"
        direct, paths = server.worker.groups
        sampled = sum(direct.produced.values()) + sum(paths.produced.values())
        assert reply.usage.completion_tokens == sampled
        details = reply.usage.completion_tokens_details
        assert details.reasoning_tokens == sum(paths.produced.values())
        assert reply.usage.prompt_tokens == len(direct.group.prompt) + len(paths.group.prompt)


async def test_headers_carry_the_outcome() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(),
            headers={"x-pollux-routing": json.dumps(POLICY)},
        )
        shown = {k: v for k, v in reply.headers.items() if k.startswith("x-pollux-")}
        assert shown == {
            "x-pollux-route": "majority",
            "x-pollux-answer": "4",
            "x-pollux-consensus": "0.75,0.75",
            "x-pollux-k": "4",
            "x-pollux-min-votes": "3",
            "x-pollux-samples-run": "4",
            "x-pollux-samples-stopped": "0",
            "x-pollux-samples-saved": "0",
            "x-pollux-samples-invalid": "1",
        }
        assert reply.json()["uncertainty_routing"] == DECISION


async def test_penalties_hold_for_the_direct_answer_and_every_path() -> None:
    penalties = {"presence_penalty": 1, "frequency_penalty": -0.5, "repetition_penalty": 1.1}
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions", json=body(uncertainty_routing=POLICY, **penalties)
        )
        assert reply.status_code == 200, reply.text
        requests = [request for group in server.worker.groups for request in group.requests]
        assert len(requests) == 5
        for request in requests:
            held = {name: getattr(request.sampling, name) for name in penalties}
            assert held == penalties


async def test_an_answer_in_a_header_is_encoded_and_short() -> None:
    def script(group, path):
        return "Answer: größe " + "ö" * 60

    async with running(script) as server, httpx.AsyncClient() as http:
        policy = {**POLICY, "answer": "exact"}
        reply = await http.post(
            f"{server.url}/v1/chat/completions", json=body(uncertainty_routing=policy)
        )
        sent = reply.headers["x-pollux-answer"]
        assert len(sent) <= 256
        whole = reply.json()["uncertainty_routing"]["answer"]
        assert whole.startswith("grösse")
        assert whole.startswith(unquote(sent, errors="strict"))


async def test_the_alias_asks_with_the_servers_defaults() -> None:
    settings = {"routed_k": 6, "routed_tau": 0.7, "routed_answer": "exact"}
    async with running(lambda g, p: "Answer: blue", **settings) as server:
        async with client(server.url) as ai:
            reply = await ai.chat.completions.create(**body(model=f"{MODEL}:routed"))
        decision = reply.uncertainty_routing
        assert (decision["k"], decision["tau"], decision["answer"]) == (6, 0.7, "blue")
        # Every path agrees with the direct answer: 6 - 5 + 1 of them decide it.
        assert decision["route"] == "either"
        assert decision["samples"]["run"] == 2
        assert decision["samples"]["run"] + decision["samples"]["stopped"] < 6


async def test_a_field_wins_over_the_header_and_the_alias() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(model=f"{MODEL}:routed", uncertainty_routing={**POLICY, "k": 3}),
            headers={"x-pollux-routing": json.dumps({**POLICY, "k": 2})},
        )
        assert reply.json()["uncertainty_routing"]["k"] == 3


async def test_what_a_field_leaves_out_is_as_the_alias_says() -> None:
    settings = {"routed_k": 6, "routed_tau": 0.7, "routed_answer": "number"}
    async with running(lambda g, p: "Answer: 7", **settings) as server, httpx.AsyncClient() as http:

        async def decision(policy: dict[str, object]) -> dict[str, object]:
            reply = await http.post(
                f"{server.url}/v1/chat/completions",
                json=body(model=f"{MODEL}:routed", uncertainty_routing=policy),
            )
            return reply.json()["uncertainty_routing"]

        fewer = await decision({"k": 3})
        assert (fewer["k"], fewer["tau"], fewer["answer"]) == (3, 0.7, "7")
        counted = await decision({"min_votes": 2})
        assert (counted["k"], counted["min_votes"]) == (6, 2)


async def test_a_stream_of_a_vote_tells_the_usage_from_the_decision_on() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = body(uncertainty_routing=POLICY, stream=True, stream_options=options)
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=asked)
    *chunks, _ = sse_objects(reply.text)
    used = [chunk["usage"] for chunk in chunks]
    decided = used.index(used[-1])
    assert used[:decided] == [None] * decided
    assert used[decided:] == [used[-1]] * 3  # text, finish, usage
    assert used[-1]["completion_tokens"] > 0


async def test_a_stream_shows_votes_then_the_decision_then_the_text() -> None:
    worker = ScriptedWorker(three_of_four, schedule=completion_order([1, 2, 0, 3]))
    asked = body(uncertainty_routing=POLICY, stream=True, stream_options={"include_usage": True})
    async with running(worker) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=asked)
    *chunks, done = sse_objects(reply.text)
    assert done == "[DONE]"
    steps = [chunk.get("uncertainty_routing", {}).get("event") for chunk in chunks]
    assert steps == [None, "direct", "vote", "vote", "vote", "vote", "decision", None, None, None]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(chunk["choices"] == [] for chunk in chunks[1:7])
    assert chunks[1]["uncertainty_routing"] == {
        "event": "direct",
        "answer": "5",
        "status": "ok",
    }
    assert [chunk["uncertainty_routing"]["path"] for chunk in chunks[2:6]] == [1, 2, 0, 3]
    assert chunks[2]["uncertainty_routing"] == {
        "event": "vote",
        "path": 1,
        "status": "ok",
        "answer": "4",
        "votes": {"4": 1},
        "consensus": [0.25, 1.0],
        "run": 1,
        "remaining": 3,
    }
    assert chunks[6]["uncertainty_routing"] == {"event": "decision", **DECISION}
    assert chunks[7]["choices"][0]["delta"] == {"content": "Path 0 thinks. Answer: 4"}
    assert chunks[8]["choices"][0]["finish_reason"] == "stop"
    assert chunks[8]["uncertainty_routing"] == DECISION
    assert chunks[9]["choices"] == []
    assert chunks[9]["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


async def test_the_openai_client_reads_a_routed_stream_to_its_end() -> None:
    async with running(three_of_four) as server, client(server.url) as ai:
        text, votes = "", []
        stream = await ai.chat.completions.create(
            **body(stream=True), extra_body={"uncertainty_routing": POLICY}
        )
        async for chunk in stream:
            step = getattr(chunk, "uncertainty_routing", None)
            if step and step.get("event") == "vote":
                votes.append(step["answer"])
            for choice in chunk.choices:
                text += choice.delta.content or ""
        assert text == "Path 0 thinks. Answer: 4"
        assert sorted(votes, key=str) == ["4", "4", "4", None]


@pytest.mark.parametrize("streamed", [False, True])
async def test_gemini_is_routed_by_body_and_answers_in_headers(streamed: bool) -> None:
    camel = {"k": 4, "minVotes": 3, "answer": "number", "plan": "all"}
    options = types.HttpOptions(extra_body={"uncertaintyRouting": camel})
    config = types.GenerateContentConfig(http_options=options)
    async with running(three_of_four) as server:
        google = genai.Client(api_key="x", http_options=types.HttpOptions(base_url=server.url)).aio
        async with google as ai:
            if streamed:
                stream = await ai.models.generate_content_stream(
                    model=MODEL, contents="What is two and two?", config=config
                )
                texts = [chunk.text async for chunk in stream]
                assert "".join(texts) == "Path 0 thinks. Answer: 4"
                assert len(texts) == 7
                return
            reply = await ai.models.generate_content(
                model=MODEL, contents="What is two and two?", config=config
            )
        assert reply.text == "Path 0 thinks. Answer: 4"
        assert reply.sdk_http_response.headers["x-pollux-route"] == "majority"
        assert reply.usage_metadata.thoughts_token_count > 0


async def test_gemini_answers_in_the_field_in_its_own_casing() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:routed:generateContent",
            json={"contents": [{"parts": [{"text": "2+2?"}]}], "uncertainty_routing": POLICY},
        )
        assert reply.status_code == 200, reply.text
        assert reply.json()["uncertaintyRouting"] == DECISION


async def test_the_policy_then_the_request_then_defaults_sample_the_paths() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        for policy, asked, expected in [
            ({}, {}, (0.7, 0.95, 1024)),
            ({}, {"temperature": 1.2, "top_p": 0.5, "max_tokens": 70}, (1.2, 0.5, 70)),
            ({"temperature": 0.9, "max_tokens": 80}, {"temperature": 1.2}, (0.9, 0.95, 80)),
        ]:
            request = body(uncertainty_routing={**POLICY, **policy}, seed=3, **asked)
            reply = await http.post(f"{server.url}/v1/chat/completions", json=request)
            assert reply.status_code == 200, reply.text
            direct, paths = server.worker.groups[-2:]
            assert direct.requests[0].sampling.temperature == 0
            first = paths.requests[0].sampling
            assert (first.temperature, first.top_p, first.max_tokens) == expected
            assert len({request.sampling.seed for request in paths.requests}) == 4


async def test_a_base_model_gets_worked_questions_and_their_stops() -> None:
    async with running(three_of_four, text=tiny_text(None)) as server, client(server.url) as ai:
        await ai.chat.completions.create(**body(), extra_body={"uncertainty_routing": POLICY})
        direct, paths = server.worker.groups
        text = server.backend.text.tokenizer.decode(paths.group.prompt.token_ids())
        assert text.endswith("Question: What is two and two?\nReasoning:")
        assert "\nQuestion:" in paths.requests[0].sampling.stop
        assert "\nQuestion:" in direct.requests[0].sampling.stop


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 0}, "temperature"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"uncertainty_routing": {"k": 9}}, "uncertainty_routing.k"),
        ({"uncertainty_routing": {"k": 0}}, "uncertainty_routing.k"),
        ({"uncertainty_routing": {"tau": 2}}, "uncertainty_routing.tau"),
        ({"uncertainty_routing": {"hm": 1}}, "uncertainty_routing.hm"),
        (
            {"uncertainty_routing": {"budget": {"deadline_s": 0}}},
            "uncertainty_routing.budget.deadline_s",
        ),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "4"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 1990}]}, "messages"),
    ],
)
async def test_what_routing_cannot_do_is_refused_by_name(change, param) -> None:
    async with running(three_of_four, max_samples=8) as server, httpx.AsyncClient() as http:
        asked = {**body(uncertainty_routing=POLICY), **change}
        reply = await http.post(f"{server.url}/v1/chat/completions", json=asked)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
        assert not server.worker.groups


async def test_a_malformed_header_is_refused_by_name() -> None:
    async with running(three_of_four) as server, httpx.AsyncClient() as http:
        for header, param in [("{", "x-pollux-routing"), ('{"k":"x"}', "x-pollux-routing.k")]:
            reply = await http.post(
                f"{server.url}/v1/chat/completions",
                json=body(),
                headers={"x-pollux-routing": header},
            )
            assert reply.status_code == 400
            assert reply.json()["error"]["param"] == param


async def test_a_client_that_leaves_a_vote_frees_every_path() -> None:
    gate = Gate()
    worker = ScriptedWorker(three_of_four, pace=gate)
    async with running(worker) as server:
        gate.step(4)
        async with httpx.AsyncClient() as http:
            asked = body(uncertainty_routing=POLICY, stream=True)
            url = f"{server.url}/v1/chat/completions"
            async with http.stream("POST", url, json=asked) as reply:
                await anext(reply.aiter_bytes())
                await eventually(lambda: len(worker.groups) == 2)
        await eventually(lambda: worker.idle)
        assert worker.groups[1].aborted
        assert server.gateway.admission.paths == 0


async def test_cached_tokens_of_both_prompts_are_counted() -> None:
    worker = ScriptedWorker(three_of_four, cached=16)
    async with running(worker) as server, httpx.AsyncClient() as http:
        asked = body(uncertainty_routing=POLICY)
        reply = await http.post(f"{server.url}/v1/chat/completions", json=asked)
        assert reply.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}
