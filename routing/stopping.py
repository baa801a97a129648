"""When the vote is decided: the lossless stopping rules, as functions of counts.

The rule (Gemini report, arXiv 2312.11805, appendix 9.1, made exact): of k paths the most frequent
answer wins when it has at least m votes (m = floor(tau k) + 1, so its share is strictly above
tau); otherwise the greedy answer is returned. Paths without a usable answer never vote and stay
in the denominator k.

After n paths, r = k - n remain. Everything follows from one question: who can still win? Giving
all r to an answer is the best that can happen to it, giving all r to nobody is the best that can
happen to the greedy fallback. A decision is certain exactly when one outcome is left, so stopping
there changes nothing, and stopping earlier could.

What a vote without consensus returns can be changed: nothing (abstain), or the most frequent
answer all the same (best_effort). The same question decides when those are certain.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from routing.tally import Tally, tie_order

Route = Literal["majority", "greedy", "either", "abstain", "best_effort"]
OnDisagreement = Literal["greedy", "abstain", "best_effort"]
Rule = Literal["plain", "greedy_first", "all"]

# Stands for the answers that no path has given yet. Any string may come, so one that precedes
# every seen answer in code point order may; the empty string does, and no extractor returns it.
_UNSEEN = ""
_FIRST = "\0"  # the first answer of all, whatever it will be


@dataclass(frozen=True)
class Poll:
    """What is fixed before the first path: k paths, m votes to win, the greedy answer or None."""

    k: int
    min_votes: int
    greedy: str | None

    def __post_init__(self) -> None:
        if not (self.k >= 1 and 1 <= self.min_votes <= self.k + 1):
            raise ValueError(f"min_votes must be in [1, k + 1], got {self.min_votes} of {self.k}")

    def remaining(self, tally: Tally) -> int:
        return self.k - tally.finished


@dataclass(frozen=True)
class Verdict:
    """majority: `answer` has won. greedy: nothing can win, so the greedy answer (or None) is it.

    abstain, best_effort: nothing can win, so there is no answer, or the most frequent one.
    either: majority or not, the answer is the same.
    """

    route: Route
    answer: str | None


def min_votes(k: int, tau: Fraction) -> int:
    """Fewest votes whose share of k is strictly above tau. Exact: floats fail at .29 * 100."""
    return (tau * k).__floor__() + 1


def contenders(tally: Tally, poll: Poll) -> set[str]:
    """The answers that some completion of the poll makes the winner; "" stands for unseen ones."""
    remaining = poll.remaining(tally)
    best_two = sorted(tally.counts, key=lambda answer: tally.place(answer, poll.greedy))[:2]

    def can_win(answer: str) -> bool:
        votes = tally.counts.get(answer, 0) + remaining
        if votes == 0 or votes < poll.min_votes:
            return False
        rival = next((other for other in best_two if other != answer), None)
        if rival is None:
            return True
        return (-votes, *tie_order(answer, poll.greedy)) < tally.place(rival, poll.greedy)

    return {answer for answer in (*tally.counts, _UNSEEN) if can_win(answer)}


def judge(
    tally: Tally,
    poll: Poll,
    rule: Rule = "greedy_first",
    on_disagreement: OnDisagreement = "greedy",
) -> Verdict | None:
    """The verdict, or None while more paths are needed.

    plain: stops when the route is certain. greedy_first: also when only the route is open and
    the answer is not. all: after all k paths. Necessary and sufficient, each for its promise.
    """
    if rule == "all" and poll.remaining(tally) > 0:
        return None
    if on_disagreement == "best_effort":
        return _judge_best_effort(tally, poll, rule)
    winners = contenders(tally, poll)
    if not winners:
        return Verdict("abstain", None) if on_disagreement == "abstain" else _greedy(poll)
    if len(winners) > 1:
        return None
    (winner,) = winners
    if tally.most >= poll.min_votes:
        return Verdict("majority", winner)
    # Abstaining gives another answer than a majority, so there the route must be certain.
    if rule == "greedy_first" and on_disagreement == "greedy" and winner == poll.greedy:
        return Verdict("either", winner)
    return None


def _judge_best_effort(tally: Tally, poll: Poll, rule: Rule) -> Verdict | None:
    """The most frequent answer is returned, however few its votes; without any, the greedy one."""
    leaders = contenders(tally, replace(poll, min_votes=1))
    if not leaders:
        return _greedy(poll)
    if len(leaders) > 1 or not tally.counts:
        return None
    (leader,) = leaders
    if tally.most >= poll.min_votes:
        return Verdict("majority", leader)
    if tally.most + poll.remaining(tally) < poll.min_votes:
        return Verdict("best_effort", leader)
    return Verdict("either", leader) if rule == "greedy_first" else None


def judge_blind(
    tally: Tally, poll: Poll, on_disagreement: OnDisagreement = "greedy"
) -> Verdict | None:
    """The verdict that holds whatever the greedy answer will be; `poll.greedy` is not looked at.

    The greedy answer decides ties, so it may be any answer seen, one not seen yet, or none.
    """
    first, *others = (
        judge(tally, replace(poll, greedy=greedy), "greedy_first", on_disagreement)
        for greedy in (None, _FIRST, *tally.counts)
    )
    return first if all(verdict == first for verdict in others) else None


def settle(
    tally: Tally, tau: Fraction, greedy: str | None, on_disagreement: OnDisagreement = "greedy"
) -> Verdict:
    """The rule applied to the paths that finished, as if no others had been asked for."""
    n = tally.finished
    if n == 0:
        return (
            Verdict("abstain", None) if on_disagreement == "abstain" else Verdict("greedy", greedy)
        )
    verdict = judge(tally, Poll(n, min_votes(n, tau), greedy), "plain", on_disagreement)
    assert verdict is not None, "a poll with no path left is always decided"
    return verdict


def paths_to_decide(
    tally: Tally,
    poll: Poll,
    rule: Rule = "greedy_first",
    on_disagreement: OnDisagreement = "greedy",
) -> int:
    """The fewest further paths after which a verdict could fall, whatever they say; 0: it has.

    Running fewer at once only waits; running more may run paths in vain. (Only for best_effort
    with the rule plain can it be fewer: mixed answers rule out a majority before equal ones do.)
    """
    remaining = poll.remaining(tally)
    if rule == "all" or judge(tally, poll, rule, on_disagreement) is not None:
        return remaining if rule == "all" else 0
    # Verdicts come soonest when all say the same: the leader (or a first answer), the greedy
    # answer, or nothing. Votes for any other answer help it less than they would help these.
    leader = min(tally.counts, key=lambda a: tally.place(a, poll.greedy), default=_FIRST)

    def steps_to_verdict(answer: str | None) -> int:
        """After how many further paths, all giving `answer`, the verdict falls."""
        steps = 1
        while judge(tally.with_vote(answer, steps), poll, rule, on_disagreement) is None:
            steps += 1
        return steps

    return min(steps_to_verdict(answer) for answer in {leader, poll.greedy, None})


def _greedy(poll: Poll) -> Verdict:
    return Verdict("greedy", poll.greedy)
