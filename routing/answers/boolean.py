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
FALSE_WORDS = ("no", "nope", "false", "incorrect", "wrong", "untrue", "negative")
# Words that are neither here, though they look like it.
_NEITHER = ("no doubt", "no question", "no one", "no idea", "all right")
# "The correct number is 5" is about the number; "it has no divisors" denies divisors alone.
_THE = re2.compile(r"(?i)\bthe $")
_NEXT_WORD = re2.compile(r"^ [\pL\pN]")
_GOES_ON = re2.compile(r"(?i)^ (?:or|and|because|since|as|but|if|so|in|for|it|that|they)\b")
# "It has no divisors, so yes": a conclusion counts, whatever stands before it.
_CONCLUDES = re2.compile(
    r"(?i)\b(?:so|thus|therefore|hence|answer is)[\s,:\"'*]*(?:it is |that is |the answer is )?$"
)

_NEGATED = re2.compile(
    r"(?i)(?:\b(?:not|never|hardly|cannot)|n't)"
    r"(?: (?:be|been|a|an|the|at all|really|quite|entirely|necessarily|always|exactly))*[ \"'*(]*$"
    # "It is not the case that it is true", "I don't think so"
    r"|(?:\bnot|n't) (?:the case|think|believe|agree|seem|appear)\b[^.;,]*$"
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
        """The word that opens the line, or all up to its first explanation; and its conclusion."""
        found = find_phrases(line, self._words)
        words = [word for word in found if word.label and not _is_of_a_thing(line, word)]
        if not words:
            return self._said_barely(line)
        concluded = [word for word in words if _CONCLUDES.search(line[: word.begin])]
        if concluded:
            opening = [] if _inside_a_sentence(line, words[0]) else words[:1]
            return [self._turned_round(line, word) for word in (*opening, concluded[-1])]
        end = _CLAUSE_END.search(line, words[0].end)
        limit = len(line) if end is None else end.start()
        said = [word for word in words if word.begin < limit]
        said += _contradiction(line, said[-1], words[len(said) :])
        return [self._turned_round(line, word) for word in said]

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


def _inside_a_sentence(line: str, word: Mention) -> bool:
    return any(char.isalnum() for char in line[: word.begin])


def _is_of_a_thing(line: str, word: Mention) -> bool:
    """Whether the word belongs to a noun, and says nothing about the question."""
    following = line[word.end :]
    if not _NEXT_WORD.search(following) or _GOES_ON.search(following):
        return False
    if _THE.search(line[: word.begin]):
        return True
    return line[word.begin : word.end].casefold() == "no" and _inside_a_sentence(line, word)


def _contradiction(line: str, last: Mention, later: list[Mention]) -> list[Mention]:
    """ "Yes, no." and "yes, but no": a word alone behind the first explains nothing."""
    if not later or not _JOIN.fullmatch(line[last.end : later[0].begin]):
        return []
    return [] if line[later[0].end :].strip(" .!*\"'`)") else later[:1]
