"""What request models accept beyond their fields, said in their JSON schemas."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


def told(
    core: CoreSchema,
    handler: GetJsonSchemaHandler,
    *,
    ignored: Collection[str] = (),
    neutral: Mapping[str, Sequence[Any]] | None = None,
    nullable: Collection[str] | None = None,
) -> dict[str, Any]:
    """For `__get_pydantic_json_schema__` of a model.

    ignored: fields that are accepted and change nothing. neutral: fields with the values that ask
    for nothing. nullable: fields where a null is one left out; None for all that may be left out.
    """
    schema = handler(core)
    object_schema = handler.resolve_ref_schema(schema)
    properties: dict[str, Any] = object_schema.setdefault("properties", {})
    required = object_schema.get("required", ())
    for name, described in properties.items():
        if name not in required if nullable is None else name in nullable:
            properties[name] = _or_null(described)
    for name in sorted(ignored):
        properties[name] = {"description": "Accepted, and changes nothing."}
    for name, values in (neutral or {}).items():
        properties[name] = {
            "enum": [*values, None],
            "description": "Accepted only with a value that asks for nothing.",
        }
    return schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    names = ("title", "description", "default")
    kept: dict[str, Any] = {name: schema[name] for name in names if name in schema}
    inner = {name: value for name, value in schema.items() if name not in kept}
    return {"anyOf": [inner, {"type": "null"}], **kept} if inner else kept
