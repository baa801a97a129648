"""Schemas of callers are checked, bounded and made harmless."""

from typing import Any

import pytest

from routing.answers.json_schema import MAX_WORK, checked
from routing.answers.json_values import size


def allows(schema: dict[str, Any], value: Any) -> bool:
    return checked(schema).allows(value, size(value))


def doubling(levels: int) -> dict[str, Any]:
    """References that would write out 2**levels schemas."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "string"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strange"}, r"not valid at \$.type"),
        ({"properties": 5}, r"not valid at \$.properties"),
        ({"pattern": "(?=x)"}, "RE2"),
        ({"pattern": "x" * 300}, "at most 256 characters"),
        ({"$ref": "https://example.org/schema"}, "only references such as"),
        ({"$ref": "other.json"}, "only references such as"),
        ({"$ref": "#"}, "recursion"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "recursion"),
        ({"$ref": "#/$defs/none"}, "refers to nothing"),
        ({"$id": "x"}, r"\$id is not supported"),
        ({"items": {"patternProperties": {"x": {}}}}, "patternProperties is not supported"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties is not supported"),
        (doubling(20), "at most 1000 nodes"),
        ({"enum": list(range(2000))}, "at most 1000 nodes"),
        (nested(40), "at most 32 levels"),
        (nested(5000), "at most 32 levels"),
        ({"title": "x" * 20_000}, "at most 16384 characters"),
        ({"minimum": float("nan")}, "without NaN"),
    ],
)
def test_what_is_not_taken_is_refused_in_one_line(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        checked(schema)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_local_references_are_written_out() -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"$ref": "#/$defs/n", "minimum": 2}, "$ref": {"type": "string"}},
        "$defs": {"n": {"type": "integer"}},
    }
    expanded = checked(schema).expanded
    assert expanded == {
        "type": "object",
        "properties": {
            "id": {"minimum": 2, "allOf": [{"type": "integer"}]},
            "$ref": {"type": "string"},
        },
    }
    assert allows(schema, {"id": 3, "$ref": "x"})
    assert not allows(schema, {"id": 1})
    assert not allows(schema, {"id": "3"})


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"pattern": "^a+$"}, "aaa", True),
        ({"pattern": "^a+$"}, "aab", False),
        ({"pattern": "^a+$"}, 5, True),
        ({"pattern": "(a+)+$"}, "a" * 5000 + "b", False),  # Python's re would not come back
        ({"pattern": "."}, "\ud800", True),
        ({"uniqueItems": True}, [1, 2, [1]], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ({"uniqueItems": False}, [1, 1], True),
        ({"multipleOf": 1e-308}, 1e300, False),
        ({"type": "integer"}, 4.0, True),
    ],
)
def test_values_are_validated(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert allows(schema, value) is fits


def test_more_work_than_is_allowed_is_no_vote() -> None:
    schema = {"allOf": [{"items": {"type": "integer"}} for _ in range(300)]}
    assert allows(schema, [1] * 10)
    assert not allows(schema, [1] * (MAX_WORK // 300))
