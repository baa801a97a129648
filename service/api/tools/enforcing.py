"""Calls that must be made, or must fit their schema, held to it by a grammar.

Only for models that mark their calls (family "hermes"): there is one way to write them, and where
one begins is known.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from model.contract import Constraint, InvalidParameter
from model.text.language import TextModel
from model.text.tools.hermes import CLOSING, OPENING
from service.api.tools.offer import Function, Offer
from service.errors import ApiError

# With space wherever JSON allows it, small models write nothing else.
_WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_COMBINED = ("$ref", "anyOf", "oneOf", "allOf")


def held(offer: Offer | None, text: TextModel, form: Constraint | None) -> Constraint | None:
    """The constraint of an answer, from its tools or as it was asked for. Raises ApiError.

    Functions of which none is strict, in an answer that need not call one, are held to nothing.
    Where one is strict, the answer is free up to its first call, and nothing but calls from there.
    """
    if offer is None:
        return form
    if form is not None:
        raise ApiError(
            "invalid", "a form of the answer and tools exclude each other", param="constraint"
        )
    if not (offer.must_call or offer.strict):
        return None
    if text.tool_family != "hermes":
        wish = "a call cannot be required" if offer.must_call else "strict is not possible"
        raise ApiError(
            "invalid",
            f"{wish} with this model: the form of its calls is not fixed",
            param="tool_choice" if offer.must_call else "tools",
            code="unsupported_parameter",
        )
    grammar = _grammar(offer.callable, begun=not offer.must_call, several=offer.most > 1)
    try:
        return Constraint(lark=grammar, after=None if offer.must_call else OPENING)
    except InvalidParameter as error:
        raise ApiError("invalid", f"the tools together: {error}", param="tools") from None


@contextmanager
def blamed_on_tools(offer: Offer | None) -> Iterator[None]:
    """What is wrong with the grammar of an offer is wrong with its tools."""
    try:
        yield
    except ApiError as error:
        if offer is not None and error.param == "constraint":
            error.param = "tools"
        raise


def _grammar(functions: Sequence[Function], *, begun: bool, several: bool) -> str:
    """One call or several in Lark, as llguidance reads it. begun: the first opening is there.

    The parameters are a schema of their own, so that references from their root lead on.
    """
    first = "rest" if begun else "call"
    more = ' ("\\n" call)*' if several else ""
    choice = " | ".join(f"f{index}" for index in range(len(functions)))
    rules = [
        f"start: {first}{more}",
        f"call: {json.dumps(OPENING)} rest",
        f'rest: "\\n" ({choice}) {json.dumps(chr(10) + CLOSING)}',
    ]
    for index, function in enumerate(functions):
        opening = json.dumps(f'{{"name": "{function.name}", "arguments": ')
        rules += [
            f'f{index}: {opening} a{index} "}}"',
            f"a{index}: %json {json.dumps(_schema(function.parameters))}",
        ]
    return "\n".join(rules) + "\n"


def _schema(parameters: dict[str, Any]) -> dict[str, Any]:
    typed = {} if any(name in parameters for name in _COMBINED) else {"type": "object"}
    return {**typed, **parameters, "x-guidance": _WRITTEN}
