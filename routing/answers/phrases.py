"""Finding given words in a line: whole words, without case, whatever the Unicode spelling."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from routing.answers.mentions import Mention

# Written without spaces between words, so that a word may begin and end anywhere.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF),
             (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip

_INNER = frozenset("-'’")


@dataclass(frozen=True)
class Folded:
    """A text under NFKC and without case; origins[i] is where its character i comes from.

    Runs of spaces are one. origins has one element more than text, the end.
    """

    text: str
    origins: tuple[int, ...]


def folded(text: str) -> Folded:
    chars: list[str] = []
    origins: list[int] = []
    begin = 0
    while begin < len(text):
        end = begin + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        for char in unicodedata.normalize("NFKC", text[begin:end]).casefold():
            if char.isspace():
                if chars and chars[-1] == " ":
                    continue
                char = " "
            chars.append(char)
            origins.append(begin)
        begin = end
    return Folded("".join(chars), (*origins, len(text)))


def fold(text: str) -> str:
    return folded(text).text.strip()


def find_phrases(line: str, phrases: Mapping[str, str]) -> list[Mention]:
    """Mentions of phrases, as their labels, in order; of overlapping ones the longest.

    phrases: folded text to label. A line has at most a few hundred characters (`lines`), so that
    looking for each phrase in it is cheap.
    """
    seen = folded(line)
    taken = [False] * len(seen.text)
    found = []
    for phrase in sorted(phrases, key=len, reverse=True):
        at = seen.text.find(phrase)
        while at >= 0:
            end = at + len(phrase)
            if not any(taken[at:end]) and _is_whole(seen.text, at, end):
                taken[at:end] = [True] * len(phrase)
                found.append(Mention(phrases[phrase], seen.origins[at], seen.origins[end]))
            at = seen.text.find(phrase, at + 1)
    return sorted(found, key=lambda mention: mention.begin)


def _is_whole(text: str, begin: int, end: int) -> bool:
    return not (_joined(text, begin) or _joined(text, end))


def _joined(text: str, at: int) -> bool:
    """Whether a word goes on across this place, also by "-" or "'": "non-positive", "don't"."""
    left, right = at - 1, at
    if left > 0 and text[left] in _INNER:
        left -= 1
    elif right + 1 < len(text) and text[right] in _INNER:
        right += 1
    if left < 0 or right >= len(text):
        return False
    before, after = text[left], text[right]
    return _in_word(before) and _in_word(after) and not (_unspaced(before) or _unspaced(after))


def _in_word(char: str) -> bool:
    return char == "_" or char.isalnum() or unicodedata.category(char).startswith("M")


def _unspaced(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _UNSPACED)
