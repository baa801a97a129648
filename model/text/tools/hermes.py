"""Calls as Hermes and Qwen write them: `<tool_call>{"name": ..., "arguments": ...}</tool_call>`."""

from collections.abc import Collection, Iterator

from model.text.tools.calls import MAX_CALL_CHARS, MAX_CALLS, Said, read_calls
from model.text.tools.reader import CallReader
from model.text.tools.scanner import JsonScanner

OPENING, CLOSING = "<tool_call>", "</tool_call>"


class HermesReader(CallReader):
    """A call whose closing is missing at the end of the answer counts as one all the same."""

    def __init__(self, names: Collection[str], most: int = MAX_CALLS) -> None:
        super().__init__(names, most)
        self._tail = ""
        """Text that may be the beginning of an opening."""
        self._call: _OpenCall | None = None

    def _read(self, text: str) -> Iterator[Said]:
        while True:
            if self._call is None:
                text = self._tail + text
                before, opening, rest = text.partition(OPENING)
                if not opening:
                    held = _overlap(text, OPENING)
                    self._tail = text[len(text) - held :]
                    if held < len(text):
                        yield text[: len(text) - held]
                    return
                self._tail = ""
                if before:
                    yield before
                self._call, text = _OpenCall(), rest
            left = self._call.push(text)
            if left is None:
                return
            said = self._call.said(self._names)
            self._call, text = None, left
            yield from said

    def _end(self) -> Iterator[Said]:
        if self._call is not None:
            yield from self._call.said(self._names)
        elif self._tail:
            yield self._tail
        self._call, self._tail = None, ""


class _OpenCall:
    """What stands behind an opening: white space, a JSON object, white space, the closing."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._json: list[str] = []
        self._scanner: JsonScanner | None = None
        self._closing = ""
        self._broken = False
        self._behind = False

    def push(self, text: str) -> str | None:
        """The text behind the call, or behind what shows that it is none; None while it is open."""
        if self._size + len(text) > MAX_CALL_CHARS:
            self._broken = True
            return text
        if not self._behind:
            at = self._value(text)
            if at is None:
                self._keep(text)
                return None
            self._keep(text[:at])
            text = text[at:]
            if self._broken:
                return text
        return self._close(text)

    def _value(self, text: str) -> int | None:
        """The index behind the object, or behind what breaks it."""
        start = 0
        if self._scanner is None:
            start = len(text) - len(text.lstrip())
            if start == len(text):
                return None
            if text[start] != "{":
                self._broken = True
                return start
            self._scanner = JsonScanner()
        end = self._scanner.push(text[start:])
        if end == "broken":
            self._broken = True
            return start
        at = None if end is None else start + end
        self._json.append(text[start:at])
        self._behind = at is not None
        return at

    def _close(self, text: str) -> str | None:
        waiting = (self._closing + text).lstrip()
        if waiting.startswith(CLOSING):
            rest = waiting[len(CLOSING) :]
            self._keep(text[: len(text) - len(rest)])
            return rest
        if CLOSING.startswith(waiting):
            self._closing = waiting
            self._keep(text)
            return None
        self._broken = True
        return text

    def _keep(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)

    def said(self, names: Collection[str]) -> list[Said]:
        """The call, or the text as it was written."""
        calls = [] if self._broken else read_calls("".join(self._json), names, several=False)
        return [*calls] or ["".join((OPENING, *self._pieces))]


def _overlap(text: str, mark: str) -> int:
    """How many characters at the text's end may be the mark's beginning."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
