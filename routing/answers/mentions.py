"""Which of the things that a line names it affirms: "not A, but B" affirms B alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import re2

from routing.answers.base import Extraction, nothing
from routing.answers.lines import Segment, boxed_segment, contract_segment, only_line, read

_NEGATION = re2.compile(
    r"(?i)(?:\bnot|n't|\bnever|\bneither|\bnor|\bcannot|\bexcept|\brather than|\binstead of"
    r"|\bother than|\bunlike|\bwrong)\b(?:[ ,(\"'*]+(?:option|choice|be|the|an?|answer|by|is))*"
    r"[ ,(\"'*]*$"
)
_REJECTION = re2.compile(
    r"(?i)^[)\]\"'*.]{0,4} (?:(?:(?P<one>is|was)|are|were|would be|can be|must be|could be) "
    r"(?:also |clearly )?(?:not|never|wrong|incorrect|false|impossible|excluded|eliminated"
    r"|ruled out)\b"
    r"|(?:(?:is|was|are|does|do|would|could|ca)n't|cannot|can not|does not|do not)\b)"
)
# Between the labels of "A, B and C are wrong".
_JOINED = re2.compile(
    r"(?i)[)\]\"'*.]{0,4}(?:,|/| &|,? (?:and|or|nor)) ?(?:option |choice )?[(\[\"'*]{0,4}"
)
_EXPLANATION = re2.compile(
    r"(?i)[.;!?](?:\s|$)|\s\(|[,]?\s(?:because|since|so|as|which|where|whereas|while|but|if)\b"
)


@dataclass(frozen=True)
class Mention:
    """label, named by line[begin:end]."""

    label: str
    begin: int
    end: int

    def inside(self, others: Iterable["Mention"]) -> bool:
        return any(other.begin <= self.begin and self.end <= other.end for other in others)


def answer_segment(text: str, *, truncated: bool) -> Segment | Extraction:
    """Where a whole answer stands, or why nowhere: one that may be cut is none."""
    segment = located(text, truncated=truncated)
    if isinstance(segment, Segment) and truncated and segment.ends_text:
        return nothing(segment.method, truncated=True)
    return segment


def located(text: str, *, truncated: bool) -> Segment | Extraction:
    """Where the answer stands: a contract line, a box, or a text of one line. Or why nowhere."""
    reading = read(text)
    if reading is None:
        return nothing("thinking", truncated=truncated)
    segment = contract_segment(reading) or boxed_segment(reading)
    if segment is None and not truncated:
        segment = only_line(reading)
    if segment is None:
        return nothing("none", truncated=truncated)
    return segment


def vote_of(text: str, segment: Segment, mentions: Sequence[Mention]) -> Extraction:
    """The one label that is mentioned; ambiguous when there are several."""
    if not mentions:
        return nothing(segment.method, truncated=False)
    begin = min(mention.begin for mention in mentions)
    span = segment.span(begin, max(mention.end for mention in mentions))
    raw = text[span[0] : span[1]]
    labels = {mention.label for mention in mentions}
    if len(labels) > 1:
        return Extraction(raw, None, span, segment.method, "ambiguous")
    return Extraction(raw, labels.pop(), span, segment.method, "ok")


def stated(line: str, found: Iterable[Mention]) -> list[Mention]:
    """What the line affirms, in order, up to where it begins to explain."""
    affirmed = _affirmed(line, sorted(found, key=lambda mention: mention.begin))
    if not affirmed:
        return []
    end = _EXPLANATION.search(line, affirmed[0].end)
    if end is None:
        return affirmed
    return [mention for mention in affirmed if mention.begin < end.start()]


def _affirmed(line: str, found: list[Mention]) -> list[Mention]:
    """Without what the line denies: "not A", "A is wrong", "A and B are wrong"."""
    affirmed: list[Mention] = []
    joins: Mention | None = None  # the next mention, when what denies it may deny this one too
    for mention in reversed(found):
        after = _REJECTION.search(line[mention.end :])
        joined = joins is not None and _JOINED.fullmatch(line[mention.end : joins.begin])
        if not (after or joined or _NEGATION.search(line[: mention.begin])):
            affirmed.append(mention)
        joins = mention if joined or (after and after["one"] is None) else None
    return affirmed[::-1]
