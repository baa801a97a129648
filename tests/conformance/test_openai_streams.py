"""Streamed chat completions through the unmodified openai client."""

import json
from typing import Any

import openai
import pytest

from tests.conformance.server import MODEL
from tests.conformance.test_openai_chat import HELLO, Forecast, Report, words

ENDLESS = {"messages": HELLO, "max_tokens": 3000, "extra_body": {"ignore_eos": True}}


def test_chunks_come_as_role_deltas_finish_and_usage(ai) -> None:
    chunks = list(
        ai.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=words("Good day to you."),
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {MODEL}
    first, *deltas, last, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in deltas) == "Good day to you."
    assert {chunk.choices[0].finish_reason for chunk in [first, *deltas]} == {None}
    assert last.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + usage.usage.completion_tokens
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


def test_a_stream_spells_the_plain_answers_choice_by_choice(ai) -> None:
    ask: dict[str, Any] = {
        "model": MODEL, "messages": HELLO, "n": 3, "seed": 11, "max_tokens": 24, "logprobs": True,
    }  # fmt: skip
    plain = ai.chat.completions.create(**ask)
    texts, tokens, ends = [""] * 3, [[], [], []], [None] * 3
    for chunk in ai.chat.completions.create(**ask, stream=True):
        for choice in chunk.choices:
            assert ends[choice.index] is None, "a delta after the end"
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs:
                tokens[choice.index] += [token.token for token in choice.logprobs.content]
            ends[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in plain.choices]
    assert ends == [choice.finish_reason for choice in plain.choices]
    assert tokens == [[token.token for token in c.logprobs.content] for c in plain.choices]


def test_the_helper_gathers_text_logprobs_and_the_callers_type(ai) -> None:
    kinds = set()
    with ai.chat.completions.stream(
        model=MODEL, messages=HELLO, response_format=Report, logprobs=True, max_tokens=200
    ) as stream:
        for event in stream:
            kinds.add(event.type)
            if event.type == "content.done":
                assert isinstance(event.parsed, Report)
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    message = final.choices[0].message
    assert message.parsed == Report.model_validate_json(message.content)
    assert final.choices[0].finish_reason == "stop"


def test_the_helper_gathers_a_call_and_its_arguments(ai) -> None:
    done = []
    with ai.chat.completions.stream(
        model=MODEL,
        messages=HELLO,
        tools=[openai.pydantic_function_tool(Forecast, name="forecast")],
        tool_choice="required",
        parallel_tool_calls=False,
    ) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    (event,) = done
    assert event.name == "forecast"
    assert isinstance(event.parsed_arguments, Forecast)
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == json.loads(event.arguments)
    assert call.id
    assert final.choices[0].finish_reason == "tool_calls"


def test_the_raw_stream_is_data_lines_and_ends_with_done(ai) -> None:
    with ai.chat.completions.with_streaming_response.create(
        model=MODEL, messages=HELLO, stream=True, extra_body=words("one two")
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert raw.headers["x-request-id"]
        lines = [line for line in raw.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_routed_stream_shows_the_vote_in_chunks_that_plain_readers_pass_over(ai) -> None:
    steps, text = [], ""
    for chunk in ai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is 3 + 4?"}],
        max_tokens=16,
        stream=True,
        extra_body={
            "uncertainty_routing": {"k": 2, "answer": "number", "constrain": True, "seed": 1}
        },
    ):
        if extra := chunk.model_extra.get("uncertainty_routing"):
            steps.append(extra.get("event", "outcome"))
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert steps[0] == "direct"
    assert "vote" in steps
    assert steps[-2:] == ["decision", "outcome"]
    assert text


@pytest.mark.parametrize("leave", ["close", "exit"])
def test_leaving_a_stream_frees_what_it_held(server, ai, leave) -> None:
    server.wait_idle()
    stream = ai.chat.completions.create(model=MODEL, stream=True, n=2, **ENDLESS)
    if leave == "close":
        next(iter(stream))
        assert server.metric("pollux:paths_in_flight") == 2
        stream.close()
    else:
        with stream:
            next(iter(stream))
            assert server.metric("pollux:paths_in_flight") == 2
    server.wait_idle()
    assert server.metric("vllm:num_requests_running") == 0


def test_the_clients_timeout_ends_the_work_too(server, ai) -> None:
    aborted = server.metric("vllm:request_success_total", finished_reason="abort")
    with pytest.raises(openai.APITimeoutError):
        ai.chat.completions.create(model=MODEL, timeout=0.2, n=8, **ENDLESS)
    server.wait_idle()
    assert server.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1
