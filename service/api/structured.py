"""What an answer must look like, from any protocol's words to the worker's constraint."""

import json
from collections.abc import Sequence
from typing import Any

from model.contract import Constraint, InvalidParameter
from model.text.tools.calls import MAX_DEPTH, too_deep
from routing.answers.grammar import literal

MAX_CHOICES = 1_000
ANY_OBJECT: dict[str, Any] = {"type": "object"}
ANY_JSON: dict[str, Any] = {}

# With space wherever JSON allows it, small models write nothing else.
_WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_form(schema: dict[str, Any]) -> Constraint:
    """JSON that fits a schema. Raises InvalidParameter for one that is too large or too deep."""
    if too_deep(schema):
        raise InvalidParameter("constraint", f"schemas may be nested {MAX_DEPTH} deep")
    return Constraint(json_schema=json.dumps(schema, ensure_ascii=False))


def json_rule(schema: dict[str, Any]) -> str:
    """The same within a grammar in Lark, with no more space between its parts."""
    return f"%json {json.dumps({**schema, 'x-guidance': _WRITTEN}, ensure_ascii=False)}"


def choice_form(choices: Sequence[str]) -> Constraint:
    """Exactly one of these texts. Raises InvalidParameter."""
    if not choices or len(choices) > MAX_CHOICES or not all(choices):
        raise InvalidParameter("constraint", f"choices must be 1 to {MAX_CHOICES}, none empty")
    return Constraint(regex="|".join(literal(text) for text in choices))


def regex_form(pattern: str) -> Constraint:
    return Constraint(regex=pattern)


def grammar_form(lark: str) -> Constraint:
    return Constraint(lark=lark)
