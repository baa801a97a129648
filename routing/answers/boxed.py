r"""The inside of the last \boxed{...} as LaTeX under one spelling: `\boxed{\dfrac{3}{4}}` is 0.75.

Without a box the contract line is read, and the method says so. Numbers vote as `number` writes
them; anything else is compared as text, so x+1 and 1+x are different answers.
"""

import re2

from routing.answers.base import Extraction, FinalLine, nothing
from routing.answers.grammar import LATEX
from routing.answers.latex import mathematics_in, normal_form
from routing.answers.lines import Segment, boxed_segment, contract_segment, only_line, read

MAX_CANONICAL_CHARS = 400
_PROSE = re2.compile(r"(?:\b[\pL]{2,}[ ,]{1,2}){4}[\pL]{2,}\b")
_MARKDOWN = " \t\r*_`"
_CLAUSE_END = re2.compile(r"(?i)[.;](?:\s|$)|,?\s(?:because|since|where|which|so)\b")


def formula(text: str, *, truncated: bool) -> Segment | Extraction:
    """The segment that holds the formula; an Extraction says why there is none."""
    reading = read(text)
    if reading is None:
        return nothing("thinking", truncated=truncated)
    boxed = boxed_segment(reading)
    if boxed is not None and normal_form(boxed.text):
        return boxed
    segment = contract_segment(reading)
    if segment is None and not truncated:
        segment = only_line(reading)
    if segment is None:
        return nothing("none", truncated=truncated)
    if truncated and segment.ends_text:
        return nothing(segment.method, truncated=True)
    found = _formula_of(segment)
    # A sentence about a formula is none; each would be a vote of its own.
    return nothing(found.method, truncated=False) if _PROSE.search(found.text) else found


def _formula_of(segment: Segment) -> Segment:
    """The formula of a line: between dollar signs if there is one, else up to its explanation."""
    begin, end = mathematics_in(segment.text)
    if (begin, end) == (0, len(segment.text)):
        clause_end = _CLAUSE_END.search(segment.text)
        if clause_end is not None and normal_form(segment.text[: clause_end.start()]):
            end = clause_end.start()
    inside = segment.text[begin:end]
    # In a sentence "!" is no factorial.
    whole = (begin, end) == (0, len(segment.text))
    stripped = inside.strip(_MARKDOWN).rstrip(_MARKDOWN + "!" if whole else _MARKDOWN)
    begin += inside.find(stripped)
    return Segment(stripped, segment.start + begin, segment.method, segment.ends_text)


class BoxedExtractor:
    name = "boxed"
    form = r"\boxed{<answer>}"
    final_line = FinalLine(regex=LATEX)
    blocking = False

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = formula(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        span = segment.span(0, len(segment.text))
        raw = text[span[0] : span[1]]
        canonical = normal_form(segment.text)
        if not canonical or len(canonical) > MAX_CANONICAL_CHARS:
            return Extraction(raw, None, span, segment.method, "invalid")
        return Extraction(raw, canonical, span, segment.method, "ok")
