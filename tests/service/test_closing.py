"""Properties that a schema does not name."""

import pytest

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
