"""Text compared as text: the answer line without case, outer punctuation and spacing."""

import unicodedata

from routing.answers.base import Extraction, nothing
from routing.answers.lines import (
    Segment,
    boxed_segment,
    contract_segment,
    only_line,
    read,
    unwrapped,
)

MAX_ANSWER_CHARS = 200
_OUTER = " \t\r\n\"'`*_.,;:!?()[]{}<>|~#$\\"


def canonical_text(text: str) -> str:
    """NFKC, case folded, runs of spaces as one, outer punctuation off. May be empty."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(_OUTER)


class ExactExtractor:
    name = "exact"
    form = "<answer>"

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        reading = read(text)
        if reading is None:
            return nothing("thinking", truncated=truncated)
        segment = contract_segment(reading) or boxed_segment(reading)
        if segment is None and not truncated:
            segment = only_line(reading)
        if segment is None:
            return nothing("none", truncated=truncated)
        return _decide(text, segment, truncated=truncated)


def _decide(text: str, segment: Segment, *, truncated: bool) -> Extraction:
    inner = unwrapped(segment)
    begin = len(inner.text) - len(inner.text.lstrip(_OUTER))
    end = len(inner.text.rstrip(_OUTER))
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
