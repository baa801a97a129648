"""Text compared as text: the answer line without case, outer punctuation and spacing."""

import unicodedata

from routing.answers.base import Extraction, FinalLine, nothing
from routing.answers.grammar import FREE_TEXT
from routing.answers.lines import (
    Segment,
    unwrapped,
)
from routing.answers.mentions import located

MAX_ANSWER_CHARS = 200
_OUTER = " \t\r\n\"'`*_.,;:!?()[]{}<>|~#$\\"
_OPENING = {")": "(", "]": "[", "}": "{", ">": "<"}


def canonical_text(text: str) -> str:
    """NFKC, case folded, runs of spaces as one, outer punctuation off. May be empty."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    joined = " ".join(folded.split())
    begin, end = inner_span(joined)
    return joined[begin:end]


def inner_span(text: str) -> tuple[int, int]:
    """Where the text is without its outer punctuation; what belongs to the answer is not outer:
    the point of ".5", the sign of "C#", the bracket of "f(x)"."""
    begin, end = 0, len(text)
    while begin < end and text[begin] in _OUTER and not _begins_decimals(text, begin):
        begin += 1
    while begin < end and text[end - 1] in _OUTER and not _belongs(text, begin, end - 1):
        end -= 1
    return begin, end


def _begins_decimals(text: str, at: int) -> bool:
    return text[at] == "." and text[at + 1 : at + 2].isdigit()


def _belongs(text: str, begin: int, at: int) -> bool:
    """Whether the character at the end of text[begin:at + 1] is part of it."""
    if text[at] == "#":
        return text[begin:at][-1:].isalnum()
    opening = _OPENING.get(text[at])
    return opening is not None and text.count(opening, begin, at) > text.count(text[at], begin, at)


class ExactExtractor:
    name = "exact"
    form = "<answer>"
    final_line = FinalLine(regex=FREE_TEXT)
    blocking = False

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = located(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        return _decide(text, segment, truncated=truncated)


def _decide(text: str, segment: Segment, *, truncated: bool) -> Extraction:
    inner = unwrapped(segment)
    begin, end = inner_span(inner.text)
    if begin >= end:
        return nothing(segment.method, truncated=truncated and segment.ends_text)
    span = inner.span(begin, end)
    raw = text[span[0] : span[1]]
    if truncated and inner.ends_text:
        return Extraction(raw, None, span, segment.method, "truncated")
    canonical = canonical_text(raw)
    if not canonical or end - begin > MAX_ANSWER_CHARS:
        return Extraction(raw, None, span, segment.method, "invalid")
    return Extraction(raw, canonical, span, segment.method, "ok")
