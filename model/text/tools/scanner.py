"""Where a JSON object or array ends, in text that comes in pieces."""

import re
from typing import Literal

_TELLING = re.compile(r'["\\{}\[\]<\n]')

Broken = Literal["broken"]


class JsonScanner:
    """Reads each character once and keeps none.

    It knows brackets and strings, and what JSON cannot hold: a line feed within a string, a "<" or
    a backslash outside of one. Whether the value is JSON is for a parser to say.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def push(self, text: str) -> int | Broken | None:
        """The index in `text` behind the value's end; "broken" for what no longer can be JSON;
        None while it goes on. The first character pushed opens the value."""
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while match := _TELLING.search(text, at):
            at = match.end()
            found = match[0]
            if self._in_string:
                if found == "\n":
                    return "broken"
                if found == "\\":
                    self._escaped = at == len(text)
                    at += 1
                elif found == '"':
                    self._in_string = False
            elif found == '"':
                self._in_string = True
            elif found in "<\\":
                return "broken"
            elif found in "{[":
                self._depth += 1
            elif found in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at
        return None
