"""Large bodies do not hold up others: parsed on a thread, and never with endlessly many parts."""

import json
import threading

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import parsing
from service.api.openai.schemas import ChatRequest, CompletionRequest
from service.api.parsing import LARGE_BYTES, MAX_PARTS, parse
from service.errors import ApiError
from tests.service.support import MODEL, running

QUESTION = {"role": "user", "content": "hello"}


def body(**fields: object) -> bytes:
    return json.dumps({"model": MODEL, "messages": [QUESTION], **fields}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [QUESTION] * (MAX_PARTS // 3 + 1)},
        {f"unknown{i}": 1 for i in range(MAX_PARTS)},
        {"metadata": [[]] * MAX_PARTS},
    ],
)
async def test_a_request_of_too_many_parts_is_refused(fields) -> None:
    with pytest.raises(ApiError, match=f"more than {MAX_PARTS} objects, arrays and members"):
        await parse(body(**fields), ChatRequest)


async def test_the_refusal_reaches_the_client_as_one_line() -> None:
    async with running(lambda g, p: "x") as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1/chat/completions"
        reply = await http.post(url, content=body(messages=[QUESTION] * MAX_PARTS))
    assert reply.status_code == 400
    assert "objects, arrays and members" in reply.json()["error"]["message"]


@pytest.mark.parametrize("text", ['{"a": [1]} \\" ', "\\", '\\\\"', "::::[[[[{{{{"])
async def test_marks_inside_of_strings_are_no_parts(text: str) -> None:
    written = text * MAX_PARTS
    parsed = await parse(body(messages=[{"role": "user", "content": written}]), ChatRequest)
    assert parsed.messages[0].content == written


@given(
    st.recursive(
        st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_parts_are_counted_as_json_has_them(value: object) -> None:
    def parts(one: object) -> int:
        if isinstance(one, dict):
            return 1 + len(one) + sum(parts(child) for child in one.values())
        return 1 + sum(map(parts, one)) if isinstance(one, list) else 0

    for raw in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert parsing.parts_outside_strings(raw) == parts(value)


async def test_a_large_body_is_parsed_on_another_thread(monkeypatch) -> None:
    threads = []
    whole = parsing.parse_json

    def noted(*given: object) -> object:
        threads.append(threading.current_thread())
        return whole(*given)

    monkeypatch.setattr(parsing, "parse_json", noted)
    await parse(body(), ChatRequest)
    await parse(body(messages=[{"role": "user", "content": "x" * LARGE_BYTES}]), ChatRequest)
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        (ChatRequest, {"messages": [1] * 100}, "messages[0]"),
        (ChatRequest, {"stop": [1] * 100}, "stop[0]"),
        (CompletionRequest, {"prompt": ["x", *[1] * 100]}, "prompt[1]"),
        (CompletionRequest, {"prompt": [1, *["x"] * 100]}, "prompt[1]"),
        (CompletionRequest, {"prompt": [[1], *["x"] * 100]}, "prompt[1]"),
    ],
)
async def test_a_list_is_given_up_at_its_first_mistake(model, fields, param) -> None:
    given_fields = {"model": MODEL, **({"messages": [QUESTION]} if model is ChatRequest else {})}
    with pytest.raises(ApiError) as caught:
        await parse(json.dumps({**given_fields, **fields}), model)
    assert caught.value.param == param
    assert "more)" not in caught.value.message, "the rest was not looked at"
