"""Gemini's schemas (OpenAPI 3.0 with types in capitals) as JSON Schema."""

from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from model.contract import Constraint
from service.api.closing import closed
from service.api.parsing import whole
from service.api.structured import ANY_JSON, choice_form, json_form

MAX_DEPTH = 64

_SAME = frozenset(("enum", "minimum", "maximum", "pattern", "title", "description", "default"))
# Numbers that Google's clients send as strings.
_COUNTS = frozenset(
    ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
)
_IGNORED = frozenset(("example", "format", "propertyOrdering", "nullable"))
_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))


def form_of(mime: str, schema: Mapping[str, Any] | None, json_schema: Any) -> Constraint | None:
    """What the answer must look like. Raises InvalidParameter, PydanticCustomError."""
    if mime == "text/plain":
        return None
    if mime == "text/x.enum":
        return choice_form([str(value) for value in _enum(schema, json_schema)])
    if json_schema is not None:
        return json_form(json_schema)
    return json_form(ANY_JSON if schema is None else closed(converted(schema)))


def _enum(schema: Mapping[str, Any] | None, json_schema: Any) -> list[Any]:
    described = schema if json_schema is None else json_schema
    values = described.get("enum") if isinstance(described, Mapping) else None
    if not isinstance(values, list) or not values:
        raise _bad("text/x.enum needs a schema with an enum")
    return values


def converted(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The same as JSON Schema, properties in the order that was asked for.

    Raises PydanticCustomError for what has no meaning there.
    """
    if depth > MAX_DEPTH:
        raise _bad(f"schemas may be nested {MAX_DEPTH} deep")
    found: dict[str, Any] = {}
    for written, value in schema.items():
        name = to_camel(written) if "_" in written else written
        if name in _SAME:
            found[name] = value
        elif name in _COUNTS:
            found[name] = _count(name, value)
        elif name == "type":
            found["type"] = _type(value)
        elif name == "items":
            found["items"] = _converted(name, value, depth)
        elif name == "properties":
            found["properties"] = _properties(schema, _object(name, value), depth)
        elif name == "required":
            found["required"] = value
        elif name == "additionalProperties":
            found[name] = value if isinstance(value, bool) else _converted(name, value, depth)
        elif name == "anyOf" and isinstance(value, list):
            found["anyOf"] = [_converted(name, part, depth) for part in value]
        elif name not in _IGNORED:
            raise _bad(
                f"{str(name)[:40]!r} is not known in a schema; responseJsonSchema knows more"
            )
    if schema.get("nullable") is True:
        return {"anyOf": [found, {"type": "null"}]}
    return found


def _converted(name: str, value: Any, depth: int) -> dict[str, Any]:
    return converted(_object(name, value), depth + 1)


def _properties(
    schema: Mapping[str, Any], properties: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    """JSON is written in the order of its schema's properties."""
    ordering = schema.get("propertyOrdering", schema.get("property_ordering"))
    first = [name for name in ordering if name in properties] if isinstance(ordering, list) else []
    names = dict.fromkeys([*first, *properties])
    return {name: _converted(name, properties[name], depth) for name in names}


def _type(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _TYPES:
        return value.lower()
    raise _bad(f"{str(value)[:40]!r} is no type of a schema")


def _count(name: str, value: Any) -> int:
    try:
        return int(whole(value))
    except (TypeError, ValueError, OverflowError):  # the last of an infinite one
        raise _bad(f"{name} must be a whole number") from None


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _bad(f"{name[:40]!r} must be an object")


def _bad(message: str) -> PydanticCustomError:
    return PydanticCustomError(
        "refused", "{message}", {"param": "responseSchema", "message": message}
    )
