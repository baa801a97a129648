"""Functions and reasoning in the Responses API, by the unmodified openai client."""

import json
from typing import Any

import httpx
import openai
import pytest

from model.contract import Constraint
from tests.service.support import (
    HERMES_TEMPLATE,
    MODEL,
    THINK_CONTROL,
    THINK_TEMPLATE,
    TOOL_CONTROL,
    Running,
    running,
    shown,
    spoken,
    tiny_text,
)

HERMES = tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)
THINKS = tiny_text(THINK_TEMPLATE, THINK_CONTROL)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: dict[str, Any] = {
    "type": "function", "name": "weather", "description": "Is it dry?", "parameters": SCHEMA,
    "strict": None,
}  # fmt: skip
NOW: dict[str, Any] = {"type": "function", "name": "now", "strict": False}
ARGUMENTS = '{"city": "Oslo"}'
CALL = f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>'
SECOND = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def saying(words: str, text=HERMES):
    return lambda group, path: spoken(text, words)


def prompt(server: Running) -> str:
    return shown(server.backend.text, server.worker.groups[-1].group.prompt.token_ids())


def constraint(server: Running) -> Constraint | None:
    return server.worker.groups[-1].requests[0].sampling.constraint


async def test_a_call_is_made_answered_and_the_conversation_goes_on_by_its_id() -> None:
    async with (
        running(saying("Let me see.\n" + CALL), text=HERMES) as server,
        client(server.url) as ai,
    ):
        first = await ai.responses.create(model=MODEL, input="Rain?", tools=[WEATHER, NOW])
        said, call = first.output
        assert (said.content[0].text, call.type) == ("Let me see.", "function_call")
        assert (call.name, call.arguments) == ("weather", ARGUMENTS)
        assert (first.status, call.status, first.tool_choice) == ("completed",) * 2 + ("auto",)
        assert [tool.name for tool in first.tools] == ["weather", "now"]

        server.worker.script = saying("It is dry.")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "dry <|end|>"}
        after = await ai.responses.create(
            model=MODEL, input=[result], tools=[WEATHER], previous_response_id=first.id
        )
        assert after.output_text == "It is dry."
        turns = f"<|assistant|>Let me see.{CALL}<|end|><|tool|>dry <|end|><|end|><|assistant|>"
        assert prompt(server).endswith(turns)
        by_id = prompt(server)
        items = await ai.responses.input_items.list(after.id, order="asc")
        assert [item.type for item in items.data] == [
            "message", "message", "function_call", "function_call_output",
        ]  # fmt: skip

        # The same as a conversation that the client keeps.
        whole = [{"role": "user", "content": "Rain?"}, *first.to_dict()["output"], result]
        await ai.responses.create(model=MODEL, input=whole, tools=[WEATHER], store=False)
        assert prompt(server) == by_id


async def test_calls_stream_as_items_of_their_own() -> None:
    async with (
        running(saying(f"Hm. {CALL}\n{SECOND}"), text=HERMES) as server,
        client(server.url) as ai,
    ):
        stream = await ai.responses.create(
            model=MODEL, input="Rain?", tools=[WEATHER, NOW], stream=True
        )
        events = [event async for event in stream]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
        assert [(e.output_index, e.delta) for e in deltas] == [(1, ARGUMENTS), (2, "{}")]
        done = [e for e in events if e.type == "response.function_call_arguments.done"]
        assert [e.arguments for e in done] == [ARGUMENTS, "{}"]
        added = [e.item for e in events if e.type == "response.output_item.added"]
        ended = [e.item for e in events if e.type == "response.output_item.done"]
        assert [item.type for item in added] == ["message", "function_call", "function_call"]
        assert [item.id for item in added] == [item.id for item in ended]
        assert events[-1].response.output == ended

        async with ai.responses.stream(model=MODEL, input="Rain?", tools=[WEATHER, NOW]) as helper:
            final = await helper.get_final_response()
        assert [item.type for item in final.output] == ["message", "function_call", "function_call"]

        whole = await ai.responses.create(model=MODEL, input="Rain?", tools=[WEATHER, NOW])
        assert [item.type for item in whole.output] == [item.type for item in ended]
        one = await ai.responses.create(
            model=MODEL, input="Rain?", tools=[WEATHER, NOW], parallel_tool_calls=False
        )
        assert [item.type for item in one.output] == ["message", "function_call"]


async def test_a_choice_of_functions_is_kept_to() -> None:
    async with running(saying(CALL), text=HERMES) as server, client(server.url) as ai:

        async def choosing(choice: Any) -> None:
            await ai.responses.create(
                model=MODEL, input="Rain?", tools=[WEATHER, NOW], tool_choice=choice
            )

        await choosing("none")
        assert "weather" not in prompt(server)
        await choosing("required")
        assert constraint(server).lark.count("f1") > 0
        await choosing({"type": "function", "name": "weather"})
        assert '"weather"' in constraint(server).lark.replace("\\", "")
        assert "now" not in constraint(server).lark
        allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "now"}]}
        await choosing({**allowed, "mode": "required"})
        assert "weather" not in constraint(server).lark
        await choosing({**allowed, "mode": "auto"})
        assert constraint(server) is None


async def test_reasoning_is_an_item_before_the_message() -> None:
    words = "<think>\nTwo and two.\n</think>\n\nFour."
    async with running(saying(words, THINKS), text=THINKS) as server, client(server.url) as ai:
        first = await ai.responses.create(model=MODEL, input="2 + 2?", reasoning={"effort": "low"})
        thought, said = first.output
        assert (thought.type, thought.content[0].text) == ("reasoning", "Two and two.")
        assert said.content[0].text == first.output_text == "Four."
        counted = first.usage.output_tokens_details.reasoning_tokens
        assert counted == len(THINKS.encode_marks(words.removesuffix("\n\nFour.")))
        assert first.reasoning.effort == "low"
        assert constraint(server).after == "</think>"

        stream = await ai.responses.create(
            model=MODEL, input="And 3?", previous_response_id=first.id, stream=True
        )
        events = [event async for event in stream]
        assert "<think>\nTwo and two.\n</think>\n\nFour.<|end|><|user|>And 3?" in prompt(server)
        thoughts = [e for e in events if e.type == "response.reasoning_text.delta"]
        assert "".join(e.delta for e in thoughts) == "Two and two."
        (done,) = [e for e in events if e.type == "response.reasoning_text.done"]
        assert (done.text, done.output_index) == ("Two and two.", 0)
        texts = [e for e in events if e.type == "response.output_text.delta"]
        assert {e.output_index for e in texts} == {1}
        final = events[-1].response
        assert [item.type for item in final.output] == ["reasoning", "message"]
        assert final.output_text == "Four."

        hidden = await ai.responses.create(
            model=MODEL, input="2 + 2?", extra_body={"include_reasoning": False}
        )
        assert [item.type for item in hidden.output] == ["message"]
        cut = await ai.responses.create(model=MODEL, input="2 + 2?", max_output_tokens=6)
        assert (cut.status, cut.output[0].type, cut.output[0].status) == (
            "incomplete", "reasoning", "incomplete",
        )  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_are_of_the_message_alone(stream: bool) -> None:
    async with (
        running(saying("<think>ab</think>cd", THINKS), text=THINKS) as server,
        client(server.url) as ai,
    ):
        made: Any = await ai.responses.create(
            model=MODEL, input="x", include=["message.output_text.logprobs"], stream=stream
        )
        if stream:
            events = [event async for event in made]
            made = events[-1].response
        assert len(made.output[1].content[0].logprobs) == 2


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0]"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "x", "arguments": "1"}]},
            "input[0].arguments",
        ),
        ({"tools": [WEATHER], "uncertainty_routing": {}}, "tools"),
    ],
)
async def test_what_is_wrong_with_functions_is_refused_by_name(change: Any, param: str) -> None:
    async with running(saying("x"), text=HERMES) as server, httpx.AsyncClient() as http:
        body = {"model": MODEL, "input": "x", **change}
        reply = await http.post(f"{server.url}/v1/responses", json=body)
        assert (reply.status_code, json.loads(reply.text)["error"]["param"]) == (400, param)


async def test_a_model_that_shows_no_functions_refuses_them() -> None:
    async with running(lambda g, p: "x") as server, httpx.AsyncClient() as http:
        body = {"model": MODEL, "input": "x", "tools": [WEATHER]}
        reply = await http.post(f"{server.url}/v1/responses", json=body)
        assert reply.json()["error"]["param"] == "tools"
