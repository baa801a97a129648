"""JSON values and one spelling for equal ones: {"b": 1.0, "a": 2} is {"a":2,"b":1}."""

import json
import math
from decimal import Context, Decimal
from typing import Any

_EXACT = Context(prec=256)
_PLAIN_EXPONENT = 40
_HALF_CHARACTERS = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


class DuplicateKey(ValueError):
    """An object that has a name twice says two things."""


def loads(text: str) -> tuple[Any, Any]:
    """The value twice: with exact numbers (int, Decimal), and with floats as validators want it.

    Raises DuplicateKey, ValueError for a number that no float can hold.
    """
    exact = json.loads(text, parse_float=Decimal, object_pairs_hook=_without_duplicates)
    return exact, json.loads(text, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number out of range")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DuplicateKey("a name occurs twice")
    return value


def size(value: Any) -> int:
    """Values in a value, itself included; names count too."""
    if isinstance(value, dict):
        return 1 + sum(1 + size(item) for item in value.values())
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


def canonical_json(value: Any) -> str:
    """Compact, names sorted by code point, numbers by value. Always valid Unicode."""
    if isinstance(value, dict):
        members = (f"{_string(name)}:{canonical_json(value[name])}" for name in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _number(value)


def _string(text: str) -> str:
    return json.dumps(text.translate(_HALF_CHARACTERS), ensure_ascii=False)


def _number(value: int | float | Decimal) -> str:
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if exact == 0:
        return "0"
    exact = exact.normalize(_EXACT)
    if abs(exact.adjusted()) <= _PLAIN_EXPONENT:
        return f"{exact:f}"
    return str(exact)
