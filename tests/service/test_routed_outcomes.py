"""Abstentions, budgets, weights, texts and live votes as the official clients see them."""

import asyncio
import json

import httpx
import openai
import pytest
from google import genai
from google.genai import types
from prometheus_client.parser import text_string_to_metric_families

from model.contract import TokenLogprob
from service.api.routed import REFUSAL
from tests.scripted import Chunk, Gate, PathScript, ScriptedWorker, completion_order, say
from tests.service.support import MODEL, running, sse_objects
from tests.service.test_routed import POLICY, body, client, is_direct, three_of_four
from tests.service.test_stream import conversation

ABSTAIN = {**POLICY, "on_disagreement": "abstain"}
TEXT = "Path 0 thinks. Answer: 4"


def all_differ(group, path):
    return "Answer: 5" if is_direct(group) else f"Answer: {path.index}"


def google(url: str) -> genai.Client:
    return genai.Client(api_key="x", http_options=types.HttpOptions(base_url=url))


def routed(**policy) -> types.GenerateContentConfig:
    extra = {"uncertaintyRouting": policy}
    return types.GenerateContentConfig(http_options=types.HttpOptions(extra_body=extra))


# --- abstaining ----------------------------------------------------------------------------------


async def test_abstaining_is_a_refusal_for_the_openai_client() -> None:
    async with running(all_differ) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            **body(), extra_body={"uncertainty_routing": ABSTAIN}
        )
        message = reply.choices[0].message
        assert (message.content, message.refusal) == ("", REFUSAL)
        assert reply.choices[0].finish_reason == "stop"
        decision = reply.uncertainty_routing
        assert (decision["route"], decision["answer"]) == ("abstain", None)
        assert decision["on_disagreement"] == "abstain"

        said, refused, finishes = "", "", []
        stream = await ai.chat.completions.create(
            **body(stream=True), extra_body={"uncertainty_routing": ABSTAIN}
        )
        async for chunk in stream:
            for choice in chunk.choices:
                said += choice.delta.content or ""
                refused += choice.delta.refusal or ""
                finishes.append(choice.finish_reason)
        assert (said, refused, finishes[-1]) == ("", REFUSAL, "stop")


@pytest.mark.parametrize("streamed", [False, True])
async def test_abstaining_is_an_empty_candidate_for_google_genai(
    streamed: bool,
) -> None:
    config = routed(**ABSTAIN)
    async with running(all_differ) as server, google(server.url).aio as ai:
        if streamed:
            stream = await ai.models.generate_content_stream(
                model=MODEL, contents="hm?", config=config
            )
            replies = [chunk async for chunk in stream]
        else:
            replies = [await ai.models.generate_content(model=MODEL, contents="hm?", config=config)]
        assert "".join(reply.text for reply in replies) == ""
        assert replies[-1].candidates[0].finish_reason is types.FinishReason.OTHER
        if not streamed:
            headers = replies[0].sdk_http_response.headers
            assert headers["x-pollux-route"] == "abstain"
            assert "x-pollux-answer" not in headers


async def test_abstaining_says_why_in_geminis_field_for_it() -> None:
    """For REST: google-genai drops finishMessage from what this API sends."""
    async with running(all_differ) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:generateContent",
            json={"contents": [{"parts": [{"text": "2+2?"}]}], "uncertaintyRouting": ABSTAIN},
        )
    (candidate,) = reply.json()["candidates"]
    assert (candidate["finishReason"], candidate["finishMessage"]) == ("OTHER", REFUSAL)
    assert candidate["content"]["parts"] == [{"text": ""}]


async def test_abstaining_on_a_socket_is_the_same_response() -> None:
    async with running(all_differ) as server:
        asked = {**body(), "uncertainty_routing": ABSTAIN}
        heard, code = await conversation(server.socket_url, asked)
    assert code == 1000
    *_, delta, done = heard
    assert delta == {"type": "delta", "index": 0, "text": "", "refusal": REFUSAL}
    assert done["response"]["choices"][0]["message"]["refusal"] == REFUSAL
    assert done["response"]["uncertainty_routing"]["route"] == "abstain"


async def test_best_effort_returns_the_most_frequent_answer() -> None:
    def script(group, path):
        return "Answer: 5" if is_direct(group) else f"Answer: {[1, 2, 2, 3][path.index]}"

    async with running(script) as server, client(server.url) as ai:
        policy = {**POLICY, "onDisagreement": "best_effort"}
        reply = await ai.chat.completions.create(
            **body(), extra_body={"uncertainty_routing": policy}
        )
    decision = reply.uncertainty_routing
    assert (decision["route"], decision["answer"]) == ("best_effort", "2")
    assert reply.choices[0].message.content == "Answer: 2"


# --- budgets -------------------------------------------------------------------------------------


async def test_a_budget_is_in_the_body_and_in_a_header() -> None:
    policy = {**POLICY, "plan": "throughput", "budget": {"paths": 2}}
    async with running(all_differ) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions", json=body(uncertainty_routing=policy)
        )
        decision = reply.json()["uncertainty_routing"]
        assert (decision["limited_by"], decision["limited_to"]) == ("paths", 2)
        assert reply.headers["x-pollux-limited-by"] == "paths"
        # At the door a question counts with the paths that it may start.
        text = (await http.get(f"{server.url}/metrics")).text
    samples = {
        (s.name, s.labels.get("by") or s.labels.get("plan")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["pollux:routing_limited_total", "paths"] == 1
    assert samples["pollux:routing_plans_total", "throughput"] == 1
    assert samples["vllm:request_params_n_sum", None] == 3


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_deadline_without_any_answer_is_504_in_both_protocols(streamed: bool) -> None:
    policy = {**POLICY, "budget": {"deadlineS": 0.02}}
    worker = ScriptedWorker(all_differ, pace=Gate())
    async with running(worker) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(uncertainty_routing=policy, stream=streamed),
        )
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
        assert "deadline of 0.02 s" in reply.json()["error"]["message"]
        verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:{verb}",
            json={"contents": [{"parts": [{"text": "2+2?"}]}], "uncertaintyRouting": policy},
        )
        assert reply.status_code == 504
        assert reply.json()["error"]["status"] == "DEADLINE_EXCEEDED"
        assert worker.idle
        assert server.gateway.admission.paths == 0


async def test_a_deadline_returns_what_is_there() -> None:
    gate = Gate()
    worker = ScriptedWorker(all_differ, pace=gate)
    policy = {**POLICY, "budget": {"deadline_s": 0.4}}
    async with running(worker) as server, httpx.AsyncClient() as http:
        gate.step(2)
        reply = await http.post(
            f"{server.url}/v1/chat/completions", json=body(uncertainty_routing=policy)
        )
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "Answer: 5"
    assert reply.headers["x-pollux-limited-by"] == "deadline"
    assert worker.idle


# --- weights -------------------------------------------------------------------------------------


async def test_a_weighted_vote_is_reported_as_such() -> None:
    def script(group, path):
        if is_direct(group):
            return "Answer: 5"
        answer, sure = [("4", -5.0), ("4", -5.0), ("3", -0.1), ("2", -9.0)][path.index]
        chunks = say(f"Answer: {answer}").chunks
        scored = (TokenLogprob(id=1, logprob=sure),)
        return PathScript(tuple(Chunk(c.tokens, c.text, scored) for c in chunks))

    policy = {"k": 4, "tau": 0.5, "answer": "number", "weighting": "mean_logprob"}
    async with running(script) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions", json=body(uncertainty_routing=policy)
        )
    decision = reply.json()["uncertainty_routing"]
    assert (decision["route"], decision["answer"]) == ("majority", "3")
    assert (decision["voting"], decision["plan"]) == ("mean_logprob", "full")
    assert list(decision["weights"]) == ["3", "4", "2"]
    assert decision["weights"]["3"] > 0.9
    assert reply.headers["x-pollux-voting"] == "mean_logprob"


# --- texts of paths ------------------------------------------------------------------------------


async def test_texts_of_paths_come_when_they_are_asked_for_and_only_then() -> None:
    worker = ScriptedWorker(three_of_four, schedule=completion_order([1, 2, 0, 3]))
    policy = {**POLICY, "include_paths": True}
    async with running(worker) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(uncertainty_routing=policy, stream=True),
        )
    *chunks, _ = sse_objects(reply.text)
    steps = [chunk["uncertainty_routing"] for chunk in chunks if "uncertainty_routing" in chunk]
    assert steps[0]["text"] == "Answer: 5"
    votes = [step for step in steps if step.get("event") == "vote"]
    assert [vote["text"].split(".")[0] for vote in votes] == [
        "Path 1 thinks", "I do not know", "Path 0 thinks", "Path 3 thinks"
    ]  # fmt: skip
    decided, final = steps[-2:]
    assert "paths" not in decided
    assert final["direct"]["text"] == "Answer: 5"
    assert [path["index"] for path in final["paths"]] == [0, 1, 2, 3]
    assert final["paths"][0] == {
        "index": 0,
        "answer": "4",
        "status": "ok",
        "text": TEXT,
        "tokens": 5,
        "finish": "stop",
    }
    assert final["paths"][2]["status"] == "invalid"


# --- live votes through google-genai -------------------------------------------------------------

FIELD = "uncertaintyRouting"


def steps_of(chunks) -> list[dict]:
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    return [part.part_metadata[FIELD] for part in parts]


def check_live(chunks) -> None:
    steps = steps_of(chunks)
    events = [step.get("event") for step in steps]
    assert events == ["direct", "vote", "vote", "vote", "vote", "decision", None]
    assert [step["answer"] for step in steps[1:5]] == ["4", None, "4", "4"]
    assert steps[1]["consensus"] == [0.25, 1.0]
    assert steps[5]["votes"] == {"4": 3}
    assert steps[6]["route"] == "majority"
    assert "".join(chunk.text for chunk in chunks) == TEXT


LIVE = {**POLICY, "partMetadata": True}


def live_worker() -> ScriptedWorker:
    return ScriptedWorker(three_of_four, schedule=completion_order([1, 2, 0, 3]))


async def test_the_vote_arrives_live_in_the_async_google_client() -> None:
    async with running(live_worker()) as server, google(server.url).aio as ai:
        stream = await ai.models.generate_content_stream(
            model=MODEL, contents="2+2?", config=routed(**LIVE)
        )
        check_live([chunk async for chunk in stream])


async def test_the_vote_arrives_live_in_the_sync_google_client() -> None:
    async with running(live_worker()) as server:

        def ask() -> list:
            with google(server.url) as ai:
                return list(
                    ai.models.generate_content_stream(
                        model=MODEL, contents="2+2?", config=routed(**LIVE)
                    )
                )

        check_live(await asyncio.to_thread(ask))


async def test_the_outcome_is_on_the_part_of_a_whole_reply_too() -> None:
    async with running(live_worker()) as server, google(server.url).aio as ai:
        reply = await ai.models.generate_content(
            model=MODEL, contents="2+2?", config=routed(**LIVE)
        )
        assert reply.text == TEXT
        (step,) = steps_of([reply])
        assert (step["route"], step["answer"]) == ("majority", "4")


async def test_parts_carry_nothing_unless_asked_and_streams_are_data_lines_alone() -> None:
    async with running(live_worker()) as server, httpx.AsyncClient() as http:
        for policy, there in [(POLICY, False), (LIVE, True)]:
            reply = await http.post(
                f"{server.url}/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
                json={"contents": [{"parts": [{"text": "2+2?"}]}], FIELD: policy},
            )
            objects = sse_objects(reply.text)
            parts = [item["candidates"][0]["content"]["parts"][0] for item in objects]
            assert all(("partMetadata" in part) == there for part in parts)
            if there:
                assert [part["partMetadata"][FIELD] for part in parts] == [
                    item[FIELD] for item in objects
                ]


async def test_the_vote_arrives_live_in_the_sync_openai_client() -> None:
    async with running(live_worker()) as server:

        def ask() -> list:
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as ai:
                stream = ai.chat.completions.create(
                    **body(stream=True), extra_body={"uncertainty_routing": POLICY}
                )
                return list(stream)

        chunks = await asyncio.to_thread(ask)
    steps = [chunk.uncertainty_routing for chunk in chunks if "uncertainty_routing" in chunk.model_extra]  # fmt: skip # noqa: E501
    events = [step.get("event") for step in steps]
    assert events == ["direct", "vote", "vote", "vote", "vote", "decision", None]
    assert steps[-1]["route"] == "majority"


async def test_every_header_of_a_policy_is_read_from_the_routing_header_too() -> None:
    policy = {**ABSTAIN, "includePaths": True, "budget": {"tokens": 500}}
    async with running(all_differ) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(),
            headers={"x-pollux-routing": json.dumps(policy)},
        )
        assert reply.headers["x-pollux-route"] == "abstain"
        assert len(reply.json()["uncertainty_routing"]["paths"]) == 4


async def test_a_threshold_of_thirds_stays_exact_through_the_alias() -> None:
    async with running(all_differ) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/chat/completions",
            json=body(model=f"{MODEL}:routed", uncertainty_routing={"k": 3, "tau": "2/3"}),
        )
        # Strictly more than two thirds of three.
        assert reply.json()["uncertainty_routing"]["min_votes"] == 3
