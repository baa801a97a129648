"""Yes or no: `Yes.`, `True`, `No, it is not`, `not true`, `That is incorrect`.

The word that opens the answer decides; what follows it explains. A "not" before a word turns it
round. Both on one line, or a hedge ("maybe yes"), is no vote.
"""

from functools import cached_property

import re2

from routing.answers.base import Extraction, FinalLine
from routing.answers.grammar import one_of
from routing.answers.mentions import Mention, answer_segment, vote_of
from routing.answers.phrases import find_phrases, fold

YES, NO = "yes", "no"
TRUE_WORDS = ("yes", "yeah", "yep", "true", "correct", "right", "affirmative")
FALSE_WORDS = (
    "no", "nope", "false", "incorrect", "wrong", "untrue", "negative",
)  # fmt: skip
# Words that are neither here, though they look like it.
_NEITHER = (
    "no doubt", "no question", "no one", "no idea", "all right",
    "right answer", "correct answer", "wrong answer",
)  # fmt: skip

_NEGATED = re2.compile(
    r"(?i)(?:\b(?:not|never|hardly|cannot)|n't)"
    r"(?: (?:be|been|a|an|the|at all|really|quite|entirely|necessarily|always|exactly))*[ \"'*(]*$"
)
_HEDGED = re2.compile(
    r"(?i)\b(?:maybe|perhaps|possibly|unsure|uncertain|unclear|unknown|depends|"
    r"either|neither|whether|(?:not|n't) (?:sure|certain|clear|known)|no idea"
    r"|(?:cannot|can't|can not) (?:be |say|tell|know|determine|decide))"
)
_CLAUSE_END = re2.compile(
    r"(?i)[.;!?:](?:\s|$)|[,(]|\s[-–—]\s"
    r"|\s(?:because|since|so|as|which|where|whereas|while|but|if|that)\b"
)
# "Yes, no" and "yes, or no": the second word is no explanation.
_JOIN = re2.compile(r"(?i)[\s,(]*(?:and|or|but|/)?\s*[\"'*]*")
# "It is." and "They do not, because ..." without any of the words.
_BARE = re2.compile(
    r"(?i)^[\s\"'*]*((?:it|that|this|he|she|they|there|one|i|we|you) (?:(?P<cannot>cannot)"
    r"|(?:is|are|was|were|am|do|does|did|can|could|will|would|has|have|had|should|must)"
    r"(?P<not> not|n't)?))[\s\"'*]*(?:$|[.!,;(]|\s(?:because|since|as)\b)"
)


class BooleanExtractor:
    name = "boolean"
    blocking = False

    def __init__(self, true: str = YES, false: str = NO) -> None:
        """true, false: the two votes, also understood in the text beside the English words."""
        self.true, self.false = true, false
        words = dict.fromkeys(TRUE_WORDS, true) | dict.fromkeys(FALSE_WORDS, false)
        words |= dict.fromkeys(_NEITHER, "")
        self._words = words | {fold(true): true, fold(false): false}

    @property
    def form(self) -> str:
        return f"<{self.true} or {self.false}>"

    @cached_property
    def final_line(self) -> FinalLine | None:
        return one_of(self, {self.true: self.true, self.false: self.false})

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = answer_segment(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        said = self._said(segment.text)
        if said and _HEDGED.search(segment.text[: said[0].begin]):
            said = [*said, self._opposite(said[0])]
        return vote_of(text, segment, said)

    def _said(self, line: str) -> list[Mention]:
        """What the line says up to its first explanation, each "not" taken into account."""
        words = [mention for mention in find_phrases(line, self._words) if mention.label]
        if not words:
            return self._said_barely(line)
        end = _CLAUSE_END.search(line, words[0].end)
        limit = len(line) if end is None else end.start()
        said = [self._turned_round(line, word) for word in words if word.begin < limit]
        following = words[len(said) :][:1]
        if following and _JOIN.fullmatch(line[said[-1].end : following[0].begin]):
            rest = line[following[0].end :].strip(" .!*\"'`)")
            if not rest:
                said.append(self._turned_round(line, following[0]))
        return said

    def _said_barely(self, line: str) -> list[Mention]:
        bare = _BARE.search(line)
        if bare is None:
            return []
        denied = bare["not"] or bare["cannot"]
        return [Mention(self.false if denied else self.true, *bare.span(1))]

    def _turned_round(self, line: str, word: Mention) -> Mention:
        before = _NEGATED.search(line[: word.begin])
        if before is None:
            return word
        return Mention(self._opposite(word).label, before.start(), word.end)

    def _opposite(self, word: Mention) -> Mention:
        other = self.false if word.label == self.true else self.true
        return Mention(other, word.begin, word.end)
