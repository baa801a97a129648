"""What all readers of a model's calls share: pieces of text in, text and calls out."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator

from model.text.tools.calls import MAX_CALLS, Call, Said

_CHUNK = 1024
"""Characters read at once, so that what is copied at each mark is bounded."""

_MAX_SPACE = 256


class CallReader(ABC):
    """Splits one answer, as it comes, into text to pass on and whole calls.

    Text that may yet be part of a call is held back, at most MAX_CALL_CHARS of it; what turns out
    to be none is text again, unchanged. White space beside calls is dropped. Time is linear in the
    length of the answer.

    names: functions that may be called. most: calls passed on; further ones are dropped.
    """

    def __init__(self, names: Collection[str], most: int = MAX_CALLS) -> None:
        self._names = names
        self._most = most
        self._space = ""
        self._calls = 0
        self._called = False

    def push(self, text: str) -> list[Said]:
        chunks = (text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK))
        return list(self._spaced(piece for chunk in chunks for piece in self._read(chunk)))

    def finish(self) -> list[Said]:
        """What was held back, once nothing more comes."""
        said = list(self._spaced(self._end()))
        if self._space and not self._called:
            said.append(self._space)
        self._space = ""
        return said

    @abstractmethod
    def _read(self, text: str) -> Iterator[Said]:
        """Text and calls as they are known."""

    @abstractmethod
    def _end(self) -> Iterator[Said]:
        """The rest."""

    def _spaced(self, pieces: Iterator[Said]) -> Iterator[Said]:
        """Holds white space back until it is known whether a call stands beside it."""
        for piece in pieces:
            if isinstance(piece, Call):
                self._space, self._called = "", True
                self._calls += 1
                if self._calls <= self._most:
                    yield piece
                continue
            if self._called:
                piece = piece.lstrip()
                if not piece:
                    continue
            shown = piece.rstrip()
            space = piece[len(shown) :]
            if not shown:
                shown, space = "", self._space + space
            else:
                shown, self._called = self._space + shown, False
            self._space = space[-_MAX_SPACE:]
            shown += space[: len(space) - len(self._space)]
            if shown:
                yield shown
