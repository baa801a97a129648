"""The functions that a request offers to the model, from any protocol's words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from model.text.tools.calls import MAX_CALLS, MAX_DEPTH, too_deep
from service.errors import ApiError

MAX_FUNCTIONS = 128
MAX_FUNCTION_CHARS = 32 * 1024
"""Of one function's description and parameters, as JSON."""

NO_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Function:
    """parameters: the JSON schema of an object. strict: a call's arguments must fit it."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool = False

    def shown(self) -> dict[str, Any]:
        """As chat templates read it."""
        described = {} if self.description is None else {"description": self.description}
        function = {"name": self.name, **described, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Offer:
    """All functions are shown to the model. allowed: names of those that it may call.
    must_call: the answer is one call or more. most: calls of one answer."""

    functions: tuple[Function, ...]
    allowed: frozenset[str]
    must_call: bool = False
    most: int = MAX_CALLS

    @property
    def callable(self) -> list[Function]:
        return [function for function in self.functions if function.name in self.allowed]

    @property
    def strict(self) -> bool:
        return any(function.strict for function in self.callable)

    @cached_property
    def written_length(self) -> int:
        return sum(len(str(function.shown())) for function in self.functions)


def make_offer(
    functions: Sequence[Function],
    *,
    only: Sequence[str] = (),
    must_call: bool = False,
    most: int = MAX_CALLS,
) -> Offer:
    """only: names that may be called, () for all. Raises ApiError: "tools" for what is wrong with
    the functions, "tool_choice" for a name among `only` that is none of theirs."""
    if len(functions) > MAX_FUNCTIONS:
        raise _bad(f"at most {MAX_FUNCTIONS} functions may be offered")
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise _bad("two functions have the same name")
    for function in functions:
        if too_deep(function.parameters):
            raise _bad(f"the parameters of {function.name!r} are nested more than {MAX_DEPTH} deep")
        if _length(function) > MAX_FUNCTION_CHARS:
            raise _bad(
                f"the function {function.name!r} is described with more than "
                f"{MAX_FUNCTION_CHARS} characters"
            )
        if function.parameters.get("type", "object") != "object":
            raise _bad(f"the parameters of {function.name!r} must be the schema of an object")
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ApiError(
            "invalid", f"no function {unknown[0][:64]!r} is offered", param="tool_choice"
        )
    return Offer(tuple(functions), frozenset(only or names), must_call, most)


def _length(function: Function) -> int:
    return len(json.dumps(function.shown()))


def _bad(message: str) -> ApiError:
    return ApiError("invalid", message, param="tools")
