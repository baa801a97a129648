"""Votes: how many finished paths gave each answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Tally:
    """What the finished paths said. Counts only, so the order of completion cannot matter.

    counts: votes per canonical answer, each at least 1. invalid: finished paths without a vote;
    they stay in the denominator.
    """

    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    invalid: int = 0

    @property
    def finished(self) -> int:
        return sum(self.counts.values()) + self.invalid

    @property
    def most(self) -> int:
        """Votes of the most frequent answer; 0 when nothing voted."""
        return max(self.counts.values(), default=0)

    def with_vote(self, answer: str | None, times: int = 1) -> "Tally":
        """The tally after `times` more paths gave `answer`, or nothing usable (None)."""
        if times == 0:
            return self
        if answer is None:
            return Tally(self.counts, self.invalid + times)
        counts = dict(self.counts)
        counts[answer] = counts.get(answer, 0) + times
        return Tally(MappingProxyType(counts), self.invalid)

    def ranked(self, greedy: str | None) -> list[str]:
        """Answers, the winning one first: by votes, ties by `tie_order`."""
        return sorted(self.counts, key=lambda answer: self.place(answer, greedy))

    def place(self, answer: str, greedy: str | None) -> tuple[int, bool, str]:
        """Sort key of an answer; smaller is better."""
        return (-self.counts.get(answer, 0), *tie_order(answer, greedy))

    def consensus(self, k: int) -> tuple[float, float]:
        """Lowest and highest share of the most frequent answer that k paths can end with.

        Of no path at all the share is 0.
        """
        if k == 0:
            return 0.0, 0.0
        remaining = k - self.finished
        return self.most / k, (self.most + remaining) / k


def tie_order(answer: str, greedy: str | None) -> tuple[bool, str]:
    """Among equal votes the greedy answer wins, then the answer first in code point order.

    Fixed by the answers themselves, so neither arrival nor early stopping can change a winner.
    """
    return (answer != greedy, answer)
