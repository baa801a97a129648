"""Structured output and functions through the unmodified google-genai client."""

import enum
import json
from typing import Any, Literal

import pytest
from google.genai import types
from pydantic import BaseModel, Field

from tests.conformance.server import MODEL

LIMIT = {"max_output_tokens": 400}


class Sky(enum.Enum):
    CLEAR = "clear"
    GREY = "grey"


class Wind(BaseModel):
    direction: Literal["north", "south"]


class Report(BaseModel):
    sky: Sky
    degrees: int = Field(ge=0, le=9)
    raining: bool
    wind: Wind


def asked(gemini, **config: Any) -> types.GenerateContentResponse:
    config = {"response_mime_type": "application/json", **LIMIT, **config}
    return gemini.models.generate_content(model=MODEL, contents="Report.", config=config)


def test_a_pydantic_schema_is_parsed_into_its_type(gemini) -> None:
    reply = asked(gemini, response_schema=Report)
    assert isinstance(reply.parsed, Report)
    assert reply.parsed == Report.model_validate_json(reply.text)


def test_a_list_of_a_type_is_parsed_into_a_list(gemini) -> None:
    schema = types.Schema(
        type="ARRAY",
        items=types.Schema(type="STRING", enum=["a", "b"]),
        min_items=2,
        max_items=2,
    )
    parsed = asked(gemini, response_schema=schema).parsed
    assert len(parsed) == 2
    assert set(parsed) <= {"a", "b"}


@pytest.mark.parametrize("mime", ["text/x.enum", "application/json"])
def test_an_enum_is_parsed_into_its_member(gemini, mime) -> None:
    assert asked(gemini, response_schema=Sky, response_mime_type=mime).parsed in Sky


def test_googles_schema_words_hold(gemini) -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING", "enum": ["x", "y"]},
            "age": {"type": "INTEGER", "minimum": 1, "maximum": 3, "nullable": True},
        },
        "required": ["age", "name"],
        "property_ordering": ["age", "name"],
    }
    read = json.loads(asked(gemini, response_schema=schema).text)
    assert list(read) == ["age", "name"]
    assert read["age"] in (None, 1, 2, 3)
    assert read["name"] in ("x", "y")


def test_a_plain_json_schema_holds(gemini) -> None:
    closed = {"additionalProperties": False}
    schema = Report.model_json_schema() | closed
    schema["$defs"]["Wind"] |= closed
    Report.model_validate_json(asked(gemini, response_json_schema=schema).text)


def test_a_streamed_object_is_whole_at_the_end(gemini) -> None:
    config = {"response_mime_type": "application/json", "response_schema": Report, **LIMIT}
    chunks = gemini.models.generate_content_stream(model=MODEL, contents="Report.", config=config)
    Report.model_validate_json("".join(chunk.text or "" for chunk in chunks))


CALLS: list[tuple[bool, bool]] = []


def forecast(today: bool, tomorrow: bool = False) -> dict[str, str]:
    """Tells the weather.

    Args:
        today: of this day.
        tomorrow: of the next.
    """
    CALLS.append((today, tomorrow))
    return {"sky": "grey"}


DECLARED = types.FunctionDeclaration(
    name="weather.now",
    description="Tells the weather.",
    parameters=types.Schema(
        type="OBJECT",
        properties={"city": types.Schema(type="STRING", enum=["Oslo", "Rome"])},
        required=["city"],
    ),
)
BY_JSON_SCHEMA = types.FunctionDeclaration(
    name="weather.now",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


def calling(mode: str, **more: Any) -> types.ToolConfig:
    return types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode, **more))


@pytest.mark.parametrize("declaration", [DECLARED, BY_JSON_SCHEMA])
def test_a_call_is_made_answered_and_gone_on_from(gemini, declaration) -> None:
    tools = [types.Tool(function_declarations=[declaration])]
    config = types.GenerateContentConfig(
        tools=tools,
        tool_config=calling("ANY", allowed_function_names=["weather.now"]),
        max_output_tokens=400,
        seed=2,
    )
    reply = gemini.models.generate_content(model=MODEL, contents="Rain?", config=config)
    assert reply.candidates[0].finish_reason is types.FinishReason.STOP
    call = reply.function_calls[0]
    assert call.name == "weather.now"
    assert call.args["city"] in ("Oslo", "Rome")
    assert call.id
    results = [
        types.Part(
            function_response=types.FunctionResponse(
                id=each.id, name=each.name, response={"output": "dry"}
            )
        )
        for each in reply.function_calls
    ]
    answer = gemini.models.generate_content(
        model=MODEL,
        contents=[
            types.UserContent("Rain?"),
            reply.candidates[0].content,
            types.Content(role="user", parts=results),
        ],
        config={"tools": tools, "max_output_tokens": 4},
    )
    assert answer.usage_metadata.prompt_token_count > reply.usage_metadata.prompt_token_count


def test_streamed_calls_come_whole(gemini) -> None:
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[DECLARED])],
        tool_config=calling("ANY"),
        max_output_tokens=400,
        seed=2,
    )
    calls = [
        call
        for chunk in gemini.models.generate_content_stream(
            model=MODEL, contents="Rain?", config=config
        )
        for call in chunk.function_calls or ()
    ]
    assert calls
    assert all(call.args["city"] in ("Oslo", "Rome") and call.id for call in calls)


def test_python_functions_are_called_by_the_client(gemini) -> None:
    CALLS.clear()
    reply = gemini.models.generate_content(
        model=MODEL,
        contents="Rain?",
        config=types.GenerateContentConfig(
            tools=[forecast],
            tool_config=calling("ANY"),
            # One request that calls, and one with what the function returned.
            automatic_function_calling=types.AutomaticFunctionCallingConfig(maximum_remote_calls=2),
            max_output_tokens=400,
            seed=2,
        ),
    )
    history = reply.automatic_function_calling_history
    results = [part.function_response for content in history for part in content.parts]
    responses = [result.response for result in results if result]
    assert responses == [{"result": {"sky": "grey"}}] * len(CALLS)
    assert CALLS


def test_functions_are_not_called_when_none_is_wished(gemini) -> None:
    reply = gemini.models.generate_content(
        model=MODEL,
        contents="Rain?",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[DECLARED])],
            tool_config=calling("NONE"),
            max_output_tokens=8,
        ),
    )
    assert not reply.function_calls
