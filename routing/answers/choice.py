"""One of the offered choices: `B`, `(B)`, `**B.**`, `B) Paris`, or the text of an option.

Only offered labels count. A label after "not" or before "is wrong" is no vote for it, and two
labels on the answer line are no vote at all.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

import re2

from routing.answers.base import Extraction, FinalLine
from routing.answers.exact import canonical_text
from routing.answers.grammar import one_of
from routing.answers.lines import plain
from routing.answers.mentions import Mention, answer_segment, stated, vote_of

_WORD = re2.compile(r"[\pL\pM\pN]+(?:'[\pL]+)?")
_TOKEN = re2.compile(r"\S+")
_ARTICLES = ("A", "I")
_NEXT_WORD = re2.compile(r"[ ]([a-z][a-z']+)")
# "A or B", "A is right": here the letter is a label after all.
_CONNECTIVES = {"or", "and", "nor", "is", "was", "as", "but", "not", "if", "because", "since"}


class ChoiceExtractor:
    name = "choice"
    blocking = False

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

    @cached_property
    def final_line(self) -> FinalLine | None:
        return one_of(self, {label: label for label in self.choices})

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = answer_segment(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        return vote_of(text, segment, self._mentions(segment.text))

    def _mentions(self, line: str) -> list[Mention]:
        texts = self._text_mentions(line)
        letters = [label for label in self._label_mentions(line) if not label.inside(texts)]
        return stated(line, [*texts, *letters])

    def _label_mentions(self, line: str) -> list[Mention]:
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
            found.append(Mention(label, begin, end))
        return found

    def _text_mentions(self, line: str) -> list[Mention]:
        """Options named by their text; of overlapping ones the longest."""
        tokens = [(canonical_text(match[0]), *match.span()) for match in _TOKEN.finditer(line)]
        tokens = [token for token in tokens if token[0]]
        found: list[Mention] = []
        for wanted, label in sorted(self._texts.items(), key=lambda item: -len(item[0])):
            words = wanted.split()
            for at in range(len(tokens) - len(words) + 1):
                if [token[0] for token in tokens[at : at + len(words)]] != words:
                    continue
                mention = Mention(label, tokens[at][1], tokens[at + len(words) - 1][2])
                if not mention.inside(found):
                    found.append(mention)
        return found


def _is_article(following: str) -> bool:
    """Whether the "A" (or "I") before this begins a phrase, as in "A cat" or "I think"."""
    match = _NEXT_WORD.match(following)
    return match is not None and match[1] not in _CONNECTIVES


def _words_of(text: str) -> str:
    """The text as the tokens of a line are compared: canonical, word by word."""
    return " ".join(filter(None, (canonical_text(word) for word in plain(text).split())))
