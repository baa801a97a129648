"""Properties that a schema does not name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from service.api.closing import closed

NAMED = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**NAMED, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (NAMED, CLOSED),
        (
            {"properties": {"b": NAMED}},
            {"properties": {"b": CLOSED}, "additionalProperties": False},
        ),
        ({"items": NAMED}, {"items": CLOSED}),
        ({"prefixItems": [NAMED, True]}, {"prefixItems": [CLOSED, True]}),
        ({"anyOf": [NAMED, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"$ref": "#/$defs/N", "$defs": {"N": NAMED}},
         {"$ref": "#/$defs/N", "$defs": {"N": CLOSED}}),
        ({"additionalProperties": NAMED}, {"additionalProperties": CLOSED}),
    ],
)  # fmt: skip
def test_objects_that_list_their_properties_have_no_others(schema, expected) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "additionalProperties": {"type": "integer"}},
        {**NAMED, "unevaluatedProperties": False},
        {**NAMED, "patternProperties": {"^x": {}}},
        {**NAMED, "anyOf": [{"properties": {"b": {}}}, {"properties": {"c": {}}}]},
        {**NAMED, "$ref": "#/$defs/N"},
        {"allOf": [NAMED, {"properties": {"b": {}}}]},
        {"$defs": {"N": NAMED}, "properties": {"x": {"allOf": [{"$ref": "#/$defs/N"}, NAMED]}}},
        {"type": ["object", "null"], "not": NAMED},
    ],
)
def test_what_may_mean_others_is_left_as_it_is(schema) -> None:
    assert closed(schema) == schema


NAMES = st.sampled_from("abc")
SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "integer"}, {"type": "string"}, {"type": "object"}]),
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, max_size=2).map(lambda named: {"properties": named}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
        inner.map(lambda part: {"items": part}),
        inner.map(lambda part: {"additionalProperties": part}),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=1)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner)),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_nothing_fits_the_closed_schema_that_does_not_fit_the_open_one(schema, value) -> None:
    narrow = closed(schema)
    assert closed(narrow) == narrow
    if Draft202012Validator(narrow).is_valid(value):
        assert Draft202012Validator(schema).is_valid(value)
