"""The Responses API and clients that ask for too much, for what is not there, or for nonsense."""

import json

import httpx
import openai
import pytest

from service.api.openai.responses import store
from service.api.openai.responses.schemas import MAX_ITEMS
from service.api.parts import MAX_MESSAGE_PARTS
from tests.service.support import MODEL, running
from tests.service.test_responses import LOGPROBS, client, greet

ITEM = {"role": "user", "content": "x"}
MISSING = "missing_required_parameter"
UNSUPPORTED = "unsupported_parameter"


def part(kind: str, **more) -> dict:
    return {"input": [ITEM, {"role": "user", "content": [{"type": kind, **more}]}]}


PART = {"type": "input_text", "text": ""}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": 3}, "input", None),
        ({"input": []}, "input", None),
        ({"input": [{"type": "reasoning"}]}, "input", None),
        ({"input": ["x"]}, "input[0]", None),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role", None),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", None),
        ({"input": [{**ITEM, "hm": 1}]}, "input[0].hm", "unknown_parameter"),
        ({"input": [{**ITEM, "content": []}]}, "input[0].content", None),
        ({"input": [{"type": "function_call", "call_id": "1"}]}, "input[0].name", MISSING),
        ({"input": [ITEM, {"type": "item_reference", "id": "msg_1"}]}, "input[1]", None),
        (part("input_image", image_url="http://x"), "input[1].content[0]", None),
        (part("input_audio", input_audio={}), "input[1].content[0]", None),
        (part("input_file", file_id="f"), "input[1].content[0].file_id", None),
        (part("input_file", file_url="http://x"), "input[1].content[0].file_url", None),
        (part("input_text"), "input[1].content[0].text", "missing_required_parameter"),
        (part("input_text", text="x", hm=1), "input[1].content[0].hm", "unknown_parameter"),
        ({"input": [ITEM] * (MAX_ITEMS + 1)}, "input", None),
        ({"input": [ITEM] * 513}, "input", None),
        ({"input": [{**ITEM, "content": [PART] * (MAX_MESSAGE_PARTS + 1)}]},
         "input[0].content", None),
        ({"input": "x" * 3000}, "input", "context_length_exceeded"),
        ({"input": "x" * (2048 * 32 + 1)}, "input", "context_length_exceeded"),
        ({"instructions": "x" * 3000}, "input", "context_length_exceeded"),
        ({"max_output_tokens": 2048}, "input", "context_length_exceeded"),
        ({"max_output_tokens": 0}, "max_output_tokens", None),
        ({"max_output_tokens": True}, "max_output_tokens", None),
        ({"max_output_tokens": 3, "min_tokens": 9}, "min_tokens", None),
        ({"max_tokens": 5}, "max_tokens", UNSUPPORTED),
        ({"n": 2}, "n", UNSUPPORTED),
        ({"temperature": 2.5}, "temperature", None),
        ({"top_p": 0}, "top_p", None),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"top_logprobs": 21, "include": [LOGPROBS]}, "top_logprobs", None),
        ({"include": ["everything"]}, "include[0]", None),
        ({"text": {"verbosity": "low"}}, "text.verbosity", UNSUPPORTED),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", UNSUPPORTED),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", UNSUPPORTED),
        ({"truncation": "auto"}, "truncation", UNSUPPORTED),
        ({"background": True}, "background", UNSUPPORTED),
        ({"service_tier": "flex"}, "service_tier", UNSUPPORTED),
        ({"conversation": "conv_1"}, "conversation", UNSUPPORTED),
        ({"prompt": {"id": "p"}}, "prompt", UNSUPPORTED),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", None),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", None),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata", None),
        ({"metadata": {"k": "x" * 513}}, "metadata.k", None),
        ({"metadata": {"k": 1}}, "metadata.k", None),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
        ({"previous_response_id": "x" * 100_000}, "previous_response_id",
         "previous_response_not_found"),
        ({"uncertainty_routing": {"tau": 2}}, "uncertainty_routing.tau", None),
        ({"uncertainty_routing": {}, "temperature": 0}, "temperature", None),
        ({"uncertainty_routing": {}, "include": [LOGPROBS]}, "include", None),
        ({"uncertainty_routing": {}, "input": [{"role": "assistant", "content": "x"}]}, "input",
         None),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(change, param, code) -> None:
    body = {"model": MODEL, "input": "hello", **change}
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/responses", json=body)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert (error["param"], error["code"]) == (param, code)
        assert "\n" not in error["message"]
        assert len(error["message"]) <= 500
        streamed = await http.post(f"{server.url}/v1/responses", json={**body, "stream": True})
        assert (streamed.status_code, streamed.json()["error"]) == (400, error)
        assert not server.worker.groups, "nothing may reach the worker"


async def test_an_unknown_model_is_not_found() -> None:
    async with running(greet) as server, client(server.url) as ai:
        with pytest.raises(openai.NotFoundError) as caught:
            await ai.responses.create(model="gpt-9", input="hello")
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "yaml"}, "text.format.type"),
        ({"type": "json_schema", "name": "x"}, "text.format.schema"),
        ({"type": "text", "schema": {}}, "text.format.schema"),
        ({"type": "json_schema", "name": "x", "schema": {"enum": ["a" * 70_000]}}, "text.format"),
    ],
)
async def test_a_form_that_is_none_is_refused_by_name(form, param) -> None:
    async with running(greet) as server, client(server.url) as ai:
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.responses.create(model=MODEL, input="hello", text={"format": form})
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("?stream=true", "stream"),
        ("?starting_after=3", "starting_after"),
        ("?include=everything", "include[0]"),
        ("?hm=1", "hm"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?limit=101", "limit"),
        ("/input_items?limit=x", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=msg_1", "after"),
        (f"/input_items?include[]={LOGPROBS}", "include"),
        ("/input_items?before=x", "before"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_name(path: str, param: str) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        made = await http.post(f"{server.url}/v1/responses", json={"model": MODEL, "input": "x"})
        reply = await http.get(f"{server.url}/v1/responses/{made.json()['id']}{path}")
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses", 405),
        ("POST", "/v1/responses/resp_1", 405),
        ("POST", "/v1/responses/resp_1/cancel", 404),
        ("GET", "/v1/responses/" + "x" * 5000, 404),
        ("DELETE", "/v1/responses/resp_%0A1", 404),
    ],
)
async def test_a_wrong_path_or_id_is_a_short_error(method: str, path: str, status: int) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.request(method, server.url + path)
        assert reply.status_code == status
        message = reply.json()["error"]["message"]
        assert "\n" not in message
        assert len(message) <= 200


async def test_an_endless_conversation_is_refused_when_it_is_too_long() -> None:
    async with running(greet, max_messages=4) as server, client(server.url) as ai:
        first = await ai.responses.create(model=MODEL, input="1")
        second = await ai.responses.create(model=MODEL, input="2", previous_response_id=first.id)
        with pytest.raises(openai.BadRequestError, match="at most 4 messages") as caught:
            await ai.responses.create(model=MODEL, input="3", previous_response_id=second.id)
        assert caught.value.param == "input"


async def test_a_response_too_large_to_keep_says_that_it_is_not_kept(monkeypatch) -> None:
    monkeypatch.setattr(store.ResponseStore.__init__, "__kwdefaults__", {
        **store.ResponseStore.__init__.__kwdefaults__, "max_response_bytes": 3000,
    })  # fmt: skip
    async with running(greet) as server, client(server.url) as ai:
        small = await ai.responses.create(model=MODEL, input="x")
        assert small.store is True
        large = await ai.responses.create(model=MODEL, input="x" * 1500)
        assert large.store is False
        assert large.output_text == "hello from here"
        with pytest.raises(openai.NotFoundError):
            await ai.responses.retrieve(large.id)


@pytest.mark.parametrize("field", ["input", "instructions", "model", "previous_response_id"])
async def test_half_a_character_is_the_callers_mistake(field: str) -> None:
    sent = json.dumps({"model": MODEL, "input": "x", field: "\ud800"})
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/responses", content=sent)
        assert reply.status_code == 400, reply.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000])
async def test_what_is_no_request_is_a_clear_error(content: bytes) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/responses", content=content)
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_many_parts_of_deep_nonsense_do_no_harm() -> None:
    deep: list = []
    for _ in range(150):
        deep = [deep]
    parts = [{"type": "output_text", "text": "x", "annotations": deep}] * MAX_MESSAGE_PARTS
    body = {"model": MODEL, "input": [{"role": "assistant", "content": parts}, ITEM]}
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/responses", json=body)
        assert reply.status_code == 200, reply.text
