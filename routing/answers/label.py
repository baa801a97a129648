"""One label of a set, by its name or a synonym: `positive`, `not negative but positive`.

Whole words only, without case; of overlapping names the longest counts. A denied label is no vote
for it, and two different ones on the answer line are no vote at all.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from routing.answers.base import Extraction, FinalLine
from routing.answers.grammar import one_of
from routing.answers.mentions import answer_segment, stated, vote_of
from routing.answers.phrases import find_phrases, fold


class LabelExtractor:
    name = "label"
    blocking = False

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        """labels: each with its synonyms. All names must differ when folded (`specs` checks)."""
        self.labels = tuple(labels)
        self._names = {
            fold(name): label for label, synonyms in labels.items() for name in (label, *synonyms)
        }

    @property
    def form(self) -> str:
        return "<" + " or ".join(self.labels) + ">"

    @cached_property
    def final_line(self) -> FinalLine | None:
        return one_of(self, {label: label for label in self.labels})

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        segment = answer_segment(text, truncated=truncated)
        if isinstance(segment, Extraction):
            return segment
        found = find_phrases(segment.text, self._names)
        return vote_of(text, segment, stated(segment.text, found))
