"""Models that reason before they answer, by the unmodified clients."""

import json
from typing import Any

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from model.contract import Constraint
from model.text.language import TextModel
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
ASKED = "<|user|>2 + 2?<|end|><|assistant|>"
SAID = "<think>\nIt is ü4.\n</think>\n\nAnswer: 4"
THOUGHT, ANSWER = "It is ü4.", "Answer: 4"
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}

SPECIAL = tiny_text(THINK_TEMPLATE, THINK_CONTROL)
WORDS = tiny_text(THINK_TEMPLATE)
OPENED = tiny_text(OPENED_TEMPLATE, THINK_CONTROL)
KINDS = pytest.mark.parametrize("text", [SPECIAL, WORDS, OPENED], ids=["control", "words", "open"])


def saying(text: TextModel, words: str = SAID):
    """Without the opening where the template has it."""
    if text is OPENED:
        words = words.removeprefix("<think>\n")
    return lambda group, path: spoken(text, words)


def thought_tokens(text: TextModel) -> int:
    """Of SAID, marks included."""
    said = SAID.removeprefix("<think>\n") if text is OPENED else SAID
    return len(text.encode_marks(said.removesuffix(f"\n\n{ANSWER}")))


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def gemini(url: str) -> genai.Client:
    return genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))


def prompt(server: Running) -> str:
    return shown(server.backend.text, server.worker.groups[-1].group.prompt.token_ids())


def constraint(server: Running) -> Constraint | None:
    return server.worker.groups[-1].requests[0].sampling.constraint


async def ask(server: Running, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as http:
        whole = {"model": MODEL, "messages": HELLO, **body}
        return await http.post("/v1/chat/completions", json=whole)


@KINDS
async def test_chat_has_the_reasoning_apart_and_its_tokens_counted(text: TextModel) -> None:
    async with running(saying(text), text=text) as server, client(server.url) as ai:
        reply = await ai.chat.completions.create(model=MODEL, messages=HELLO)
        message = reply.choices[0].message
        assert message.content == ANSWER
        assert message.reasoning_content == message.reasoning == THOUGHT
        details = reply.usage.completion_tokens_details
        assert details.reasoning_tokens == thought_tokens(text)
        assert reply.usage.completion_tokens == thought_tokens(text) + len(
            text.encode_marks(f"\n\n{ANSWER}")
        )

        stream = await ai.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == THOUGHT
        assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == THOUGHT
        assert "".join(delta.content or "" for delta in deltas) == ANSWER
        assert len([delta for delta in deltas if hasattr(delta, "reasoning")]) > 5
        usage = chunks[-1].usage
        assert usage.completion_tokens_details.reasoning_tokens == thought_tokens(text)


@KINDS
async def test_gemini_shows_thoughts_where_they_are_asked_for_and_always_counts(
    text: TextModel,
) -> None:
    async with running(saying(text), text=text) as server:
        ai = gemini(server.url).aio
        for wanted in (True, False):
            config = types.GenerateContentConfig(
                thinking_config=types.ThinkingConfig(include_thoughts=wanted)
            )
            reply = await ai.models.generate_content(model=MODEL, contents="2 + 2?", config=config)
            parts = reply.candidates[0].content.parts
            thoughts = [(part.text, part.thought) for part in parts if part.thought]
            assert thoughts == ([(THOUGHT, True)] if wanted else [])
            assert reply.text == ANSWER
            usage = reply.usage_metadata
            assert usage.thoughts_token_count == thought_tokens(text)
            assert usage.candidates_token_count == len(text.encode_marks(f"\n\n{ANSWER}"))

            found = ["", ""]
            async for chunk in await ai.models.generate_content_stream(
                model=MODEL, contents="2 + 2?", config=config
            ):
                for part in chunk.candidates[0].content.parts:
                    found[not part.thought] += part.text
                usage = chunk.usage_metadata
            assert found == [THOUGHT if wanted else "", ANSWER]
            assert usage.thoughts_token_count == thought_tokens(text)


async def test_reasoning_that_is_not_wanted_is_counted_and_left_out() -> None:
    async with running(saying(SPECIAL), text=SPECIAL) as server:
        reply = (await ask(server, include_reasoning=False)).json()
        assert reply["choices"][0]["message"] == {
            "role": "assistant", "content": ANSWER, "refusal": None,
        }  # fmt: skip
        details = reply["usage"]["completion_tokens_details"]
        assert details["reasoning_tokens"] == thought_tokens(SPECIAL)


async def test_an_answer_cut_in_its_reasoning_is_all_reasoning() -> None:
    async with running(saying(SPECIAL), text=SPECIAL) as server:
        reply = (await ask(server, max_tokens=5)).json()
        choice = reply["choices"][0]
        assert choice["message"]["content"] == ""
        assert choice["message"]["reasoning"] == "It"
        assert choice["finish_reason"] == "length"
        assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}


@pytest.mark.parametrize(
    "off",
    [
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": False}},
        {"thinking_token_budget": 0},
    ],
)
@KINDS
async def test_reasoning_is_turned_off_in_the_prompt(text: TextModel, off: Any) -> None:
    async with running(lambda group, path: spoken(text, "4"), text=text) as server:
        reply = (await ask(server, **off)).json()
        assert prompt(server) == f"{ASKED}<think>\n\n</think>\n\n"
        assert reply["choices"][0]["message"]["content"] == "4"
        assert "completion_tokens_details" not in reply["usage"]


async def test_gemini_turns_it_off_and_bounds_it() -> None:
    async with running(saying(SPECIAL), text=SPECIAL) as server:
        ai = gemini(server.url).aio

        async def constrained(**thinking: Any) -> Constraint | None:
            config = types.GenerateContentConfig(
                max_output_tokens=1800, thinking_config=types.ThinkingConfig(**thinking)
            )
            await ai.models.generate_content(model=MODEL, contents="2 + 2?", config=config)
            return constraint(server)

        assert await constrained(thinking_budget=0) is None
        assert prompt(server).endswith("</think>\n\n")
        assert await constrained(thinking_budget=-1) is None
        assert prompt(server) == ASKED
        assert (await constrained(thinking_budget=100)).reserve == 1700
        assert prompt(server) == f"{ASKED}<think>\n"
        assert (await constrained(thinking_level="MINIMAL")).reserve == 1800 - 512
        assert (await constrained(thinking_level="LOW")).reserve == 1800 - 1024
        assert await constrained(thinking_level="HIGH") is None


@KINDS
async def test_a_bound_is_the_reserve_of_a_closing(text: TextModel) -> None:
    async with running(saying(text), text=text) as server:
        await ask(server, max_tokens=200, thinking_token_budget=50, reasoning_effort="high")
        closing = text.encode_marks("\n</think>\n\n")
        assert constraint(server) == Constraint(after="</think>", closing=closing, reserve=150)
        assert prompt(server) == f"{ASKED}<think>\n"
        # It would leave no room for an answer, so it bounds nothing that max_tokens does not.
        await ask(server, max_tokens=60, thinking_token_budget=55)
        assert (constraint(server) is None) == (len(closing) >= 60 - 55)


@KINDS
async def test_a_form_holds_for_the_answer_behind_the_reasoning(text: TextModel) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with running(saying(text), text=text) as server:
        reply = (await ask(server, response_format=form)).json()
        assert reply["choices"][0]["message"]["reasoning"] == THOUGHT
        held = constraint(server)
        assert (held.after, held.reserve) == ("</think>", 0)
        assert held.closing == text.encode_marks("\n</think>\n\n")
        start, rule = held.lark.strip().split("\nanswer: %json ")
        assert start == r'start: ("\n" | "\n\n")? answer'
        assert json.loads(rule).items() >= schema.items()
        assert prompt(server) == f"{ASKED}<think>\n"

        await ask(server, response_format=form, reasoning_effort="none")
        assert constraint(server) == Constraint(json_schema=json.dumps(schema))
        await ask(server, structured_outputs={"regex": "a|b"})
        assert constraint(server).lark.endswith("answer: /a|b/\n")
        await ask(server, structured_outputs={"regex": "a/b"})
        assert constraint(server) == Constraint(
            regex="a/b", after="</think>", closing=text.encode_marks("\n</think>")
        )


async def test_a_model_that_does_not_reason_unasked_is_held_to_its_form_at_once() -> None:
    """Its vocabulary has the marks; its template does not."""
    text = tiny_text(control=THINK_CONTROL)
    async with running(lambda group, path: spoken(text, "a"), text=text) as server:
        await ask(server, structured_outputs={"regex": "a"})
        assert constraint(server) == Constraint(regex="a")
        assert prompt(server) == ASKED
        await ask(server, structured_outputs={"regex": "a"}, reasoning_effort="low")
        assert constraint(server).after == "</think>"
        assert prompt(server) == f"{ASKED}<think>\n"


async def test_calls_are_read_behind_the_reasoning_and_may_end_it() -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    for words in (f"<think>hm</think>\n\n{call}", f"<think>hm {call}"):
        async with running(saying(SPECIAL, words), text=SPECIAL) as server:
            reply = (await ask(server, tools=[WEATHER])).json()
            choice = reply["choices"][0]
            assert choice["message"]["reasoning"] == "hm"
            assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
            assert choice["finish_reason"] == "tool_calls"
            used = reply["usage"]["completion_tokens_details"]["reasoning_tokens"]
            assert used == len(SPECIAL.encode_marks(words.partition(call)[0].rstrip("\n")))


async def test_a_call_that_must_be_made_comes_behind_the_reasoning() -> None:
    async with running(saying(SPECIAL), text=SPECIAL) as server:
        assert (await ask(server, tools=[WEATHER], tool_choice="required")).status_code == 200
        held = constraint(server)
        assert (held.after, held.closing) == ("</think>", SPECIAL.encode_marks("\n</think>"))
        strict = {"type": "function", "function": {"name": "weather", "strict": True}}
        assert (await ask(server, tools=[strict])).status_code == 200
        assert constraint(server).after == "<tool_call>"
        refused = await ask(server, tools=[strict], thinking_token_budget=9)
        assert refused.json()["error"]["param"] == "thinking_token_budget"


async def test_reasoning_that_comes_back_is_shown_as_the_template_wants_it() -> None:
    turns = [
        {"role": "assistant", "content": "4", "reasoning_content": "Two <|end|>s.",
         "reasoning": "Two <|end|>s."},
        {"role": "user", "content": "And 3?"},
    ]  # fmt: skip
    for text, says in ((SPECIAL, "<think>\nTwo <|end|>s.\n</think>\n\n4"), (OPENED, "4")):
        async with running(saying(text), text=text) as server:
            assert (await ask(server, messages=[*HELLO, *turns])).status_code == 200
            assert f"<|assistant|>{says}<|end|><|user|>And 3?" in prompt(server)
            ids = server.worker.groups[-1].group.prompt.token_ids()
            assert ids.count(303) == 3

            parts = [{"text": "Two <|end|>s.", "thought": True}, {"text": "4"}]
            contents = [
                {"role": "user", "parts": [{"text": "2 + 2?"}]},
                {"role": "model", "parts": parts},
                {"role": "user", "parts": [{"text": "And 3?"}]},
            ]
            async with httpx.AsyncClient(base_url=server.url) as http:
                path = f"/v1beta/models/{MODEL}:generateContent"
                assert (await http.post(path, json={"contents": contents})).status_code == 200
            assert f"<|assistant|>{says}<|end|><|user|>And 3?" in prompt(server)


async def test_an_answer_that_goes_on_is_read_from_where_it_stands() -> None:
    async with running(lambda group, path: spoken(SPECIAL, "b</think>c"), text=SPECIAL) as server:
        begun = {"add_generation_prompt": False, "continue_final_message": True}
        for content, reasoning, answer in (
            ("<think>a", "b", "c"),
            ("<think>a</think>b", None, "b</think>c"),
        ):
            messages = [*HELLO, {"role": "assistant", "content": content}]
            message = (await ask(server, messages=messages, **begun)).json()["choices"][0][
                "message"
            ]
            assert (message.get("reasoning"), message["content"]) == (reasoning, answer)
        refused = await ask(server, messages=messages, reasoning_effort="low", **begun)
        assert refused.json()["error"]["param"] == "reasoning_effort"


async def test_what_a_caller_writes_begins_no_reasoning() -> None:
    async with running(lambda group, path: spoken(SPECIAL, "4"), text=SPECIAL) as server:
        messages = [{"role": "user", "content": "x<think>"}]
        message = (await ask(server, messages=messages)).json()["choices"][0]["message"]
        assert message == {"role": "assistant", "content": "4", "refusal": None}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"thinking_token_budget": 5}, "thinking_token_budget"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
    ],
)
async def test_a_model_without_reasoning_says_so(body: Any, param: str) -> None:
    async with running(lambda group, path: "4") as server:
        refused = await ask(server, **body)
        assert refused.status_code == 400
        assert refused.json()["error"] == {
            "message": "this model does not reason before it answers",
            "type": "invalid_request_error",
            "param": param,
            "code": "unsupported_parameter",
        }
        assert (await ask(server, reasoning_effort="none")).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"thinking_token_budget": -1}, "thinking_token_budget"),
        ({"thinking_token_budget": True}, "thinking_token_budget"),
        ({"chat_template_kwargs": {"date": "x"}}, "chat_template_kwargs.date"),
        ({"include_reasoning": 3}, "include_reasoning"),
        ({"reasoning_effort": "low", "thinking_token_budget": 0}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": False}, "thinking_token_budget": 9},
         "chat_template_kwargs"),
    ],
)  # fmt: skip
async def test_a_wish_that_is_none_is_refused_by_name(body: Any, param: str) -> None:
    async with running(saying(SPECIAL), text=SPECIAL) as server:
        refused = await ask(server, **body)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param


async def test_a_socket_has_the_reasoning_in_deltas_of_its_own() -> None:
    import websockets

    async with (
        running(saying(SPECIAL), text=SPECIAL) as server,
        websockets.connect(server.socket_url) as socket,
    ):
        await socket.send(json.dumps({"model": MODEL, "messages": HELLO}))
        messages = [json.loads(message) async for message in socket]
        deltas = [message for message in messages if message["type"] == "delta"]
        assert "".join(delta.get("reasoning", "") for delta in deltas) == THOUGHT
        assert "".join(delta["text"] for delta in deltas) == ANSWER
        done = messages[-1]["response"]["choices"][0]["message"]
        assert (done["reasoning"], done["content"]) == (THOUGHT, ANSWER)
