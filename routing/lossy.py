"""Stopping a poll before it is certain: what the remaining paths will most likely say.

Opt-in, because it may change an answer. Given what n paths said, the chance that the next one
gives answer a has a Beta(1 + c_a, 1 + n - c_a) posterior (uniform prior), so the votes that a wins
among the r paths to come are Beta-binomial. The poll stops when the probability that all k paths
would return another answer than the one returned now is below epsilon.

Each answer is weighed by itself and the chances of different answers are added up, so nothing is
assumed about how many answers there are; one that nobody has given yet counts as one rival.
"""

import functools
import math

from routing.stopping import Poll, Route, Verdict, judge
from routing.tally import Tally

DEFAULT_EPSILON = 0.01


def judge_lossy(tally: Tally, poll: Poll, epsilon: float = DEFAULT_EPSILON) -> Verdict | None:
    """The verdict, or None while more paths are needed.

    What is certain is never waited for: the greedy-first rule comes first. epsilon in [0, 1); 0
    is that rule alone. Raises ValueError for another epsilon.
    """
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon must be at least 0 and below 1, got {epsilon}")
    certain = judge(tally, poll, "greedy_first")
    if certain is not None or epsilon == 0:
        return certain
    # Only another answer with m votes could keep the greedy one from being returned.
    if _any_reaches(tally, poll, poll.min_votes, besides=poll.greedy) < epsilon:
        return Verdict(_route_of_greedy(tally, poll), poll.greedy)
    if not tally.counts:
        return None
    leader = min(tally.counts, key=lambda answer: tally.place(answer, poll.greedy))
    if _risk_of_win(tally, poll, leader) < epsilon:
        return Verdict("majority", leader)
    return None


def _risk_of_win(tally: Tally, poll: Poll, answer: str) -> float:
    """At most how likely it is that the answer does not win.

    It wins if it gets t >= m votes and no rival gets as many. For t above k/2 none can; below,
    every t bounds the risk, and the least bound counts.
    """
    majority = poll.k // 2 + 1
    votes = tally.counts.get(answer, 0)
    return min(
        1
        - _reaches(tally, poll, votes, target)
        + (0.0 if target >= majority else _any_reaches(tally, poll, target, besides=answer))
        for target in range(poll.min_votes, max(poll.min_votes, majority) + 1)
    )


def _route_of_greedy(tally: Tally, poll: Poll) -> Route:
    if poll.greedy is None:
        return "greedy"
    votes = tally.counts.get(poll.greedy, 0)
    return "either" if votes + poll.remaining(tally) >= poll.min_votes else "greedy"


def _any_reaches(tally: Tally, poll: Poll, target: int, besides: str | None) -> float:
    """Union bound over the seen answers and one that was not seen yet."""
    seen = (votes for answer, votes in tally.counts.items() if answer != besides)
    return sum(_reaches(tally, poll, votes, target) for votes in (*seen, 0))


def _reaches(tally: Tally, poll: Poll, votes: int, target: int) -> float:
    """Chance that an answer with so many votes ends with at least `target`."""
    return _at_least(target - votes, poll.remaining(tally), votes, tally.finished)


@functools.lru_cache(maxsize=1 << 15)
def _at_least(need: int, remaining: int, votes: int, finished: int) -> float:
    """P(X >= need) for X ~ BetaBinomial(remaining, 1 + votes, 1 + finished - votes)."""
    if need <= 0:
        return 1.0
    if need > remaining:
        return 0.0
    a, b = 1 + votes, 1 + finished - votes
    total = sum(
        math.exp(_log_choose(remaining, x) + _log_beta(a + x, b + remaining - x) - _log_beta(a, b))
        for x in range(need, remaining + 1)
    )
    return min(1.0, total)


def _log_choose(n: int, x: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1)


def _log_beta(a: int, b: int) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
