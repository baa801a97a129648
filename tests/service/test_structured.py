"""Structured output: what each protocol says, as the one constraint that the worker gets."""

import json

import httpx
import openai
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from model.contract import Constraint, Group, PathRequest
from service.api.closing import closed
from service.api.gemini.structured import converted
from tests.scripted import Failure, PathScript, say
from tests.service.support import MODEL, Running, running

HELLO = [{"role": "user", "content": "Where?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Place(BaseModel):
    city: str
    people: int


def paris(group: Group, path: PathRequest) -> PathScript:
    return say('{"city": "Paris", "people": 2}')


def constraint(server: Running) -> Constraint | None:
    return server.worker.groups[-1].requests[0].sampling.constraint


async def asked(path: str, body: object) -> tuple[httpx.Response, Constraint | None]:
    async with running(paris) as server, httpx.AsyncClient(base_url=server.url) as client:
        reply = await client.post(path, json=body)
        return reply, constraint(server) if server.worker.groups else None


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        (
            {"response_format": {"type": "json_schema",
                                 "json_schema": {"name": "x", "schema": SCHEMA}}},
            SCHEMA,
        ),
        ({"guided_json": SCHEMA}, SCHEMA),
        ({"guided_json": json.dumps(SCHEMA)}, SCHEMA),
        ({"structured_outputs": {"json": SCHEMA}}, SCHEMA),
        ({"structured_outputs": {"json_object": True}}, {"type": "object"}),
        ({"guided_regex": "[a-c]+"}, "[a-c]+"),
        ({"structured_outputs": {"regex": "[a-c]+"}}, "[a-c]+"),
        ({"guided_choice": ["a.b", "c"]}, r"a\.b|c"),
        ({"guided_grammar": 'start: "a"'}, 'start: "a"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_forms_of_openai_and_vllm(path: str, form: dict, expected: object) -> None:
    question = {"messages": HELLO} if "chat" in path else {"prompt": "Where?"}
    reply, found = await asked(path, {"model": MODEL, **question, **form})
    assert reply.status_code == 200, reply.text
    if expected is None:
        assert found is None
    elif isinstance(expected, dict):
        assert json.loads(found.json_schema) == expected
    else:
        assert expected in (found.regex, found.lark)


async def test_the_openai_client_parses_into_a_model() -> None:
    async with running(paris) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        async with client as ai:
            reply = await ai.chat.completions.parse(
                model=MODEL, messages=HELLO, response_format=Place
            )
        assert reply.choices[0].message.parsed == Place(city="Paris", people=2)
        schema = json.loads(constraint(server).json_schema)
        assert list(schema["properties"]) == ["city", "people"]


async def test_the_gemini_client_parses_into_a_model() -> None:
    async with running(paris) as server:
        client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=server.url))
        reply = await client.aio.models.generate_content(
            model=MODEL,
            contents="Where?",
            config=types.GenerateContentConfig(
                response_mime_type="application/json", response_schema=Place
            ),
        )
        assert reply.parsed == Place(city="Paris", people=2)
        schema = json.loads(constraint(server).json_schema)
        assert schema["properties"]["people"]["type"] == "integer"
        assert schema["required"] == ["city", "people"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "application/json"}, {}),
        ({"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}, SCHEMA),
        ({"response_mime_type": "application/json", "response_schema": {"type": "STRING"}},
         {"type": "string"}),
        ({"responseMimeType": "text/x.enum",
          "responseSchema": {"type": "STRING", "enum": ["yes", "no"]}}, "yes|no"),
        ({"responseMimeType": "text/plain"}, None),
    ],
)  # fmt: skip
async def test_forms_of_gemini(config: dict, expected: object) -> None:
    body = {"contents": [{"parts": [{"text": "Where?"}]}], "generationConfig": config}
    reply, found = await asked(f"/v1beta/models/{MODEL}:generateContent", body)
    assert reply.status_code == 200, reply.text
    if expected is None:
        assert found is None
    elif isinstance(expected, dict):
        assert json.loads(found.json_schema) == expected
    else:
        assert found.regex == expected


def test_a_schema_of_gemini_keeps_its_meaning() -> None:
    schema = {
        "type": "OBJECT",
        "propertyOrdering": ["b", "a"],
        "properties": {
            "a": {"type": "ARRAY", "minItems": "2",
                  "items": {"type": "INTEGER", "format": "int32"}},
            "b": {"type": "STRING", "nullable": True, "enum": ["x"]},
            "c": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}]},
            "d": {"type": "OBJECT", "additional_properties": {"type": "INTEGER"}},
            "e": {"type": "OBJECT", "properties": {"f": {}}, "additionalProperties": True},
        },
        "required": ["a"],
    }  # fmt: skip
    found = converted(schema)
    assert list(found["properties"]) == ["b", "a", "c", "d", "e"]
    assert found == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "minItems": 2, "items": {"type": "integer"}},
            "b": {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]},
            "c": {"anyOf": [{"type": "number"}, {"type": "boolean"}]},
            "d": {"type": "object", "additionalProperties": {"type": "integer"}},
            "e": {"type": "object", "properties": {"f": {}}, "additionalProperties": True},
        },
        "required": ["a"],
    }
    assert closed(found)["additionalProperties"] is False


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex"),
        ({"guided_choice": []}, "response_format"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"guided_regex": "a" * 70_000}, "response_format"),
        ({"guided_json": SCHEMA, "uncertainty_routing": {"k": 2}}, "response_format"),
    ],
)
async def test_what_is_no_form_is_refused_by_name(form: dict, param: str) -> None:
    reply, found = await asked("/v1/chat/completions", {"model": MODEL, "messages": HELLO, **form})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param
    assert found is None


@pytest.mark.parametrize(
    "config",
    [
        {"responseSchema": {"type": "STRING"}},
        {"responseMimeType": "application/json", "responseSchema": {"type": "TUPLE"}},
        {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": 3}},
        {"responseMimeType": "application/json", "responseSchema": {"wild": 1}},
        {"responseMimeType": "application/json",
         "responseSchema": {"type": "STRING", "minLength": "many"}},
        {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}},
        {"responseMimeType": "application/json", "responseSchema": {}, "responseJsonSchema": {}},
    ],
)  # fmt: skip
async def test_a_schema_that_makes_no_sense_is_an_invalid_argument(config: dict) -> None:
    body = {"contents": [{"parts": [{"text": "Where?"}]}], "generationConfig": config}
    reply, _ = await asked(f"/v1beta/models/{MODEL}:generateContent", body)
    assert reply.status_code == 400
    assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_grammar_that_the_worker_refuses_is_the_callers_mistake() -> None:
    def refuse(group: Group, path: PathRequest) -> PathScript:
        return say("x", finish=Failure("invalid", "unknown rule", "constraint"))

    body = {"model": MODEL, "messages": HELLO, "guided_grammar": "start: nothing"}
    async with running(refuse) as server, httpx.AsyncClient(base_url=server.url) as client:
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "response_format"
    assert "unknown rule" in reply.json()["error"]["message"]
