"""A call of a function, and how one is read from the JSON that a model wrote."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_CALL_CHARS = 64 * 1024
MAX_CALLS = 128
"""Of one answer. A longer call is text; calls beyond these are dropped."""

MAX_DEPTH = 64
"""Of arguments and of schemas, so that templates and writers need not recurse far."""


@dataclass(frozen=True, slots=True)
class Call:
    """arguments: JSON text of an object."""

    name: str
    arguments: str


Said = str | Call


def read_calls(text: str, names: Collection[str], *, several: bool) -> list[Call]:
    """The calls in one JSON value: an object with a name and `arguments` (or `parameters`), or an
    array of such where `several` allows it. [] when it is anything else.

    names: functions that may be called; a call of another one is none.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        values = value if several and isinstance(value, list) else [value]
        return [_call(item, names) for item in values]
    except (ValueError, RecursionError):  # not JSON, numbers and text that JSON cannot carry
        return []


def _call(value: Any, names: Collection[str]) -> Call:
    if not isinstance(value, dict):
        raise ValueError("a call is an object")
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
        raise ValueError("a call has a name and arguments")
    if too_deep(arguments):
        raise ValueError("the arguments are nested too deep")
    written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    written.encode()  # lone surrogates can be escaped in JSON, and not sent
    return Call(name, written)


def too_deep(value: dict[str, Any]) -> bool:
    """Whether objects and arrays are nested more than MAX_DEPTH deep."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
