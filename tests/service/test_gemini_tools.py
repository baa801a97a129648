"""Functions in Gemini's words, driven by the unmodified google-genai client."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from google.genai.models import AsyncModels

from model.text.language import TextModel
from tests.scripted import Chunk, PathScript, say
from tests.service.support import (
    HERMES_TEMPLATE,
    MODEL,
    TEMPLATE,
    TOOL_CONTROL,
    Running,
    running,
    tiny_text,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = types.FunctionDeclaration(
    name="weather.now",
    description="Is it dry?",
    parameters=types.Schema(
        type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]
    ),
)
NOW = types.FunctionDeclaration(name="now", parameters_json_schema={"type": "object"})
TOOLS = [types.Tool(function_declarations=[WEATHER, NOW])]
CALL = (
    '<tool_call>\n{"name": "weather.now", "arguments": {"city": "Łódź", "n": 1' + 30 * "0" + "}}\n"
)
CALL += "</tool_call>"


@pytest.fixture(scope="module")
def hermes() -> TextModel:
    return tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[AsyncModels]:
    options = types.HttpOptions(base_url=url)
    async with genai.Client(api_key="none", http_options=options).aio as opened:
        yield opened.models


def saying(text: str, size: int = 4):
    chunks = [Chunk((65,), text[at : at + size]) for at in range(0, len(text), size)]
    return lambda group, path: PathScript(tuple(chunks))


def prompt(server: Running) -> str:
    ids = server.worker.groups[-1].group.prompt.token_ids()
    return server.backend.text.tokenizer.decode(ids)


def calling(**fields: Any) -> types.GenerateContentConfig:
    config = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(**fields))
    return types.GenerateContentConfig(tools=TOOLS, tool_config=config)


async def test_a_call_is_made_answered_and_the_conversation_goes_on(hermes: TextModel) -> None:
    question = types.Content(role="user", parts=[types.Part(text="Rain?")])
    config = types.GenerateContentConfig(tools=TOOLS)
    script = saying("One moment. " + CALL)
    async with running(script, text=hermes) as server, client(server.url) as models:
        reply = await models.generate_content(model=MODEL, contents=[question], config=config)
        first = prompt(server).split("\n")[0].split(">:")[1]
        shown, _ = json.JSONDecoder().raw_decode(first)
        described = {"name": "weather.now", "description": "Is it dry?", "parameters": SCHEMA}
        assert shown == {"type": "function", "function": described}
        content = reply.candidates[0].content
        assert reply.candidates[0].finish_reason is types.FinishReason.STOP
        assert content.parts[0].text == "One moment."
        (call,) = reply.function_calls
        assert (call.name, call.args) == ("weather.now", {"city": "Łódź", "n": 10**30})

        server.worker.script = lambda group, path: say("It is dry.")
        answered = types.Part.from_function_response(name=call.name, response={"dry": True})
        answered.function_response.id = call.id
        result = types.Content(role="user", parts=[answered])
        reply = await models.generate_content(
            model=MODEL, contents=[question, content, result], config=config
        )
        assert reply.text == "It is dry."
        assert '"name": "weather.now", "arguments": {"city": "Łódź"' in prompt(server)
        assert '{"dry": true}' in prompt(server)


async def test_the_client_calls_python_functions_by_itself(hermes: TextModel) -> None:
    asked: list[str] = []

    def weather(city: str) -> str:
        """Says how the weather is."""
        asked.append(city)
        return "dry"

    def script(group: object, path: object) -> PathScript:
        if asked:
            return say("It is dry.")
        return say('<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>')

    async with running(script, text=hermes) as server, client(server.url) as models:
        reply = await models.generate_content(
            model=MODEL,
            contents="Rain?",
            config=types.GenerateContentConfig(tools=[weather]),
        )
        assert asked == ["Oslo"]
        assert reply.text == "It is dry."
        assert '{"result": "dry"}' in prompt(server)


async def test_a_stream_has_text_then_whole_calls(hermes: TextModel) -> None:
    text = f'One moment. {CALL}\n<tool_call>{{"name": "now", "arguments": {{}}}}</tool_call>'
    async with running(saying(text), text=hermes) as server, client(server.url) as models:
        stream = await models.generate_content_stream(
            model=MODEL, contents="Rain?", config=types.GenerateContentConfig(tools=TOOLS)
        )
        chunks = [chunk async for chunk in stream]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text or "" for part in parts) == "One moment."
    called = [part.function_call.name for part in parts if part.function_call]
    assert called == ["weather.now", "now"]
    assert chunks[-1].candidates[0].finish_reason is types.FinishReason.STOP


@pytest.mark.parametrize(
    ("fields", "after", "names"),
    [
        ({"mode": "ANY"}, None, ["weather.now", "now"]),
        ({"mode": "ANY", "allowed_function_names": ["now"]}, None, ["now"]),
        ({"mode": "VALIDATED"}, "<tool_call>", ["weather.now", "now"]),
    ],
)
async def test_the_mode_is_a_constraint(
    hermes: TextModel, fields: dict[str, Any], after: str | None, names: list[str]
) -> None:
    async with running(saying(CALL), text=hermes) as server, client(server.url) as models:
        await models.generate_content(model=MODEL, contents="Rain?", config=calling(**fields))
        held = server.worker.groups[0].requests[0].sampling.constraint
        assert held.after == after
        assert [n for n in ("weather.now", "now") if f'\\"{n}\\"' in held.lark] == names


@pytest.mark.parametrize("mode", ["AUTO", "NONE"])
async def test_other_modes_hold_the_answer_to_nothing(hermes: TextModel, mode: str) -> None:
    async with running(saying("It is."), text=hermes) as server, client(server.url) as models:
        reply = await models.generate_content(
            model=MODEL, contents="Rain?", config=calling(mode=mode)
        )
        assert reply.text == "It is."
        assert server.worker.groups[0].requests[0].sampling.constraint is None
        assert ("weather.now" in prompt(server)) == (mode == "AUTO")


async def test_tools_count_as_prompt(hermes: TextModel) -> None:
    body = {"contents": [{"parts": [{"text": "Rain?"}]}]}
    offered = {**body, "tools": [{"function_declarations": [{"name": "now"}]}]}
    async with running(saying("x"), text=hermes) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/v1beta/models/{MODEL}:countTokens"
        few, many = [
            (await http.post(url, json=given)).json()["totalTokens"]
            for given in (body, {"generateContentRequest": offered})
        ]
        await http.post(f"{server.url}/v1beta/models/{MODEL}:generateContent", json=offered)
        assert few < many == len(server.worker.groups[0].group.prompt)


CONTENTS = [{"role": "user", "parts": [{"text": "Rain?"}]}]


def declared(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [fields]}]}


def config(**fields: Any) -> dict[str, Any]:
    return {**declared(name="f"), "toolConfig": {"functionCallingConfig": fields}}


def turn(role: str, part: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [*CONTENTS, {"role": role, "parts": [part]}]}


def deep(depth: int) -> list[Any]:
    return [] if depth == 0 else [deep(depth - 1)]


FIRST = "tools[0].functionDeclarations[0]"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (declared(name="a b"), f"{FIRST}.name"),
        (declared(name="f", parameters={"type": "MAP"}), f"{FIRST}.parameters"),
        (declared(name="f", parameters={}, parametersJsonSchema={}),
         f"{FIRST}.parametersJsonSchema"),
        (declared(name="f", behavior="NON_BLOCKING"), f"{FIRST}.behavior"),
        (declared(name="f", parameters={"type": "STRING"}), "tools"),
        ({"tools": [{"codeExecution": {}}]}, "tools[0].codeExecution"),
        (config(mode="ANY", allowedFunctionNames=["g"]), "toolConfig.functionCallingConfig"),
        (config(mode="AUTO", allowedFunctionNames=["f"]),
         "toolConfig.functionCallingConfig.allowedFunctionNames"),
        (config(mode="SOME"), "toolConfig.functionCallingConfig.mode"),
        ({**config(mode="ANY"), "tools": []}, "toolConfig.functionCallingConfig"),
        ({**declared(name="f"), "uncertaintyRouting": {}}, "tools"),
        (turn("user", {"functionCall": {"name": "f"}}), "contents[1].parts"),
        (turn("model", {"functionCall": {"name": "f", "args": {"x": [[]] * 2 + [deep(70)]}}}),
         "contents[1].parts[0].functionCall.args"),
        (turn("model", {"functionResponse": {"name": "f"}}), "contents[1].parts"),
        (turn("user", {"functionResponse": {"name": "f", "parts": [{}]}}),
         "contents[1].parts[0].functionResponse.parts"),
        (turn("user", {"functionResponse": {"name": "f"}, "text": "x"}), "contents[1].parts[0]"),
        ({**declared(name="f"), "generationConfig": {"responseMimeType": "application/json"}},
         "generationConfig.responseSchema"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_an_invalid_argument(
    hermes: TextModel, change: dict[str, Any], field: str
) -> None:
    async with running(saying("x"), text=hermes) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:generateContent",
            json={"contents": CONTENTS, **change},
        )
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["details"][0]["fieldViolations"][0]["field"] == field
        assert not server.worker.groups


@pytest.mark.parametrize(
    ("template", "change", "field"),
    [
        (TEMPLATE, declared(name="f"), "tools"),
        (TEMPLATE, turn("user", {"functionResponse": {"name": "f"}}), "contents"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_by_name(
    template: str, change: dict[str, Any], field: str
) -> None:
    text = tiny_text(template)
    async with running(saying("x"), text=text) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:generateContent",
            json={"contents": CONTENTS, **change},
        )
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["details"][0]["fieldViolations"][0]["field"] == field
