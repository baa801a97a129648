"""Schemas whose objects have the properties that they name, and no others."""

import json
from collections.abc import Mapping
from typing import Any

_ELSEWHERE = frozenset(
    (
        *("additionalProperties", "unevaluatedProperties", "patternProperties"),
        *("$ref", "anyOf", "oneOf"),
    )
)
"""Where one of these is, properties that `properties` does not name may be meant."""


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, in which objects that list their properties have no others.

    JSON Schema leaves them open, so that a grammar of it lets a model make names up. Neither who
    declares a function expects that, nor who describes an answer in Google's words. A schema with
    `allOf` is left as it is: each part speaks of some properties only.
    """
    if '"allOf"' in json.dumps(schema):
        return schema
    found: dict[str, Any] = _closed(schema)
    return found


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    found = dict(schema)
    for name in ("items", "additionalProperties"):
        if name in found:
            found[name] = _closed(found[name])
    for name in ("properties", "$defs", "definitions"):
        if isinstance(found.get(name), Mapping):
            found[name] = {key: _closed(part) for key, part in found[name].items()}
    if not found.get("properties"):
        for name in ("anyOf", "oneOf", "prefixItems"):
            if isinstance(found.get(name), list):
                found[name] = [_closed(part) for part in found[name]]
    elif _ELSEWHERE.isdisjoint(found):
        found["additionalProperties"] = False
    return found
