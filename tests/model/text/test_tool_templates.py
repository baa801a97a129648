"""Functions, calls and results in a chat template: shown to the model, never control tokens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.detokenizer import Detokenizer
from model.text.language import CalledFunction, ChatMessage, TemplateError, TextModel
from tests.service.support import HERMES_TEMPLATE, TEMPLATE, TOOL_CONTROL, tiny_text

QUESTION = ChatMessage(role="user", content="Rain?")


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


@pytest.fixture(scope="module")
def model() -> TextModel:
    return tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)


def control_of(model: TextModel, ids: tuple[int, ...]) -> list[int]:
    control = set(model.assets.control.values())
    return [token for token in ids if token in control]


def test_a_template_shows_functions_calls_and_results(model: TextModel) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    ids = model.encode_chat(
        [
            QUESTION,
            ChatMessage(
                role="assistant",
                content="",
                tool_calls=(CalledFunction("weather", {"city": "Łódź"}, "call_1"),),
            ),
            ChatMessage(role="tool", content="dry", name="weather", tool_call_id="call_1"),
        ],
        tools=[function("weather", description="Is it dry?", parameters=schema)],
    )
    declared = function("weather", description="Is it dry?", parameters=schema)
    text = model.tokenizer.decode(ids)
    assert json.dumps(declared) in text
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Łódź"}}\n</tool_call>' in text
    assert control_of(model, ids)[-7:] == [302, 305, 306, 303, 304, 303, 302]


def test_what_is_left_out_of_a_turn_is_not_there_for_templates() -> None:
    assert QUESTION.as_dict() == {"role": "user", "content": "Rain?"}
    called = ChatMessage(role="assistant", content="", tool_calls=(CalledFunction("f", {}),))
    assert called.as_dict()["tool_calls"] == [
        {"type": "function", "function": {"name": "f", "arguments": {}}}
    ]


def test_a_template_that_reads_tools_supports_them() -> None:
    set_first = "{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools }}"
    assert tiny_text(HERMES_TEMPLATE).supports_tools
    assert tiny_text(set_first).supports_tools
    assert not tiny_text(TEMPLATE).supports_tools
    assert not tiny_text("{# tools #}There are no tools.").supports_tools
    assert not tiny_text(None).supports_tools


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_tools_without_a_place_for_them_are_refused(template: str | None) -> None:
    text = tiny_text(template)
    called = ChatMessage(role="assistant", content="", tool_calls=(CalledFunction("f", {}),))
    with pytest.raises(TemplateError, match="no place for tools"):
        text.encode_chat([QUESTION], tools=[function("f")])
    with pytest.raises(TemplateError, match="no place for tools"):
        text.encode_chat([QUESTION, called, QUESTION])


def test_templates_find_the_words_of_schemas() -> None:
    template = (
        "{% for t in tools %}{% for name, field in t.function.parameters.properties.items() %}"
        "<|user|>{{ name }}: {{ field.type }}{% if field.type == 'string' %}!{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    text = tiny_text(template)
    parameters = {"type": "object", "properties": {"<|end|>": {"type": "string"}}}
    ids = text.encode_chat([QUESTION], tools=[function("f", parameters=parameters)])
    assert ids[0] == 301
    assert text.tokenizer.decode(ids[1:]) == "<|end|>: string!"
    assert control_of(text, ids) == [301]


HOSTILE = st.lists(
    st.sampled_from(
        ["<|end|>", "<|", "|>", "end", "<tool_call>", "</", "tool_call>", '"', "\\", "x"]
    ),
    max_size=6,
).map("".join)  # fmt: skip
VALUES = st.recursive(
    HOSTILE | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=8,
)


@given(
    names=st.tuples(HOSTILE, HOSTILE, HOSTILE),
    arguments=st.dictionaries(HOSTILE, VALUES, max_size=3),
    schema=st.dictionaries(HOSTILE, VALUES, max_size=3),
    result=HOSTILE,
)
def test_nothing_of_a_callers_becomes_a_control_token(
    model: TextModel, names: tuple[str, str, str], arguments: Any, schema: Any, result: str
) -> None:
    def ids(words: tuple[str, str, str], given: Any, parameters: Any, said: str) -> list[int]:
        offered, called, identity = words
        encoded = model.encode_chat(
            [
                QUESTION,
                ChatMessage(
                    role="assistant",
                    content=said,
                    tool_calls=(CalledFunction(called, given, identity),),
                ),
                ChatMessage(role="tool", content=said, name=called, tool_call_id=identity),
            ],
            tools=[function(offered, description=said, parameters=parameters)],
        )
        return control_of(model, encoded)

    assert ids(names, arguments, schema, result) == ids(("f", "g", "h"), {}, {}, "")


def test_the_marks_of_calls_are_text_also_where_they_are_control_tokens(model: TextModel) -> None:
    ids = [305, *model.tokenizer.encode("{}"), 306, 303]
    assert model.tokenizer.decode(ids) == "<tool_call>{}</tool_call>"
    detokenizer = Detokenizer(model.tokenizer)
    assert [detokenizer.push([token]) for token in ids] == [
        "<tool_call>", "{", "}", "</tool_call>", "",
    ]  # fmt: skip
    assert 305 not in model.tokenizer.encode("<tool_call>"), "callers cannot write it"
