"""What a poll of fewer paths would have returned, averaged over all subsets: exact.

K paths were recorded. A poll of n of them is a subset, all equally likely, so an answer's votes
are hypergeometric. How many subsets hold given numbers of votes is a coefficient of a product of
polynomials, one factor per answer: an answer with c votes that may hold at most j of them has the
factor sum over i <= j of binomial(c, i) x^i, and x^n collects the subsets of n paths. All terms are
positive, so floats lose nothing that matters.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.records import RecordedPath
from routing.tally import Tally

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Votes:
    """A recorded poll as far as correctness goes. Hashable: many questions are alike in it.

    counts: votes of each answer in the order in which ties are decided. silent: paths without a
    vote. right: index of the true answer in `counts`; None when no path gave it. greedy_right:
    the greedy answer is the true one.
    """

    counts: tuple[int, ...]
    silent: int
    right: int | None
    greedy_right: bool

    @classmethod
    def of(cls, paths: tuple[RecordedPath, ...], greedy: str | None, truth: str) -> "Votes":
        tally = Tally()
        for path in paths:
            tally = tally.with_vote(path.answer)
        order = sorted(tally.counts, key=lambda answer: (answer != greedy, answer))
        return cls(
            tuple(tally.counts[answer] for answer in order),
            tally.invalid,
            order.index(truth) if truth in tally.counts else None,
            greedy == truth,
        )

    @property
    def paths(self) -> int:
        return sum(self.counts) + self.silent


@functools.lru_cache(maxsize=1 << 10)
def accuracy(votes: Votes) -> Array:
    """Chance of a right answer, shape [K + 1, K + 2]: of k paths (row) with m votes (column).

    Column 0 is the mode with no way back: no vote at all is no answer. Column k + 1 is the greedy
    answer; columns beyond it, and row 0, repeat that.
    """
    K = votes.paths
    result = np.zeros((K + 1, K + 2))
    right = _wins(votes)
    # Right by majority: the true answer wins with m votes or more. right[:, j] is with exactly j.
    at_least = np.cumsum(right[:, ::-1], axis=1)[:, ::-1]
    result[:, : K + 1] = at_least
    if votes.greedy_right:
        result[:, 1:] += _nobody_above(votes)
    return result


def _wins(votes: Votes) -> Array:
    """[K + 1, K + 1]: chance that of n paths (row) the true answer wins with j votes (column)."""
    K = votes.paths
    result = np.zeros((K + 1, K + 1))
    if votes.right is None:
        return result
    mine = votes.counts[votes.right]
    before, after = votes.counts[: votes.right], votes.counts[votes.right + 1 :]
    for j in range(1, mine + 1):
        # Who wins ties against it must have fewer votes, who loses them may have as many.
        others = _product([*((c, j - 1) for c in before), *((c, j) for c in after)], votes.silent)
        result[j : j + len(others), j] = math.comb(mine, j) * others
    return result / _subsets(K)[:, None]


def _nobody_above(votes: Votes) -> Array:
    """[K + 1, K + 1]: chance that of n paths (row) no answer has more than j votes (column)."""
    K = votes.paths
    result = np.ones((K + 1, K + 1))
    for j in range(max(votes.counts, default=0)):
        within = _product([(c, j) for c in votes.counts], votes.silent)
        result[:, j] = 0
        result[: len(within), j] = within / _subsets(K)[: len(within)]
    return result


def _product(answers: list[tuple[int, int]], free: int) -> Array:
    """Coefficients: subsets by size, of answers (votes, at most) and `free` paths without bound."""
    product = _factor(free, free)
    for count, most in answers:
        product = np.convolve(product, _factor(count, most))
    return product


@functools.lru_cache(maxsize=1 << 14)
def _factor(count: int, most: int) -> Array:
    return np.array([float(math.comb(count, i)) for i in range(min(count, most) + 1)])


@functools.lru_cache(maxsize=64)
def _subsets(K: int) -> Array:
    return np.array([float(math.comb(K, n)) for n in range(K + 1)])
