"""Specs as callers write them, and reference answers as data sets write them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from routing.answers.registry import canonical_gold, extractor_for
from routing.answers.specs import (
    AnswerField,
    AnswerSpec,
    BooleanAnswer,
    BoxedAnswer,
    ChoiceAnswer,
    ExactAnswer,
    JsonAnswer,
    LabelAnswer,
    MarkerAnswer,
    MathAnswer,
    NumberAnswer,
)

FIELD: TypeAdapter[AnswerSpec] = TypeAdapter(AnswerField)


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("boolean", BooleanAnswer()),
        (
            {"type": "boolean", "true": "ja", "false": "nein"},
            BooleanAnswer(true="ja", false="nein"),
        ),
        ("boxed", BoxedAnswer()),
        ("math", MathAnswer()),
        ("json", JsonAnswer()),
        (
            {"type": "json", "schema": {"type": "object"}, "pointer": "/answer"},
            JsonAnswer(schema={"type": "object"}, pointer="/answer"),
        ),
        ({"type": "label", "labels": ["a", "b"]}, LabelAnswer(labels={"a": (), "b": ()})),
        (
            {"type": "label", "labels": {"a": ["x"], "b": []}},
            LabelAnswer(labels={"a": ("x",), "b": ()}),
        ),
        ("regex", MarkerAnswer()),
        ({"type": "regex", "pattern": "x"}, MarkerAnswer(pattern="x")),
    ],
)
def test_kinds_are_named_or_described(written: object, spec: AnswerSpec) -> None:
    assert FIELD.validate_python(written) == spec
    assert extractor_for(spec).name == spec.type


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("strange", "does not match any of the expected tags"),
        ("label", "Field required"),
        ({"type": "label", "labels": ["a"]}, "labels must be 2 to 64"),
        ({"type": "label", "labels": ["a", "a"]}, "differ"),
        ({"type": "label", "labels": ["a", "A"]}, "differ"),
        ({"type": "label", "labels": {"a": ["x"], "b": ["X"]}}, "differ"),
        ({"type": "label", "labels": ["a", " "]}, "1 to 100 characters"),
        ({"type": "label", "labels": ["a", "b" * 101]}, "1 to 100 characters"),
        ({"type": "label", "labels": {"a": list("abcdefghijklmnopq"), "b": []}}, "at most 16"),
        ({"type": "label", "labels": [str(n) for n in range(65)]}, "labels must be 2 to 64"),
        ({"type": "boolean", "true": "x", "false": "X"}, "differ"),
        ({"type": "boolean", "true": " "}, "not be empty"),
        ({"type": "boolean", "true": "no", "false": "yes"}, "must not be a word for no"),
        ({"type": "json", "schema": {"type": "strange"}}, "schema is not valid"),
        ({"type": "json", "schema": []}, "valid dictionary"),
        ({"type": "json", "pointer": "answer"}, "pointer must be empty or begin"),
        ({"type": "json", "pointer": "/" + "a" * 300}, "at most 256 characters"),
        ({"type": "boxed", "extra": 1}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(written: object, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        FIELD.validate_python(written)
    messages = [error["msg"] for error in refused.value.errors()]
    assert any(reason in message for message in messages)
    assert not any("\n" in message for message in messages)


CHOICE = ChoiceAnswer(choices={"A": "Rome", "B": "Paris"})


@pytest.mark.parametrize(
    ("spec", "reference", "gold"),
    [
        (NumberAnswer(), "18", "18"),
        (NumberAnswer(), "$1,200", "1200"),
        (NumberAnswer(), "He has 3 * 6 = 18.\nSo 18.\n#### 18", "18"),
        (NumberAnswer(), "none", None),
        (CHOICE, "B", "B"),
        (CHOICE, "(B)", "B"),
        (CHOICE, "Paris", "B"),
        (CHOICE, "Oslo", None),
        (ExactAnswer(), " The Hague ", "the hague"),
        (BooleanAnswer(), "True", "yes"),
        (LabelAnswer(labels={"positive": ("pos",), "negative": ()}), "pos", "positive"),
        (BoxedAnswer(), r"\dfrac{3}{4}", "0.75"),
        (BoxedAnswer(), r"We see that \boxed{\frac34}.", "0.75"),
        (MathAnswer(), "(x+1)^2", "x**2 + 2*x + 1"),
        (JsonAnswer(pointer="/a"), '{"a": 1.0}', "1"),
        (JsonAnswer(), '{\n "b": 1,\n "a": 2\n}', '{"a":2,"b":1}'),
        (MarkerAnswer(pattern="RESULT=(.+)"), "RESULT=Yes", "yes"),
        (MarkerAnswer(pattern="RESULT=(.+)"), "Yes", "yes"),
        (ExactAnswer(), "", None),
    ],
)
def test_reference_answers_become_votes(spec: AnswerSpec, reference: str, gold: Any) -> None:
    assert canonical_gold(extractor_for(spec), reference) == gold
