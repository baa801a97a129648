"""The stopping rules, asked once for all tallies that differ in the names of answers alone.

All that a rule sees of an answer is its votes, whether it is the greedy one, and its place in code
point order. Thousands of recorded polls pass through the same few tallies in this sense.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from routing.stopping import Poll, Verdict, paths_to_decide
from routing.tally import Tally

T = TypeVar("T")

# (the poll with an anonymous greedy answer, its votes, the others' votes in order, invalid)
_Key = tuple[Poll, int, tuple[int, ...], int]

_GREEDY = "greedy"
_REMEMBERED = 200_000  # tallies; the answers of hopeless questions make many that never return


@dataclass(frozen=True)
class _Anonymous:
    """others: the seen answers but the greedy one, in code point order; named by their place."""

    key: _Key
    others: list[str]

    @classmethod
    def of(cls, tally: Tally, poll: Poll) -> "_Anonymous":
        counts, greedy = tally.counts, poll.greedy
        others = sorted(answer for answer in counts if answer != greedy)
        anonymous = Poll(poll.k, poll.min_votes, None if greedy is None else _GREEDY)
        votes = counts.get(greedy, 0) if greedy is not None else 0
        return cls((anonymous, votes, tuple(counts[a] for a in others), tally.invalid), others)

    def question(self) -> tuple[Tally, Poll]:
        poll, greedy_votes, votes, invalid = self.key
        counts = {_place(index): count for index, count in enumerate(votes)}
        if greedy_votes:
            counts[_GREEDY] = greedy_votes
        return Tally(counts, invalid), poll

    def named(self, verdict: Verdict | None, greedy: str | None) -> Verdict | None:
        if verdict is None or verdict.answer is None:
            return verdict
        if verdict.answer == _GREEDY:
            return Verdict(verdict.route, greedy)
        return Verdict(verdict.route, self.others[int(verdict.answer)])


def _place(index: int) -> str:
    return f"{index:06}"  # digits sort as numbers, and before no name but each other's


class _Memory(Generic[T]):
    def __init__(self, function: Callable[[Tally, Poll], T]) -> None:
        self._function = function
        self._known: dict[_Key, T] = {}

    def of(self, anonymous: _Anonymous) -> T:
        if anonymous.key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[anonymous.key] = self._function(*anonymous.question())
        return self._known[anonymous.key]


class Verdicts:
    """A rule, remembered."""

    def __init__(self, rule: Callable[[Tally, Poll], Verdict | None]) -> None:
        self._memory = _Memory(rule)

    def of(self, tally: Tally, poll: Poll) -> Verdict | None:
        anonymous = _Anonymous.of(tally, poll)
        return anonymous.named(self._memory.of(anonymous), poll.greedy)


class Groups:
    """`paths_to_decide` of the greedy-first rule, remembered."""

    def __init__(self) -> None:
        self._memory = _Memory(paths_to_decide)

    def size(self, tally: Tally, poll: Poll) -> int:
        return self._memory.of(_Anonymous.of(tally, poll))
