"""Functions that a model may call, driven by the unmodified openai client."""

import json
from typing import Any

import httpx
import openai
import pytest

from model.contract import Constraint
from model.text.language import TextModel
from tests.scripted import Chunk, Failure, PathScript, say
from tests.service.support import (
    HERMES_TEMPLATE,
    LLAMA_TEMPLATE,
    MODEL,
    TEMPLATE,
    TOOL_CONTROL,
    Running,
    running,
    tiny_text,
)

HELLO: list[Any] = [{"role": "user", "content": "Rain in Oslo?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Is it dry?", "parameters": SCHEMA},
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Łódź"}}\n</tool_call>'
SECOND = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


@pytest.fixture(scope="module")
def hermes() -> TextModel:
    return tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)


@pytest.fixture(scope="module")
def llama() -> TextModel:
    return tiny_text(LLAMA_TEMPLATE)


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def saying(text: str, size: int = 3):
    """A script whose pieces cut through marks and words."""
    chunks = [Chunk((65,), text[at : at + size]) for at in range(0, len(text), size)]
    return lambda group, path: PathScript(tuple(chunks))


def constraint(server: Running) -> Constraint | None:
    return server.worker.groups[-1].requests[0].sampling.constraint


def prompt(server: Running) -> str:
    ids = server.worker.groups[-1].group.prompt.token_ids()
    return server.backend.text.tokenizer.decode(ids)


async def test_a_call_is_made_answered_and_the_conversation_goes_on(hermes: TextModel) -> None:
    script = saying("Let me see.\n" + CALL)
    async with running(script, text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER, NOW], tool_choice="auto"
        )
        assert json.dumps(WEATHER) in prompt(server)
        assert constraint(server) is None
        choice = reply.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me see."
        (call,) = choice.message.tool_calls
        assert (call.type, call.function.name) == ("function", "weather")
        assert call.function.arguments == '{"city": "Łódź"}'

        server.worker.script = lambda group, path: say("It is dry.")
        result = {"role": "tool", "tool_call_id": call.id, "content": "dry <|end|>"}
        reply = await ai.chat.completions.create(
            model=MODEL, messages=[*HELLO, choice.message, result], tools=[WEATHER]
        )
        assert reply.choices[0].message.content == "It is dry."
        assert reply.choices[0].message.tool_calls is None
        assert reply.choices[0].finish_reason == "stop"
        assert CALL in prompt(server)
        ids = server.worker.groups[-1].group.prompt.token_ids()
        # Declarations, three turns; the one that the result spells is text.
        assert ids.count(303) == 4
        assert ids.count(304) == 1


async def test_several_calls_have_ids_of_their_own_and_no_content(hermes: TextModel) -> None:
    script = saying(f"{CALL}\n{SECOND}\n")
    async with running(script, text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER, NOW])
    message = reply.choices[0].message
    assert message.content is None
    assert [call.function.name for call in message.tool_calls] == ["weather", "now"]
    assert len({call.id for call in message.tool_calls}) == 2


async def test_without_parallel_calls_the_first_is_passed_on(hermes: TextModel) -> None:
    script = saying(f"{CALL}\n{SECOND}")
    async with running(script, text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER, NOW], parallel_tool_calls=False
        )
    assert [call.function.name for call in reply.choices[0].message.tool_calls] == ["weather"]


async def test_a_stream_has_text_then_whole_calls_then_the_finish(hermes: TextModel) -> None:
    script = saying(f"Let me see. {CALL}\n{SECOND}", 5)
    async with running(script, text=hermes) as server, client(server.url) as ai:
        stream = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER, NOW], stream=True
        )
        deltas, finishes = [], []
        async for chunk in stream:
            deltas.append(chunk.choices[0].delta)
            finishes.append(chunk.choices[0].finish_reason)
    assert "".join(delta.content or "" for delta in deltas) == "Let me see."
    called = [call for delta in deltas for call in delta.tool_calls or []]
    assert [(call.index, call.function.name) for call in called] == [(0, "weather"), (1, "now")]
    assert [call.function.arguments for call in called] == ['{"city": "Łódź"}', "{}"]
    assert all(call.id.startswith("call_") and call.type == "function" for call in called)
    assert finishes[-1] == "tool_calls"
    assert set(finishes[:-1]) == {None}


async def test_the_clients_stream_helper_gathers_calls(hermes: TextModel) -> None:
    async with (
        running(saying(CALL), text=hermes) as server,
        client(server.url) as ai,
        ai.chat.completions.stream(model=MODEL, messages=HELLO, tools=[WEATHER]) as stream,
    ):
        done = await stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Łódź"}


async def test_what_is_no_call_is_text_in_answers_and_streams(hermes: TextModel) -> None:
    text = '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>'
    async with running(saying(text), text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER])
        assert reply.choices[0].message.content == text
        assert reply.choices[0].finish_reason == "stop"
        stream = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER], stream=True
        )
        assert "".join([c.choices[0].delta.content or "" async for c in stream]) == text


async def test_a_cut_answer_says_so_and_loses_nothing(hermes: TextModel) -> None:
    script = PathScript((Chunk((65,), CALL[:30]),), "length")
    async with running(lambda g, p: script, text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER])
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == CALL[:30]


async def test_models_that_write_bare_json_are_read_too(llama: TextModel) -> None:
    script = saying('{"name": "weather", "parameters": {"city": "Oslo"}}; '
                    '{"name": "now", "parameters": {}}')  # fmt: skip
    async with running(script, text=llama) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER, NOW])
    called = [call.function for call in reply.choices[0].message.tool_calls]
    assert [(f.name, f.arguments) for f in called] == [("weather", '{"city": "Oslo"}'),
                                                       ("now", "{}")]  # fmt: skip


async def test_the_choice_none_shows_no_tools(hermes: TextModel) -> None:
    async with running(saying(CALL), text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="none"
        )
        assert "weather" not in prompt(server)
    assert reply.choices[0].message.content == CALL
    assert reply.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["weather", "now"]),
        ({"type": "function", "function": {"name": "now"}}, ["now"]),
    ],
)
async def test_a_required_call_is_a_constraint(
    hermes: TextModel, choice: Any, names: list[str]
) -> None:
    async with running(saying(SECOND), text=hermes) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, tools=[WEATHER, NOW], tool_choice=choice
        )
        held = constraint(server)
        assert held.after is None
        assert [n for n in ("weather", "now") if f'\\"{n}\\"' in held.lark] == names
        assert '"weather"' in prompt(server), "every function is shown"
    assert reply.choices[0].message.tool_calls[0].function.name == "now"
    assert reply.choices[0].finish_reason == "tool_calls"


async def test_a_strict_function_is_held_to_its_schema_once_it_is_called(
    hermes: TextModel,
) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    async with running(saying("no"), text=hermes) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=HELLO, tools=[strict])
        assert constraint(server).after == "<tool_call>"


async def test_a_grammar_that_does_not_work_is_a_mistake_in_the_tools(hermes: TextModel) -> None:
    script = PathScript((), Failure("invalid", "the grammar does not work", "constraint"))
    async with running(lambda g, p: script, text=hermes) as server, client(server.url) as ai:
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.chat.completions.create(
                model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required"
            )
    assert caught.value.param == "tools"


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": fields}


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 0 else {"not": nested(depth - 1)}


FORM = {"type": "json_object"}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "x"}


def made(arguments: str) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [function(name="a b")]}, "tools[0].function.name"),
        ({"tools": [function(name="x" * 65)]}, "tools[0].function.name"),
        ({"tools": [function(name="f", parameters=3)]}, "tools[0].function.parameters"),
        ({"tools": [function(name="f", parameters={"type": "string"})]}, "tools"),
        ({"tools": [function(name="f", description="x" * 40_000)]}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [NOW] * 2}, "tools"),
        ({"tools": [NOW] * 129}, "tools"),
        ({"tools": [function(name=f"f{i}", description="x" * 5000) for i in range(20)]},
         "messages"),
        ({"tools": [NOW], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": function(name="other")}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [NOW], "response_format": FORM}, "response_format"),
        ({"tools": [NOW], "uncertainty_routing": {}}, "tools"),
        ({"tools": [NOW], "model": f"{MODEL}:routed"}, "tools"),
        ({"messages": [*HELLO, made("{}"), RESULT, *HELLO], "uncertainty_routing": {}}, "tools"),
        ({"messages": [*HELLO, RESULT]}, "messages[1].tool_call_id"),
        ({"messages": [*HELLO, {**RESULT, "tool_call_id": None}]}, "messages[1]"),
        ({"messages": [*HELLO, made("[1]")]}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [*HELLO, made("[" * 5000)]},
         "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [*HELLO, made('{"x":' * 300 + "1" + "}" * 300)]},
         "messages[1].tool_calls[0].function.arguments"),
        ({"tools": [function(name="f", parameters=nested(64))]}, "tools"),
        ({"messages": [{**made("{}"), "role": "user", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0]"),
        ({"functions": [{"name": "f"}]}, "functions"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(
    hermes: TextModel, change: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "messages": HELLO, **change}
    async with running(saying("x"), text=hermes) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
        assert "\n" not in reply.json()["error"]["message"]
        assert not server.worker.groups


@pytest.mark.parametrize(
    ("template", "change", "param"),
    [
        (TEMPLATE, {"tools": [NOW]}, "tools"),
        (None, {"tools": [NOW], "tool_choice": "auto"}, "tools"),
        (TEMPLATE, {"messages": [*HELLO, made("{}"), RESULT]}, "messages"),
        (TEMPLATE, {"tools": [NOW], "tool_choice": "required"}, "tools"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_by_name(
    template: str | None, change: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "messages": HELLO, **change}
    text = tiny_text(template)
    async with running(saying("x"), text=text) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/chat/completions", json=body)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert (error["param"], error["code"]) == (param, "unsupported_parameter")
        assert not server.worker.groups


async def test_the_deepest_schemas_and_arguments_are_shown(hermes: TextModel) -> None:
    messages = [*HELLO, made(json.dumps(nested(63))), RESULT]
    tools: Any = [function(name="f", parameters=nested(63))]
    async with running(saying("x"), text=hermes) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=messages, tools=tools)
        assert prompt(server).count(json.dumps(nested(63))) == 2


async def test_results_without_tools_of_their_own_are_shown(hermes: TextModel) -> None:
    messages = [*HELLO, made(""), RESULT]
    async with running(saying("x"), text=hermes) as server, client(server.url) as ai:
        await ai.chat.completions.create(model=MODEL, messages=messages)
        assert '{"name": "f", "arguments": {}}' in prompt(server)
