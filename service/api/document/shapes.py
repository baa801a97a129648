"""What request models accept beyond their fields, said in their JSON schemas."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Told(BaseModel):
    """Base of request models. A null is a field that was left out.

    ignored: fields that are accepted and change nothing. neutral: fields that are accepted with
    the values that ask for nothing.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        object_schema = handler.resolve_ref_schema(schema)
        properties: dict[str, Any] = object_schema.setdefault("properties", {})
        for name in properties.keys() - object_schema.get("required", ()):
            properties[name] = _or_null(properties[name])
        for name in sorted(cls.ignored):
            properties[name] = {"description": "Accepted, and changes nothing."}
        for name, values in cls.neutral.items():
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
