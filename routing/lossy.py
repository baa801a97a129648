"""Stopping on probability: fewer paths, at a chance of about epsilon that the answer changes.

Whoever gave an answer c times in n paths gives it in the next with a Beta(1 + c, 1 + n - c)
distributed chance (uniform prior), so the votes it gets of the r that remain are Beta-binomial.
"""

from math import comb, exp, lgamma

from routing.stopping import Poll, Verdict, judge
from routing.tally import Tally


def judge_lossy(tally: Tally, poll: Poll, epsilon: float) -> Verdict | None:
    """The exact verdict if it is there; else the one that is wrong with chance epsilon at most."""
    exact = judge(tally, poll)
    if exact is not None or tally.finished == 0:
        return exact
    chances = {answer: _reaches(tally, poll, answer) for answer in tally.counts}
    unseen = _reaches(tally, poll, None)
    leader = tally.ranked(poll.greedy)[0] if tally.counts else None
    if leader is not None:
        rivals = unseen + sum(chances[other] for other in chances if other != leader)
        if chances[leader] >= 1 - epsilon and rivals <= epsilon:
            return Verdict("majority", leader)
    others = unseen + sum(chances[answer] for answer in chances if answer != poll.greedy)
    if others > epsilon:
        return None
    if poll.greedy is not None and chances.get(poll.greedy, 0.0) > epsilon:
        return Verdict("either", poll.greedy)
    return Verdict("greedy", poll.greedy)


def _reaches(tally: Tally, poll: Poll, answer: str | None) -> float:
    """Chance that the answer (None: one not seen yet) ends with the votes it needs."""
    votes = 0 if answer is None else tally.counts[answer]
    remaining = poll.remaining(tally)
    needed = max(0, poll.min_votes - votes)
    a, b = 1 + votes, 1 + tally.finished - votes
    return sum(
        comb(remaining, more) * exp(_log_beta(a + more, b + remaining - more) - _log_beta(a, b))
        for more in range(needed, remaining + 1)
    )


def _log_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
