"""The grammar of required and strict calls, as llguidance holds an answer to it."""

from typing import Any

import pytest

from model.contract import SamplingParams
from model.engine.constraints import Constraints
from model.engine.guide import Guide
from model.text.language import TextModel
from model.text.tools.calls import Call
from service.api.tools.enforcing import held
from service.api.tools.offer import NO_PARAMETERS, Function, Offer, make_offer
from service.api.tools.reading import read_message, reader_of
from service.errors import ApiError
from tests.service.support import (
    HERMES_TEMPLATE,
    LLAMA_TEMPLATE,
    TOOL_CONTROL,
    VOCABULARY,
    tiny_text,
)

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"type": "string", "enum": ["Oslo", 'a"b']}},
}
FUNCTIONS = [
    Function("weather", "Is it dry?", CITY, strict=True),
    Function("my.now-2", None, NO_PARAMETERS),
]
GENERIC_TEMPLATE = LLAMA_TEMPLATE.replace("dict", "object")
LLAMA = '{"name": "weather", "parameters": {"city": "Oslo"}}'
GENERIC = LLAMA.replace("parameters", "arguments")
WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "my.now-2", "arguments": {}}\n</tool_call>'


def tokens(text: TextModel, written: str) -> list[int]:
    """The marks as the control tokens where the vocabulary has them so."""
    ids: list[int] = []
    for index, part in enumerate(written.split("<tool_call>")):
        body = part.split("</tool_call>")
        ids += [305] * (index > 0)
        for place, piece in enumerate(body):
            ids += [306] * (place > 0) + text.tokenizer.encode(piece)
    return ids


def fits(
    offer: Offer, written: str, *, marks: bool = False, template: str = HERMES_TEMPLATE
) -> bool:
    """Whether the whole text is allowed, and may end there."""
    text = tiny_text(template, TOOL_CONTROL if marks else {"<|tool|>": 304})
    constraint = held(offer, text, None)
    assert constraint is not None
    grammar = Constraints.of(text, VOCABULARY).compile(constraint).result()
    guide = Guide(SamplingParams(max_tokens=1000, constraint=constraint), grammar)
    ids = tokens(text, written) if marks else text.tokenizer.encode(written)
    for token in ids:
        if guide.place(token, ends=False) != (token,) or guide.broken:
            return False
    return guide.steered and guide.matcher.is_accepting()


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        (WEATHER, True),
        (NOW, True),
        (f"{WEATHER}\n{NOW}\n{WEATHER}", True),
        (WEATHER.replace("Oslo", 'a\\"b').replace('b"}', 'b", "days": 3}'), True),
        (WEATHER.replace("Oslo", "Rome"), False),
        (WEATHER.replace("weather", "other"), False),
        (NOW.replace("{}", '{"x": 1}'), False),
        ("It is dry.", False),
        (f"So: {NOW}", False),
        (WEATHER[:30], False),
    ],
)
def test_an_answer_that_must_call_is_calls_and_nothing_else(
    written: str, allowed: bool, marks: bool
) -> None:
    assert fits(make_offer(FUNCTIONS, must_call=True), written, marks=marks) == allowed


def test_one_call_is_all_where_one_is_asked_for() -> None:
    offer = make_offer(FUNCTIONS, only=["my.now-2"], must_call=True, most=1)
    assert fits(offer, NOW)
    assert not fits(offer, WEATHER)
    assert not fits(offer, f"{NOW}\n{NOW}")


@pytest.mark.parametrize("marks", [True, False])
def test_a_strict_function_leaves_the_text_before_its_call_free(marks: bool) -> None:
    offer = make_offer(FUNCTIONS)
    assert fits(offer, f"<b>Let me see.</b> {WEATHER}\n{NOW}", marks=marks)
    assert not fits(offer, f"Let me see. {WEATHER.replace('Oslo', 'Rome')}", marks=marks)
    assert not fits(offer, f"{WEATHER} It is dry.", marks=marks)


def test_what_the_grammar_allows_is_read_as_the_calls() -> None:
    offer = make_offer(FUNCTIONS, must_call=True)
    message = read_message(f"{WEATHER}\n{NOW}", reader_of(offer, tiny_text(HERMES_TEMPLATE)))
    assert message.text == ""
    assert message.calls == (Call("weather", '{"city": "Oslo"}'), Call("my.now-2", "{}"))


def test_schemas_that_are_too_large_together_are_refused() -> None:
    schema = {"type": "object", "properties": {"x" * 20_000: {"type": "string"}}}
    functions = [Function(f"f{index}", None, schema) for index in range(4)]
    with pytest.raises(ApiError) as caught:
        held(make_offer(functions, must_call=True), tiny_text(HERMES_TEMPLATE), None)
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    ("template", "written", "allowed"),
    [
        (LLAMA_TEMPLATE, LLAMA, True),
        (LLAMA_TEMPLATE, f"{LLAMA}; {LLAMA}", True),
        (LLAMA_TEMPLATE, f"[{LLAMA}]", False),
        (LLAMA_TEMPLATE, GENERIC, False),
        (GENERIC_TEMPLATE, GENERIC, True),
        (GENERIC_TEMPLATE, f"[{GENERIC}]", True),
        (GENERIC_TEMPLATE, f"[{GENERIC}, {GENERIC}]", True),
        (GENERIC_TEMPLATE, "[]", False),
        (GENERIC_TEMPLATE, GENERIC.replace("Oslo", "Rome"), False),
        (GENERIC_TEMPLATE, f"So: {GENERIC}", False),
        (GENERIC_TEMPLATE, "It is dry.", False),
        (GENERIC_TEMPLATE, "", False),
    ],
)
def test_models_without_marks_call_in_bare_json_when_they_must(
    template: str, written: str, allowed: bool
) -> None:
    assert fits(make_offer(FUNCTIONS, must_call=True), written, template=template) == allowed


@pytest.mark.parametrize("template", [LLAMA_TEMPLATE, GENERIC_TEMPLATE])
def test_one_bare_call_is_all_where_one_is_asked_for(template: str) -> None:
    offer = make_offer(FUNCTIONS, must_call=True, most=1)
    call = LLAMA if template == LLAMA_TEMPLATE else GENERIC
    assert fits(offer, call, template=template)
    assert not fits(offer, f"{call}; {call}", template=template)
    assert not fits(offer, f"[{call}]", template=template)


@pytest.mark.parametrize(
    ("template", "written", "allowed"),
    [
        (LLAMA_TEMPLATE, LLAMA, True),
        (LLAMA_TEMPLATE, LLAMA.replace("Oslo", "Rome"), False),
        (LLAMA_TEMPLATE, f"{LLAMA} It is dry.", False),
        (LLAMA_TEMPLATE, "", True),
        (LLAMA_TEMPLATE, '\n It {is} dry: [1]\n{"a": 1}', True),
        (LLAMA_TEMPLATE, " [1, 2]", True),
        (LLAMA_TEMPLATE, ' {"a": 1}', False),
        (GENERIC_TEMPLATE, f"[{GENERIC}]", True),
        (GENERIC_TEMPLATE, " [1, 2]", False),
        (GENERIC_TEMPLATE, "Dry [1]", True),
    ],
)
def test_a_strict_bare_call_fits_and_all_else_is_text(
    template: str, written: str, allowed: bool
) -> None:
    offer = make_offer(FUNCTIONS)
    assert fits(offer, written, template=template) == allowed
    if allowed and written:
        calls = read_message(written, reader_of(offer, tiny_text(template))).calls
        assert bool(calls) == ("weather" in written)
