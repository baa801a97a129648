"""Control pieces in text: where they are, and how a caller's text is kept from having any."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_PRIVATE = range(0xF0000, 0x10FFFE)


class ControlPieces:
    """The control tokens of a model by their spelling."""

    def __init__(self, control: Mapping[str, int]) -> None:
        self._ids = {piece: token for piece, token in control.items() if piece}
        self._lengths = sorted({len(piece) for piece in self._ids}, reverse=True)
        starts = "".join(re.escape(start) for start in sorted({p[0] for p in self._ids}))
        self._start = re.compile(f"[{starts}]" if starts else "(?!)")
        self.alphabet = "".join(sorted({c for piece in self._ids for c in _telling(piece)}))

    def cut(self, text: str) -> list[str | int]:
        """Runs of text and the ids of the control pieces between them, the longest piece first.

        Vocabularies hold thousands of control pieces (Gemma: 6,249), so candidates are looked up
        by length where one can start; an alternation of all would be tried in full at every `<`.
        """
        parts: list[str | int] = []
        done = 0
        for start in self._starts(text):
            if start < done:
                continue
            piece = self._at(text, start)
            if piece is None:
                continue
            if start > done:
                parts.append(text[done:start])
            parts.append(self._ids[piece])
            done = start + len(piece)
        if done < len(text):
            parts.append(text[done:])
        return parts

    def occurrences(self, text: str) -> list[int]:
        """Every index at which a control piece starts, overlapping ones included."""
        return [start for start in self._starts(text) if self._at(text, start) is not None]

    def _starts(self, text: str) -> Iterator[int]:
        return (match.start() for match in self._start.finditer(text))

    def _at(self, text: str, start: int) -> str | None:
        for length in self._lengths:
            piece = text[start : start + length]
            if piece in self._ids:
                return piece
        return None


def _telling(piece: str) -> str:
    """The characters of a piece that are not spaces, so that templates can still trim text."""
    return "".join(piece.split()) or piece


class OutOfPrivateCharacters(ValueError):
    """The text uses so many private-use characters that none are left to stand in."""


@dataclass(frozen=True)
class Disguise:
    """Private-use characters that occur nowhere else, standing for those of control pieces."""

    pieces: ControlPieces
    table: dict[int, str]
    back: dict[int, str]
    spare: str
    """One more character that occurs nowhere."""

    @classmethod
    def avoiding(cls, pieces: ControlPieces, texts: Iterable[str]) -> "Disguise":
        """Raises OutOfPrivateCharacters."""
        used = {ord(c) for text in texts if not text.isascii() for c in set(text)}
        free = (chr(code) for code in _PRIVATE if code not in used)
        table = dict(zip(map(ord, pieces.alphabet), free, strict=False))
        spare = next(free, None)
        if spare is None:
            raise OutOfPrivateCharacters("the text uses too many private-use characters")
        return cls(pieces, table, {ord(to): chr(code) for code, to in table.items()}, spare)

    def whole(self, text: str) -> str:
        """Nothing of this text can take part in a control piece, whatever is done with it."""
        return text.translate(self.table)

    def guarded(self, text: str) -> str:
        """The text as it is, but for one character of each control piece that it spells."""
        starts = self.pieces.occurrences(text)
        if not starts:
            return text
        characters = list(text)
        for at in starts:
            while ord(text[at]) not in self.table:  # a piece may start with a space
                at += 1
            characters[at] = self.table[ord(text[at])]
        return "".join(characters)

    def lifted(self, text: str) -> str:
        return text.translate(self.back)
