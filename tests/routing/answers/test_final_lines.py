"""What a decoder may write under a grammar is what the extractor reads."""

import json
import re

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.answers.base import Extractor
from routing.answers.boolean import BooleanExtractor
from routing.answers.choice import ChoiceExtractor
from routing.answers.json_answer import JsonExtractor
from routing.answers.label import LabelExtractor
from routing.answers.registry import extractor_for
from routing.answers.specs import (
    AutoAnswer,
    BoxedAnswer,
    ExactAnswer,
    MarkerAnswer,
    MathAnswer,
    NumberAnswer,
)

EXTRACTORS: dict[str, Extractor] = {
    "number": extractor_for(NumberAnswer()),
    "exact": extractor_for(ExactAnswer()),
    "marker": extractor_for(MarkerAnswer()),
    "boxed": extractor_for(BoxedAnswer()),
    "letters": ChoiceExtractor(dict.fromkeys("ABCD", "")),
    "options": ChoiceExtractor({"A": "Paris", "B": "A"}),
    "words": ChoiceExtractor({"yes (really)": "", "no": "", "a+b": ""}),
    "boolean": BooleanExtractor(),
    "german": BooleanExtractor("ja", "nein"),
    "labels": LabelExtractor({"positive": ("good",), "not C++": (), "C++": (), "很好": ()}),
}


def regex_of(extractor: Extractor) -> str:
    assert extractor.final_line is not None
    assert extractor.final_line.regex is not None
    return extractor.final_line.regex


@pytest.mark.parametrize("name", EXTRACTORS)
def test_whatever_fits_is_read(name: str) -> None:
    extractor = EXTRACTORS[name]

    @given(st.from_regex(re.compile(regex_of(extractor)), fullmatch=True))
    @settings(max_examples=150, deadline=None)
    def reads(written: str) -> None:
        found = extractor.extract(f"reasoning\nAnswer: {written}")
        assert found.status == "ok"

    reads()


@given(st.from_regex(re.compile(regex_of(extractor_for(MathAnswer()))), fullmatch=True))
@settings(max_examples=15, deadline=None)
def test_whatever_fits_is_read_as_mathematics(written: str) -> None:
    found = extractor_for(MathAnswer()).extract(f"reasoning\nAnswer: {written}")
    assert found.status == "ok"


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_expressions_are_re2_too_and_say_what_python_says(name: str) -> None:
    """Rust's engine, which grammar compilers use, has RE2's syntax."""
    expression = regex_of(EXTRACTORS[name])
    for text in ("4", "-1/2", "A", "yes", "Paris", r"\frac{1}{2}", "", " ", "\n", "<think>", "C++"):
        ours, theirs = re.fullmatch(expression, text), re2.fullmatch(expression, text)
        assert (ours is None) == (theirs is None), text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("number", "-12.5"),
        ("number", "3/4"),
        ("exact", "New York"),
        ("exact", '"東京"'),
        ("exact", "-5"),
        ("boxed", r"\frac{1}{2}"),
        ("boxed", r"\{1, 2\}"),
        ("boxed", r"\text{no solution}"),
        ("boxed", "(1, 2]"),
        ("words", "yes (really)"),
        ("labels", "not C++"),
    ],
)
def test_common_answers_fit(name: str, written: str) -> None:
    assert re.fullmatch(regex_of(EXTRACTORS[name]), written)


# A tag such as <think> within a string would be taken for the model's.
STRINGS = st.text(st.characters(exclude_characters="<＜"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)


@given(answer=st.integers(), why=STRINGS, indent=st.sampled_from([None, 2]))
def test_json_that_fits_the_grammar_is_read(answer: int, why: str, indent: int | None) -> None:
    properties = {"answer": {"$ref": "#/$defs/n"}, "why": {"type": "string", "minLength": 1}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["answer"],
        "$defs": {"n": {"type": "integer"}},
    }
    extractor = JsonExtractor(schema, "/answer")
    assert extractor.final_line is not None
    grammar = extractor.final_line.json_schema
    assert grammar is not None
    assert "$ref" not in json.dumps(grammar)
    written = json.dumps({"why": why or "x", "answer": answer}, indent=indent)
    found = extractor.extract(f"reasoning\nAnswer: {written}")
    assert (found.status, found.canonical) == ("ok", str(answer))


@given(VALUES)
def test_a_pointer_alone_demands_the_place_it_points_at(value: object) -> None:
    extractor = JsonExtractor(pointer="/a/b")
    assert extractor.final_line is not None
    assert extractor.final_line.json_schema == {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {}}, "required": ["b"]}},
        "required": ["a"],
    }
    found = extractor.extract("Answer: " + json.dumps({"a": {"b": value}}))
    assert found.status == "ok"


@pytest.mark.parametrize("spec", [NumberAnswer(), ExactAnswer(), BoxedAnswer(), AutoAnswer()])
def test_who_has_a_form_has_a_final_line(spec: NumberAnswer) -> None:
    extractor = extractor_for(spec)
    assert extractor.form is not None
    assert extractor.final_line is not None


def test_without_a_form_there_is_no_final_line() -> None:
    extractor = extractor_for(MarkerAnswer(pattern="x"))
    assert extractor.form is None
    assert extractor.final_line is None


def test_what_the_extractor_cannot_read_is_not_in_its_grammar() -> None:
    assert regex_of(ChoiceExtractor({"yes": "", "two\nlines": ""})) == "yes"
    assert ChoiceExtractor({"+": "", "-": ""}).final_line is None


def test_only_mathematics_blocks() -> None:
    assert extractor_for(MathAnswer()).blocking
    assert not any(extractor.blocking for extractor in EXTRACTORS.values())
