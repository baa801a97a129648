"""Where the JSON values of a text are, in one pass over it.

Braces and quotes in prose must not hide the value that follows them. The scanner therefore checks
the grammar as it goes: a token that cannot stand where it is ends all containers that are open
there, for none of them can be JSON any more; outside of containers quotes mean nothing.
"""

import re
from dataclasses import dataclass

MAX_DEPTH = 64
MAX_NUMBER_CHARS = 100

_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = (
    rf"-?(?:0|[1-9][0-9]{{0,{MAX_NUMBER_CHARS}}}+)(?:\.[0-9]{{1,{MAX_NUMBER_CHARS}}}+)?+"
    r"(?:[eE][-+]?[0-9]{1,9}+)?+"
)
_SCALAR = re.compile(rf"{_STRING}|{_NUMBER}|true|false|null")
_STRING_ONLY = re.compile(_STRING)
# Behind a number or a name it says that this was only the beginning of something else.
_CONTINUED = re.compile(r"\w|[-+.]\w")
_SPACE = re.compile(r"[ \t\r\n]*+")
_OPENING = re.compile(r"[{\[]")


@dataclass(frozen=True)
class Found:
    """text[begin:end] is JSON."""

    begin: int
    end: int


@dataclass
class _Open:
    """A container that has not ended. expects: what may come next in it."""

    begin: int
    closing: str
    expects: str


@dataclass(frozen=True)
class Scan:
    """first_end: where the first object or array ends. last_object, last_array: the last ones that
    are no part of a larger one. unfinished: the text ends inside of one."""

    first_end: int | None
    last_object: Found | None
    last_array: Found | None
    unfinished: bool


def scan(text: str) -> Scan:
    """All objects and arrays of a text. Linear: a token is read at most twice."""
    scanner = _Scanner(text)
    scanner.run()
    return Scan(scanner.first_end, scanner.last["}"], scanner.last["]"], bool(scanner.stack))


def value_at(text: str, begin: int) -> Found | None:
    """The JSON value of any kind that begins here, after spaces."""
    begin = _after_space(text, begin)
    if text[begin : begin + 1] in ("{", "["):
        scanner = _Scanner(text, begin)
        scanner.run(once=True)
        ends = [found.end for found in scanner.last.values() if found and found.begin == begin]
        return Found(begin, ends[0]) if ends else None
    scalar = _SCALAR.match(text, begin)
    if scalar is None or _CONTINUED.match(text, scalar.end()):
        return None
    return Found(begin, scalar.end())


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


class _Scanner:
    """A pushdown automaton over JSON's tokens.

    `expects` of a container: "first" (a member or the end), "next" (a member), "colon", "value"
    (of a member of an object), "comma" (or the end).
    """

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self.stack: list[_Open] = []
        self.first_end: int | None = None
        self.last: dict[str, Found | None] = {"}": None, "]": None}
        # The last container that ended inside of those still open.
        self.inner: dict[str, Found | None] = {"}": None, "]": None}

    def run(self, *, once: bool = False) -> None:
        """once: stop where the first container ends or turns out not to be one."""
        while self.at < len(self.text):
            if not self.stack:
                opening = _OPENING.search(self.text, self.at)
                if opening is None:
                    return
                self._open(opening.start())
            elif not self._step():
                self._give_up()
            if once and not self.stack:
                return
        self._keep_inner()

    def _open(self, at: int) -> None:
        closing = "}" if self.text[at] == "{" else "]"
        self.stack.append(_Open(at, closing, "first"))
        self.at = at + 1

    def _step(self) -> bool:
        """One token inside of a container. False when it cannot stand here."""
        self.at = _after_space(self.text, self.at)
        if self.at >= len(self.text):
            return True
        top, char = self.stack[-1], self.text[self.at]
        if char == top.closing and top.expects in ("first", "comma"):
            self._close(top)
            return True
        if top.expects == "comma":
            top.expects = "next"
            return self._skip(",")
        if top.expects == "colon":
            top.expects = "value"
            return self._skip(":")
        if top.closing == "}" and top.expects in ("first", "next"):
            top.expects = "colon"
            return self._match(_STRING_ONLY)
        top.expects = "comma"
        if char in "{[":
            if len(self.stack) >= MAX_DEPTH:
                return False
            self._open(self.at)
            return True
        return self._match(_SCALAR)

    def _skip(self, char: str) -> bool:
        if self.text[self.at] != char:
            return False
        self.at += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _close(self, top: _Open) -> None:
        self.at += 1
        self.stack.pop()
        found = Found(top.begin, self.at)
        if self.first_end is None:
            self.first_end = self.at
        self.inner[top.closing] = found
        if not self.stack:
            self.last[top.closing] = found
            self.inner = {"}": None, "]": None}

    def _give_up(self) -> None:
        """Nothing that is open here can be JSON; what ended inside of it is."""
        self._keep_inner()
        self.stack.clear()
        # An opening bracket that may not stand here can still open a value of its own.
        if self.text[self.at] not in "{[":
            self.at += 1

    def _keep_inner(self) -> None:
        if self.stack:
            self.last.update({key: found for key, found in self.inner.items() if found})
        self.inner = {"}": None, "]": None}
