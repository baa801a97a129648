"""JSON schemas of callers, made harmless: no network, no recursion, no pattern that explodes.

A schema is checked once, against JSON Schema 2020-12, and its local references are written out.
What is left can be handed to a grammar compiler, and validation by it is bounded: by the number of
its nodes times the number of nodes of the value.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend

from routing.answers.json_values import canonical_json
from routing.answers.patterns import MAX_PATTERN_CHARS, compile_pattern
from routing.answers.pointer import resolve

MAX_SCHEMA_CHARS = 16_384
MAX_SCHEMA_DEPTH = 32
MAX_EXPANDED_DEPTH = 48
MAX_SCHEMA_NODES = 1_000
"""With references written out; data in `enum` and the like included."""
MAX_WORK = 50_000
"""Nodes of the schema times nodes of the value."""

_ONE = frozenset({
    "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
})  # fmt: skip
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "dependentSchemas"})
_DEFINITIONS = frozenset({"$defs", "definitions", "$schema"})
_NESTED = _ONE | _LISTS | _MAPS | _DEFINITIONS
_REFUSED = frozenset({
    "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor",
    "$vocabulary", "patternProperties", "unevaluatedItems", "unevaluatedProperties",
    "dependencies", "additionalItems",
})  # fmt: skip


@dataclass(frozen=True)
class Schema:
    """expanded: without references. nodes: its size."""

    expanded: dict[str, Any]
    nodes: int
    _validator: Any

    def allows(self, value: Any, nodes: int) -> bool:
        """value: as json.loads makes it. nodes: its size. False also for too much work."""
        if nodes * self.nodes > MAX_WORK:
            return False
        try:
            return bool(self._validator.is_valid(value))
        except (ArithmeticError, ValueError):
            return False  # multipleOf with numbers at the ends of what a float holds


def checked(schema: dict[str, Any]) -> Schema:
    """Raises ValueError, in one line, for what is no schema or none that is taken."""
    # Depth first: everything after it may recurse.
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise ValueError(f"schema must be at most {MAX_SCHEMA_DEPTH} levels deep")
    try:
        text = json.dumps(schema, allow_nan=False, sort_keys=True)
    except (ValueError, TypeError):
        raise ValueError("schema must be JSON, without NaN and infinity") from None
    if len(text) > MAX_SCHEMA_CHARS:
        raise ValueError(f"schema must have at most {MAX_SCHEMA_CHARS} characters as JSON")
    return _checked(text)


@lru_cache(maxsize=64)
def _checked(text: str) -> Schema:
    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema, format_checker=None)
    except SchemaError as error:
        reason = " ".join(error.message.split())
        where = f" at {error.json_path[:100]}" if error.path else ""
        raise ValueError(f"schema is not valid{where}: {reason[:200]}") from None
    expanded = _Expansion(schema).expanded(schema, (), 0)
    assert isinstance(expanded, dict)
    return Schema(expanded, _size(expanded), _Validator(expanded))


class _Expansion:
    """Writes out local references. Raises ValueError."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def expanded(self, schema: Any, above: tuple[str, ...], depth: int) -> Any:
        """above: the references that led here. depth: of this schema in what comes out."""
        if isinstance(schema, bool):
            return schema
        if depth > MAX_EXPANDED_DEPTH:
            raise ValueError("schema is too deep with its references written out")
        self._count(schema)
        for keyword in _REFUSED & schema.keys():
            raise ValueError(f"schema: {keyword} is not supported")
        if "pattern" in schema:
            self._check_pattern(schema["pattern"])
        own = {key: value for key, value in schema.items() if key not in {"$ref", *_DEFINITIONS}}
        inner = partial(self.expanded, above=above, depth=depth + 1)
        for key in own.keys() & _ONE:
            own[key] = inner(own[key])
        for key in own.keys() & _LISTS:
            own[key] = list(map(inner, own[key]))
        for key in own.keys() & _MAPS:
            own[key] = {name: inner(item) for name, item in own[key].items()}
        if "$ref" not in schema:
            return own
        target = self._target(schema["$ref"], above, depth)
        return {**own, "allOf": [*own.get("allOf", []), target]} if own else target

    def _target(self, reference: str, above: tuple[str, ...], depth: int) -> Any:
        if not reference.startswith("#") or (len(reference) > 1 and reference[1] != "/"):
            raise ValueError(f"schema: only references such as #/$defs/x, not {reference[:100]!r}")
        if reference in above:
            raise ValueError(f"schema: {reference[:100]} refers to itself; recursion is refused")
        try:
            target = resolve(self._root, unquote(reference[1:]))
        except LookupError:
            target = None
        if not isinstance(target, dict | bool):
            raise ValueError(f"schema: {reference[:100]} refers to nothing")
        return self.expanded(target, (*above, reference), depth + 1)

    def _count(self, schema: dict[str, Any]) -> None:
        """Each object once, with the data in it, so that references cannot multiply unseen."""
        self._nodes += 1 + sum(_size(schema[key]) for key in schema.keys() - _NESTED)
        if self._nodes > MAX_SCHEMA_NODES:
            raise ValueError(
                f"schema must have at most {MAX_SCHEMA_NODES} nodes with references written out"
            )

    @staticmethod
    def _check_pattern(pattern: str) -> None:
        if len(pattern) > MAX_PATTERN_CHARS:
            raise ValueError(f"schema: a pattern must have at most {MAX_PATTERN_CHARS} characters")
        compile_pattern(pattern)


def _depth(value: Any) -> int:
    """Levels of nesting, without recursion; stops counting just above what is allowed."""
    level, depth = [value], 0
    while level and depth <= MAX_SCHEMA_DEPTH:
        level = [child for parent in level for child in _children(parent)]
        depth += 1
    return depth


def _size(value: Any) -> int:
    """Values in a value, itself included."""
    return 1 + sum(map(_size, _children(value)))


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return compile_pattern(pattern)


def _pattern(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    # RE2 takes no lone surrogates, which JSON can spell.
    text = instance.encode("utf-8", "replace").decode() if isinstance(instance, str) else ""
    if isinstance(instance, str) and not _compiled(pattern).search(text):
        yield ValidationError("the pattern does not match")


def _unique_items(
    _validator: Any, unique: bool, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    """In linear time; jsonschema's own compares each with each."""
    if unique and isinstance(instance, list):
        written = {canonical_json(item) for item in instance}
        if len(written) != len(instance):
            yield ValidationError("the items are not unique")


_Validator = extend(Draft202012Validator, {"pattern": _pattern, "uniqueItems": _unique_items})
