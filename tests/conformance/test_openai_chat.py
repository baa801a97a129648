"""Chat completions through the unmodified openai client."""

import json
from enum import Enum
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.conformance.server import MODEL

HELLO = [{"role": "user", "content": "Hello!"}]
# Three random numbers are never the same one.
ABSTAINING = {
    "k": 3,
    "tau": 0.9,
    "answer": "number",
    "constrain": True,
    "seed": 1,
    "on_disagreement": "abstain",
}


def words(*choices: str) -> dict[str, Any]:
    """For `extra_body`: the answer is one of these."""
    return {"structured_outputs": {"choice": list(choices)}}


class Sky(Enum):
    CLEAR = "clear"
    GREY = "grey"


class Report(BaseModel):
    city: Literal["Oslo", "Rome"]
    sky: Sky
    degrees: int = Field(ge=0, le=9)
    raining: bool


class Forecast(BaseModel):
    """A function's arguments."""

    city: Literal["Oslo", "Rome"]


def test_an_answer_has_every_field_that_the_client_types(ai) -> None:
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, extra_body=words("Good day to you.")
    )
    assert reply.id.startswith("chatcmpl-")
    assert reply.object == "chat.completion"
    assert reply.created > 1_700_000_000
    assert reply.model == MODEL
    assert reply.system_fingerprint
    assert reply._request_id
    (choice,) = reply.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    message = choice.message
    assert (message.role, message.content) == ("assistant", "Good day to you.")
    assert (message.refusal, message.tool_calls) == (None, None)
    usage = reply.usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_either_name_of_the_limit_cuts_the_answer(ai, limit) -> None:
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, extra_body={"ignore_eos": True}, **{limit: 5}
    )
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5


def test_answers_are_indexed_and_the_first_is_the_one_of_its_seed(ai) -> None:
    ask = {"model": MODEL, "messages": HELLO, "seed": 5, "max_tokens": 8}
    alone = ai.chat.completions.create(**ask)
    several = ai.chat.completions.create(**ask, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[0].message.content == alone.choices[0].message.content
    assert len({choice.message.content for choice in several.choices}) > 1


@pytest.mark.parametrize("stop", [" three", [" four", " three"]])
def test_an_answer_ends_before_a_stop_string(ai, stop) -> None:
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, stop=stop, extra_body=words("one two three four")
    )
    assert reply.choices[0].message.content == "one two"
    assert reply.choices[0].finish_reason == "stop"


def test_logprobs_spell_the_answer_in_bytes(ai) -> None:
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, logprobs=True, top_logprobs=3, extra_body=words("naïve ☃")
    )
    (choice,) = reply.choices
    assert choice.message.content == "naïve ☃"
    # The last token is the end of the answer, which has no text.
    spelled = bytes(byte for token in choice.logprobs.content for byte in token.bytes or ())
    assert spelled.decode() == "naïve ☃"
    assert choice.logprobs.refusal is None
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        values = [alternative.logprob for alternative in token.top_logprobs]
        assert values == sorted(values, reverse=True)


def test_a_developer_speaks_as_the_system_does(ai) -> None:
    def prompt_tokens(role: str, content: Any) -> int:
        messages = [{"role": role, "content": content}, *HELLO]
        reply = ai.chat.completions.create(model=MODEL, messages=messages, max_tokens=1)
        return reply.usage.prompt_tokens

    parts = [{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}]
    assert prompt_tokens("developer", "be\nkind") == prompt_tokens("system", "be\nkind")
    assert prompt_tokens("developer", parts) == prompt_tokens("system", "be\nkind")


def test_parse_gives_the_callers_own_type(ai) -> None:
    reply = ai.chat.completions.parse(
        model=MODEL, messages=HELLO, response_format=Report, max_tokens=200
    )
    assert isinstance(reply.choices[0].message.parsed, Report)
    assert reply.choices[0].finish_reason == "stop"


def test_parse_says_that_an_answer_was_cut(ai) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        ai.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Report, max_tokens=3)


@pytest.mark.parametrize(
    ("form", "fits"),
    [
        ({"type": "text"}, lambda text: True),
        (
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "pick",
                    "strict": True,
                    "schema": {"type": "array", "items": {"enum": [1, "b"]}, "maxItems": 3},
                },
            },
            lambda text: set(json.loads(text)) <= {1, "b"},
        ),
    ],
)
def test_a_response_format_holds(ai, form, fits) -> None:
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, response_format=form, max_tokens=64
    )
    assert fits(reply.choices[0].message.content)


def test_a_required_call_its_result_and_the_answer(ai) -> None:
    tools = [openai.pydantic_function_tool(Forecast, name="forecast")]
    reply = ai.chat.completions.create(
        model=MODEL, messages=HELLO, tools=tools, tool_choice="required", parallel_tool_calls=False
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    message = reply.choices[0].message
    assert message.content is None
    (call,) = message.tool_calls
    assert (call.type, call.function.name) == ("function", "forecast")
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    # The message goes back as the client holds it, an object of its own types.
    result = {"role": "tool", "tool_call_id": call.id, "content": "dry"}
    answer = ai.chat.completions.create(
        model=MODEL, messages=[*HELLO, message, result], tools=tools, max_tokens=4
    )
    assert answer.usage.prompt_tokens > reply.usage.prompt_tokens


def test_parse_gives_the_arguments_of_a_named_call_in_the_callers_type(ai) -> None:
    reply = ai.chat.completions.parse(
        model=MODEL,
        messages=HELLO,
        tools=[openai.pydantic_function_tool(Forecast, name="forecast")],
        tool_choice={"type": "function", "function": {"name": "forecast"}},
    )
    (call,) = reply.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Forecast)


def test_routing_goes_in_by_the_extra_body_and_comes_out_as_an_attribute(ai) -> None:
    reply = ai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is 3 + 4?"}],
        max_tokens=16,
        extra_body={
            "uncertainty_routing": {"k": 3, "answer": "number", "constrain": True, "seed": 1}
        },
    )
    outcome = reply.uncertainty_routing
    assert reply.model_extra["uncertainty_routing"] == outcome
    samples = outcome["samples"]
    assert samples["run"] + samples["stopped"] + samples["saved"] == 3
    assert reply.usage.completion_tokens_details.reasoning_tokens > 0


def test_an_abstention_is_a_refusal(ai) -> None:
    reply = ai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is 3 + 4?"}],
        max_tokens=16,
        extra_body={"uncertainty_routing": ABSTAINING},
    )
    assert reply.uncertainty_routing["route"] == "abstain"
    assert not reply.choices[0].message.content
    assert reply.choices[0].message.refusal


def test_the_routed_alias_needs_no_field_at_all(ai) -> None:
    raw = ai.chat.completions.with_raw_response.create(
        model=f"{MODEL}:routed", messages=HELLO, max_tokens=4
    )
    assert raw.headers["x-pollux-k"] == "16"
    assert raw.parse().uncertainty_routing["k"] == 16


def test_raw_responses_have_headers_and_the_parsed_answer(ai) -> None:
    raw = ai.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=HELLO,
        extra_body=words("yes"),
        extra_headers={"x-request-id": "asked-by-a-test"},
    )
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id == "asked-by-a-test"
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == "yes"


def test_options_that_serve_the_client_alone_change_nothing(openai_clients) -> None:
    ai = openai_clients(
        organization="org-1",
        project="proj-1",
        default_headers={"x-team": "a"},
        default_query={"trace": "1"},
    )
    reply = ai.with_options(timeout=30).chat.completions.create(
        model=MODEL,
        messages=HELLO,
        user="someone",
        metadata={"a": "b"},
        extra_headers={"Idempotency-Key": "once"},
        extra_query={"attempt": "2"},
        extra_body=words("same"),
    )
    assert reply.choices[0].message.content == "same"


@pytest.mark.parametrize("base", ["/v1", "/v1/", "/openai/v1", "/openai/v1/"])
def test_any_spelling_of_the_base_url(server, openai_clients, base) -> None:
    ai = openai_clients(base_url=server.url + base)
    reply = ai.chat.completions.create(model=MODEL, messages=HELLO, extra_body=words("here"))
    assert reply.choices[0].message.content == "here"
    assert [model.id for model in ai.models.list()] == [MODEL, f"{MODEL}:routed"]


def test_address_and_key_from_the_environment(server, openai_clients, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    ai = openai_clients(base_url=None, api_key=None)
    assert ai.models.retrieve(f"{MODEL}:routed").id == f"{MODEL}:routed"
