"""Effort and thinking configurations of routed questions, and models that reason under routing."""

import json
from typing import Any

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from model.contract import Group, PathRequest
from tests.scripted import ScriptedWorker, completion_order
from tests.service.support import (
    MODEL,
    OPENED_TEMPLATE,
    THINK_CONTROL,
    THINK_TEMPLATE,
    Running,
    running,
    shown,
    spoken,
    tiny_text,
)

HELLO: list[Any] = [{"role": "user", "content": "2 + 2?"}]
POLICY = {"answer": "number", "tau": 0.5}
LINES = "direct answer: 5\npath 0: 4 [4: 1; 3 to go]\npath 1: 4 [4: 2; 2 to go]\n"
LINES += "path 2: 4 [4: 3; 1 to go]\nmajority: 4\n"


def four(group: Group, path: PathRequest) -> str:
    return f"So path {path.index} says.\nAnswer: 4" if group.open else "Answer: 5"


async def ask(server: Running, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as http:
        whole = {"model": MODEL, "messages": HELLO, **body}
        return await http.post("/v1/chat/completions", json=whole)


async def routed_k(server: Running, **body: Any) -> int | None:
    reply = await ask(server, **body)
    assert reply.status_code == 200, reply.text
    return reply.json().get("uncertainty_routing", {}).get("k")


@pytest.mark.parametrize(
    ("effort", "k"),
    [("minimal", 4), ("low", 8), ("medium", 16), ("high", 32), ("xhigh", 40), ("max", 40)],
)
async def test_effort_says_how_many_paths_there_are(effort: str, k: int) -> None:
    async with running(four, max_samples=40) as server:
        alias = f"{MODEL}:routed"
        assert await routed_k(server, model=alias, reasoning_effort=effort) == k
        asked = {"uncertainty_routing": POLICY, "reasoning_effort": effort}
        assert await routed_k(server, **asked) == k
        given = {"uncertainty_routing": {**POLICY, "k": 5}, "reasoning_effort": effort}
        assert await routed_k(server, **given) == 5
        gemini = {"contents": [{"parts": [{"text": "2 + 2?"}]}]}
        if effort != "max":
            gemini |= {"generationConfig": {"thinkingConfig": {"thinkingLevel": effort.upper()}}}
            async with httpx.AsyncClient(base_url=server.url) as http:
                path = f"/v1beta/models/{alias}:generateContent"
                assert (await http.post(path, json=gemini)).json()["uncertaintyRouting"]["k"] == k


async def test_no_effort_is_the_answer_alone() -> None:
    async with running(lambda group, path: "4") as server:
        for body in (
            {"model": f"{MODEL}:routed", "reasoning_effort": "none"},
            {"uncertainty_routing": POLICY, "thinking_token_budget": 0},
        ):
            assert await routed_k(server, **body) is None
            assert server.worker.groups[-1].requests[0].sampling.temperature == 0
        named = {"uncertainty_routing": {**POLICY, "k": 3}, "reasoning_effort": "none"}
        assert await routed_k(server, **named) == 3


async def test_a_budget_of_tokens_is_the_votes() -> None:
    async with running(four) as server:
        body = {"uncertainty_routing": POLICY, "thinking_token_budget": 9}
        reply = (await ask(server, **body)).json()
        assert reply["uncertainty_routing"]["limited_by"] == "tokens"


async def test_the_plain_name_is_routed_by_effort_where_the_server_says_so() -> None:
    async with running(four, effort_routing=True, routed_answer="number") as server:
        assert await routed_k(server, reasoning_effort="low") == 8
        assert await routed_k(server) is None
        assert await routed_k(server, reasoning_effort="none") is None
    async with running(four) as server:
        assert (await ask(server, reasoning_effort="low")).status_code == 400


async def test_the_vote_is_told_as_reasoning_where_that_is_asked_for() -> None:
    routing = {**POLICY, "k": 4}
    for more, lines in (({}, None), ({"include_reasoning": True}, LINES)):
        worker = ScriptedWorker(four, schedule=completion_order([0, 1, 2, 3]))
        async with running(worker) as server:
            body = {"uncertainty_routing": routing, **more}
            message = (await ask(server, **body)).json()["choices"][0]["message"]
            assert message.get("reasoning_content") == message.get("reasoning") == lines
            assert message["content"] == "So path 0 says.\nAnswer: 4"
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as ai:
                stream = await ai.chat.completions.create(
                    model=MODEL, messages=HELLO, stream=True, extra_body=body
                )
                deltas = [choice.delta async for chunk in stream for choice in chunk.choices]
            assert "".join(getattr(d, "reasoning", "") for d in deltas) == (lines or "")
            assert "".join(d.content or "" for d in deltas) == "So path 0 says.\nAnswer: 4"


@pytest.mark.parametrize("sync", [False, True])
async def test_gemini_has_the_vote_as_thoughts(sync: bool) -> None:
    import asyncio

    worker = ScriptedWorker(four, schedule=completion_order([0, 1, 2, 3]))
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(include_thoughts=True)
    )
    async with running(worker) as server:
        options = types.HttpOptions(
            base_url=server.url, extra_body={"uncertaintyRouting": {**POLICY, "k": 4}}
        )
        ai = genai.Client(api_key="none", http_options=options)
        asked: Any = {"model": MODEL, "contents": "2 + 2?", "config": config}
        if sync:
            whole = await asyncio.to_thread(ai.models.generate_content, **asked)
            chunks = await asyncio.to_thread(
                lambda: list(ai.models.generate_content_stream(**asked))
            )
        else:
            whole = await ai.aio.models.generate_content(**asked)
            stream = await ai.aio.models.generate_content_stream(**asked)
            chunks = [chunk async for chunk in stream]
        thought, said = whole.candidates[0].content.parts
        assert (thought.thought, thought.text) == (True, LINES)
        assert said.text == whole.text == "So path 0 says.\nAnswer: 4"
        assert whole.usage_metadata.thoughts_token_count > 0
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        assert "".join(part.text for part in parts if part.thought) == LINES
        assert "".join(part.text for part in parts if not part.thought) == whole.text


SPECIAL = tiny_text(THINK_TEMPLATE, THINK_CONTROL)
OPENED = tiny_text(OPENED_TEMPLATE, THINK_CONTROL)


@pytest.mark.parametrize("text", [SPECIAL, OPENED], ids=["switch", "opened"])
async def test_a_path_is_read_behind_its_reasoning_and_the_direct_answer_has_none(text) -> None:
    def script(group: Group, path: PathRequest):
        if not group.open:
            return spoken(text, "Answer: 5")
        if path.index == 1:  # Never out of its reasoning: what it names there is no vote.
            return spoken(text, "Answer: 9 or so, but wait. " * 40)
        return spoken(text, "Answer: 7? No.\n</think>\n\nAnswer: 4")

    async with running(script, text=text) as server:
        routing = {**POLICY, "k": 4, "plan": "full", "max_tokens": 200}
        reply = (await ask(server, uncertainty_routing=routing)).json()
        assert reply["uncertainty_routing"]["votes"] == {"4": 3}
        assert reply["uncertainty_routing"]["samples"]["invalid"] == 1
        message = reply["choices"][0]["message"]
        assert (message["reasoning"], message["content"]) == ("Answer: 7? No.", "Answer: 4")
        direct, paths = (
            shown(text, stream.group.prompt.token_ids()) for stream in server.worker.groups
        )
        assert direct.endswith("<|assistant|><think>\n\n</think>\n\n")
        assert paths.endswith("<|assistant|><think>\n")

        await ask(server, uncertainty_routing={**routing, "constrain": True})
        held = server.worker.groups[-1].requests[0].sampling.constraint
        assert held.after == "</think>"
        assert held.closing == text.encode_marks("\n</think>\n\nAnswer:")
        assert held.lark.startswith(r'start: ("\n" | "\n\n")? "Answer:" " "? answer')

        async with httpx.AsyncClient(base_url=server.url) as http:
            body = {"contents": [{"parts": [{"text": "2 + 2?"}]}], "uncertaintyRouting": routing}
            found = (await http.post(f"/v1/models/{MODEL}:generateContent", json=body)).json()
        assert [part["text"] for part in found["candidates"][0]["content"]["parts"]] == [
            "Answer: 4"
        ]
        assert json.dumps(found).count("No.") == 0
