"""Stopping when another answer is unlikely: as rare as it says, and never later than the rule."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from routing.lossy import _at_least, judge_lossy
from routing.stopping import Poll, Verdict, judge, min_votes
from routing.tally import Tally

ANSWERS = ("a", "b", "c", None)


def test_the_predictive_probability_is_beta_binomial() -> None:
    for finished, votes, remaining, need in [(0, 0, 8, 3), (5, 4, 27, 16), (20, 1, 12, 12)]:
        expected = stats.betabinom.sf(need - 1, remaining, 1 + votes, 1 + finished - votes)
        assert _at_least(need, remaining, votes, finished) == pytest.approx(expected)
    assert _at_least(0, 5, 3, 3) == 1
    assert _at_least(6, 5, 3, 3) == 0


@pytest.mark.parametrize(
    ("p", "paths", "flips"), [(0.9, 10.6, 0.0002), (0.6, 23.8, 0.024)], ids=["easy", "hard"]
)
def test_paths_and_flips_match_the_published_numbers(p: float, paths: float, flips: float) -> None:
    """k = 32, tau = .6, epsilon = .01; a path gives the leading answer with probability p."""
    source = random.Random(7)
    poll = Poll(32, min_votes(32, Fraction("0.6")), None)
    trials, used, flipped = 1000, 0, 0
    for _ in range(trials):
        votes = ["lead" if source.random() < p else None for _ in range(32)]
        leading = votes.count("lead")
        full = judge(Tally().with_vote("lead", leading).with_vote(None, 32 - leading), poll, "all")
        tally = Tally()
        while (verdict := judge_lossy(tally, poll)) is None:
            tally = tally.with_vote(votes[tally.finished])
        used += tally.finished
        flipped += full is None or verdict.answer != full.answer
    assert used / trials == pytest.approx(paths, abs=0.6)
    assert flipped / trials == pytest.approx(flips, abs=0.012)


@given(
    votes=st.lists(st.sampled_from(ANSWERS), max_size=16),
    left=st.integers(0, 16),
    m=st.integers(1, 33),
    greedy=st.sampled_from(ANSWERS),
)
@settings(max_examples=200, deadline=None)
def test_what_is_certain_is_decided_alike_and_a_risk_is_taken_only_within_epsilon(
    votes: list[str | None], left: int, m: int, greedy: str | None
) -> None:
    k = max(1, len(votes) + left)
    poll = Poll(k, min(m, k + 1), greedy)
    tally = Tally()
    for vote in votes:
        tally = tally.with_vote(vote)
    certain = judge(tally, poll, "greedy_first")
    lossy = judge_lossy(tally, poll, 0.05)
    assert judge_lossy(tally, poll, 0.0) == certain
    if certain is not None:
        assert lossy == certain
    elif lossy is not None and lossy.route == "majority":
        assert lossy.answer == min(tally.counts, key=lambda a: tally.place(a, greedy))
    elif lossy is not None:
        assert lossy.answer == greedy


def test_a_fallback_is_called_either_while_the_greedy_answer_could_still_be_the_majority() -> None:
    tally = Tally().with_vote("g", 6)
    assert judge(tally, Poll(32, 20, "g")) is None
    assert judge_lossy(tally, Poll(32, 20, "g"), 0.01) == Verdict("either", "g")


def test_below_half_a_rival_that_may_overtake_is_counted() -> None:
    """With 8 of 32 votes enough, 9 votes are not a win while a rival has as many."""
    close = Tally().with_vote("a", 8).with_vote("b", 8)
    assert judge_lossy(close, Poll(32, 8, None), 0.05) is None
    clear = Tally().with_vote("a", 15).with_vote("b", 1)
    assert judge(clear, Poll(32, 8, None)) is None
    assert judge_lossy(clear, Poll(32, 8, None), 0.05) == Verdict("majority", "a")


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_an_epsilon_that_is_no_risk_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        judge_lossy(Tally(), Poll(4, 3, None), epsilon)
