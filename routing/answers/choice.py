"""One of the offered choices: `B`, `(B)`, `**B.**`, `B) Paris`, or the text of an option.

Only offered labels count. A label after "not" or before "is wrong" is no vote for it, and two
labels on the answer line are no vote at all.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import re2

from routing.answers.base import Extraction, nothing
from routing.answers.exact import canonical_text
from routing.answers.lines import Segment, boxed_segment, contract_segment, only_line, plain, read

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
_WORD = re2.compile(r"[\pL\pM\pN]+(?:'[\pL]+)?")
_TOKEN = re2.compile(r"\S+")
_EXPLANATION = re2.compile(
    r"(?i)[.;!?](?:\s|$)|\s\(|[,]?\s(?:because|since|so|as|which|where|whereas|while|but|if)\b"
)
_ARTICLES = ("A", "I")
_NEXT_WORD = re2.compile(r"[ ]([a-z][a-z']+)")
# "A or B", "A is right": here the letter is a label after all.
_CONNECTIVES = {"or", "and", "nor", "is", "was", "as", "but", "not", "if", "because", "since"}


@dataclass(frozen=True)
class _Mention:
    label: str
    begin: int
    end: int


class ChoiceExtractor:
    name = "choice"

    def __init__(self, choices: Mapping[str, str]) -> None:
        """choices: label to the option's text ("" when the label says it all)."""
        self.choices = dict(choices)
        self._lettered = all(len(label) == 1 for label in self.choices)
        self._labels = {label.casefold(): label for label in self.choices}
        # A choice without a text of its own, and longer than a letter, is its own text.
        texts = [
            (_words_of(text or (label if len(label) > 1 else "")), label)
            for label, text in self.choices.items()
        ]
        counts = Counter(words for words, _ in texts)
        self._texts = {words: label for words, label in texts if words and counts[words] == 1}

    @property
    def form(self) -> str:
        return "<letter>" if self._lettered else "<" + " or ".join(self.choices) + ">"

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        reading = read(text)
        if reading is None:
            return nothing("thinking", truncated=truncated)
        segment = contract_segment(reading) or boxed_segment(reading)
        if segment is None and not truncated:
            segment = only_line(reading)
        if segment is None:
            return nothing("none", truncated=truncated)
        return self._decide(text, segment, truncated=truncated)

    def _decide(self, text: str, segment: Segment, *, truncated: bool) -> Extraction:
        if truncated and segment.ends_text:
            return nothing(segment.method, truncated=True)
        mentions = self._mentions(segment.text)
        if not mentions:
            return nothing(segment.method, truncated=False)
        span = segment.span(mentions[0].begin, mentions[-1].end)
        raw = text[span[0] : span[1]]
        labels = {mention.label for mention in mentions}
        if len(labels) > 1:
            return Extraction(raw, None, span, segment.method, "ambiguous")
        return Extraction(raw, labels.pop(), span, segment.method, "ok")

    def _mentions(self, line: str) -> list[_Mention]:
        """Choices that the line affirms, in order, up to where it begins to explain."""
        texts = self._text_mentions(line)
        found = sorted(
            [*texts, *(label for label in self._label_mentions(line) if not _inside(label, texts))],
            key=lambda mention: mention.begin,
        )
        affirmed = _affirmed(line, found)
        if not affirmed:
            return []
        end = _EXPLANATION.search(line, affirmed[0].end)
        if end is None:
            return affirmed
        return [mention for mention in affirmed if mention.begin < end.start()]

    def _label_mentions(self, line: str) -> list[_Mention]:
        """Single letters that stand alone; in lower case only where they can be nothing else."""
        if not self._lettered:
            return []
        words = list(_WORD.finditer(line))
        found = []
        for match in words:
            label = self._labels.get(match[0].casefold())
            if label is None:
                continue
            begin, end = match.span()
            marked = line[end : end + 1] == ")"
            if match[0] != label and not (marked or len(words) == 1):
                continue
            if label in _ARTICLES and not marked and _is_article(line[end:]):
                continue
            found.append(_Mention(label, begin, end))
        return found

    def _text_mentions(self, line: str) -> list[_Mention]:
        """Options named by their text; of overlapping ones the longest."""
        tokens = [(canonical_text(match[0]), *match.span()) for match in _TOKEN.finditer(line)]
        tokens = [token for token in tokens if token[0]]
        found: list[_Mention] = []
        for wanted, label in sorted(self._texts.items(), key=lambda item: -len(item[0])):
            words = wanted.split()
            for at in range(len(tokens) - len(words) + 1):
                if [token[0] for token in tokens[at : at + len(words)]] != words:
                    continue
                mention = _Mention(label, tokens[at][1], tokens[at + len(words) - 1][2])
                if not _inside(mention, found):
                    found.append(mention)
        return found


def _affirmed(line: str, found: list[_Mention]) -> list[_Mention]:
    """Without what the line denies: "not A", "A is wrong", "A and B are wrong"."""
    affirmed: list[_Mention] = []
    joins: _Mention | None = None  # the next mention, when what denies it may deny this one too
    for mention in reversed(found):
        after = _REJECTION.search(line[mention.end :])
        joined = joins is not None and _JOINED.fullmatch(line[mention.end : joins.begin])
        if not (after or joined or _NEGATION.search(line[: mention.begin])):
            affirmed.append(mention)
        joins = mention if joined or (after and after["one"] is None) else None
    return affirmed[::-1]


def _is_article(following: str) -> bool:
    """Whether the "A" (or "I") before this begins a phrase, as in "A cat" or "I think"."""
    match = _NEXT_WORD.match(following)
    return match is not None and match[1] not in _CONNECTIVES


def _words_of(text: str) -> str:
    """The text as the tokens of a line are compared: canonical, word by word."""
    return " ".join(filter(None, (canonical_text(word) for word in plain(text).split())))


def _inside(mention: _Mention, others: list[_Mention]) -> bool:
    return any(other.begin <= mention.begin and mention.end <= other.end for other in others)
