"""`constrain`: what the worker is told, and what is refused."""

import json

import httpx
import pytest

from model.contract import Group, PathRequest
from tests.scripted import PathScript, say
from tests.service.support import MODEL, Running, running, tiny_text

MARK = tuple(tiny_text().tokenizer.encode("\nAnswer:", first=False))


def four(group: Group, path: PathRequest) -> PathScript:
    return say("2 and 2\nAnswer: 4")


async def asked(server: Running, question: str = "What is 2 + 2?", **routing: object):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "uncertainty_routing": {"k": 2, "answer": "number", "constrain": True, **routing},
    }
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post("/v1/chat/completions", json=body)


def constraints(server: Running):
    direct, paths = (stream.requests[0].sampling.constraint for stream in server.worker.groups)
    assert direct is not None
    assert paths is not None
    return direct, paths


async def test_a_path_is_free_until_its_final_line_and_the_direct_answer_is_that_line() -> None:
    async with running(four) as server:
        reply = await asked(server)
        assert reply.status_code == 200
        direct, paths = constraints(server)
    assert (paths.after, paths.closing) == ("Answer:", MARK)
    assert paths.reserve == len(MARK) + 48
    assert paths.lark.startswith('start: " "? answer\nanswer: /-?')
    assert (direct.after, direct.closing) == (None, ())
    assert direct.lark.startswith('start: "Answer: " answer\n')


async def test_a_base_model_goes_on_after_the_mark_of_its_prompt() -> None:
    async with running(four, text=tiny_text(template=None)) as server:
        assert (await asked(server)).status_code == 200
        direct, _ = constraints(server)
    assert direct.lark.startswith('start: " "? answer\n')


async def test_choices_are_those_of_the_question() -> None:
    async with running(four) as server:
        await asked(server, "Which?\nA) oak\nB) pear", answer="choice")
        _, paths = constraints(server)
    assert paths.lark.endswith("answer: /A|B/\n")


async def test_a_schema_is_held_to() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with running(four) as server:
        await asked(server, answer={"type": "json", "schema": schema})
        _, paths = constraints(server)
    rule = paths.lark.removeprefix('start: " "? answer\nanswer: %json ')
    assert json.loads(rule) == schema
    assert paths.reserve == len(MARK) + 256


@pytest.mark.parametrize(("max_tokens", "reserve"), [(40, 20), (len(MARK) * 2, 0)])
async def test_a_short_path_keeps_half_of_its_tokens_for_thought(
    max_tokens: int, reserve: int
) -> None:
    async with running(four) as server:
        await asked(server, max_tokens=max_tokens)
        _, paths = constraints(server)
    assert paths.reserve == reserve


async def test_a_pattern_of_the_callers_own_cannot_be_held_to() -> None:
    async with running(four) as server:
        reply = await asked(server, answer={"type": "marker", "pattern": r"R=(\d)"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "uncertainty_routing.constrain"


async def test_without_it_nothing_is_held() -> None:
    async with running(four) as server:
        await asked(server, constrain=False)
        assert all(
            request.sampling.constraint is None
            for stream in server.worker.groups
            for request in stream.requests
        )
