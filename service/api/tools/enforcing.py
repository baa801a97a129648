"""Calls that must be made, or must fit their schema, held to it by a grammar.

Each family's calls are held to the one form that its models have seen most, which its reader knows.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from model.contract import Constraint, InvalidParameter
from model.text.language import TextModel
from model.text.tools.families import ToolFamily
from model.text.tools.hermes import CLOSING, OPENING
from service.api.closing import closed
from service.api.structured import json_rule
from service.api.tools.offer import Function, Offer
from service.errors import ApiError

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
    if not text.supports_tools or not (offer.must_call or offer.strict):
        return None
    marked = text.tool_family == "hermes"
    grammar = _marked(offer) if marked else _bare(offer, text.tool_family)
    try:
        return Constraint(lark=grammar, after=OPENING if marked and not offer.must_call else None)
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


def _marked(offer: Offer) -> str:
    """Calls between marks, in Lark as llguidance reads it. Where the answer may be text, the
    constraint begins behind the first mark."""
    first = "call" if offer.must_call else "rest"
    more = ' ("\\n" call)*' if offer.most > 1 else ""
    rules = [
        f"start: {first}{more}",
        f"call: {json.dumps(OPENING)} rest",
        f'rest: "\\n" json {json.dumps(chr(10) + CLOSING)}',
    ]
    return _lines(rules + _calls(offer.callable, "arguments"))


def _bare(offer: Offer, family: ToolFamily) -> str:
    """Calls as the beginning of the answer. Text is what no call begins: no bracket comes first."""
    if family == "llama":
        key, brackets, several = "parameters", r"\{", 'json ("; " json)*'
    else:
        key, brackets, several = "arguments", r"\{\[", 'json | "[" json (", " json)* "]"'
    rules = [f"calls: {several if offer.most > 1 else 'json'}"]
    if offer.must_call:
        rules.insert(0, "start: calls")
    else:
        rules.insert(0, 'start: calls | text | ""')
        rules.append(rf"text: /[ \t\r\n]*[^ \t\r\n{brackets}](?s:.*)/")
    return _lines(rules + _calls(offer.callable, key))


def _calls(functions: Sequence[Function], key: str) -> list[str]:
    """`json`: an object that calls one of them, its arguments under `key`.

    The parameters are a schema of their own, so that references from their root lead on.
    """
    rules = ["json: " + " | ".join(f"f{index}" for index in range(len(functions)))]
    for index, function in enumerate(functions):
        opening = json.dumps(f'{{"name": "{function.name}", "{key}": ')
        rules += [
            f'f{index}: {opening} a{index} "}}"',
            f"a{index}: {json_rule(_schema(function.parameters))}",
        ]
    return rules


def _lines(rules: Sequence[str]) -> str:
    return "\n".join(rules) + "\n"


def _schema(parameters: dict[str, Any]) -> dict[str, Any]:
    typed = {} if any(name in parameters for name in _COMBINED) else {"type": "object"}
    return {**typed, **closed(parameters)}
