"""Calls as bare JSON at the beginning of an answer: `{"name": ..., "parameters": ...}`, as Llama 3
writes them, several behind one another; or, as most others do, in an array."""

from collections.abc import Collection, Iterator

from model.text.tools.calls import MAX_CALL_CHARS, MAX_CALLS, Said, read_calls
from model.text.tools.reader import CallReader
from model.text.tools.scanner import JsonScanner

_BETWEEN = ";,"
"""Beside white space, what models write between calls."""


class JsonReader(CallReader):
    """What is no call of a known function makes all that follows text."""

    def __init__(
        self, names: Collection[str], most: int = MAX_CALLS, *, arrays: bool = True
    ) -> None:
        super().__init__(names, most)
        self._openings = "{[" if arrays else "{"
        self._held: list[str] = []
        self._size = 0
        self._scanner: JsonScanner | None = None
        self._begun = False
        self._plain = False

    def _read(self, text: str) -> Iterator[Said]:
        while text and not self._plain:
            if self._scanner is None:
                between = _BETWEEN if self._begun else ""
                value = text.lstrip(" \t\r\n" + between)
                if not value:
                    self._keep(text)
                    self._plain = self._size > MAX_CALL_CHARS
                    return
                self._keep(text[: len(text) - len(value)])
                text = value
                if text[0] not in self._openings:
                    self._plain = True
                    break
                self._scanner = JsonScanner()
            end = self._scanner.push(text)
            if end is None and self._size + len(text) <= MAX_CALL_CHARS:
                self._keep(text)
                return
            if not isinstance(end, int):
                self._plain = True
                break
            self._keep(text[:end])
            text = text[end:]
            yield from self._value()
        if self._plain:
            yield from self._release()
            if text:
                yield text

    def _value(self) -> Iterator[Said]:
        written = "".join(self._held).lstrip(" \t\r\n" + _BETWEEN)
        calls = read_calls(written, self._names, several=self._openings == "{[")
        self._scanner = None
        if not calls:
            self._plain = True
            return
        self._held, self._size, self._begun = [], 0, True
        yield from calls

    def _end(self) -> Iterator[Said]:
        if self._begun and self._scanner is None:
            self._held = []  # nothing but what stands between calls
        yield from self._release()

    def _release(self) -> Iterator[Said]:
        held = "".join(self._held)
        self._held, self._size = [], 0
        if held:
            yield held

    def _keep(self, text: str) -> None:
        self._held.append(text)
        self._size += len(text)
