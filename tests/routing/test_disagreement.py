"""Votes without consensus, unknown greedy answers and cut polls, against brute force."""

from fractions import Fraction
from itertools import combinations_with_replacement
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.stopping import (
    OnDisagreement,
    Poll,
    Rule,
    Verdict,
    judge,
    judge_blind,
    min_votes,
    paths_to_decide,
    settle,
)
from routing.tally import Tally
from tests.routing.test_stopping import UNIVERSE, completions, fewest_by_search, polls, tallies

OUTCOMES = get_args(OnDisagreement)


def outcome(
    tally: Tally, m: int, greedy: str | None, on_disagreement: OnDisagreement
) -> tuple[str, str | None]:
    """The rule itself, on a poll that is over; written independently of `stopping`."""
    best = max(
        tally.counts,
        # The least string wins among equals: compare the negatives of its characters.
        key=lambda a: (tally.counts[a], a == greedy, [-ord(char) for char in a]),
        default=None,
    )
    if best is not None and tally.counts[best] >= m:
        return "majority", best
    if on_disagreement == "abstain":
        return "abstain", None
    if on_disagreement == "best_effort" and best is not None:
        return "best_effort", best
    return "greedy", greedy


@pytest.mark.parametrize("on_disagreement", ["abstain", "best_effort"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_outcomes_are_certain_exactly_when_no_completion_changes_them(
    k: int, on_disagreement: OnDisagreement
) -> None:
    for finished in range(k + 1):
        for tally in tallies(finished):
            finals = list(completions(tally, k - finished))
            for poll in polls(k):
                possible = {
                    outcome(final, poll.min_votes, poll.greedy, on_disagreement) for final in finals
                }
                answers = {answer for _, answer in possible}
                case = (tally, poll, possible)

                plain = judge(tally, poll, "plain", on_disagreement)
                assert (plain is not None) == (len(possible) == 1), case
                if plain is not None:
                    assert possible == {(plain.route, plain.answer)}, case

                first = judge(tally, poll, "greedy_first", on_disagreement)
                # An abstention has no answer, so there a certain answer is a certain route.
                assert (first is not None) == (len(answers) == 1), case
                if first is not None:
                    assert answers == {first.answer}, case
                    route = next(iter(possible))[0] if len(possible) == 1 else "either"
                    assert first.route == route, case


@pytest.mark.parametrize("on_disagreement", OUTCOMES)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_a_blind_verdict_is_there_exactly_when_no_greedy_answer_changes_it(
    k: int, on_disagreement: OnDisagreement
) -> None:
    for finished in range(k + 1):
        for tally in tallies(finished):
            finals = list(completions(tally, k - finished))
            for m in range(1, k + 2):
                possible = {
                    outcome(final, m, greedy, on_disagreement)
                    for final in finals
                    for greedy in (None, *UNIVERSE)
                }
                answers = {answer for _, answer in possible}
                certain = len(answers) == 1 and not any(route == "greedy" for route, _ in possible)
                verdict = judge_blind(tally, Poll(k, m, "ignored"), on_disagreement)
                case = (tally, m, possible)
                assert (verdict is not None) == certain, case
                if verdict is not None:
                    route = next(iter(possible))[0] if len(possible) == 1 else "either"
                    assert verdict == Verdict(route, answers.pop()), case  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "on_disagreement"),
    [("plain", "abstain"), ("greedy_first", "abstain"), ("greedy_first", "best_effort")],
)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_paths_to_decide_is_the_fewest_that_could_do(
    k: int, rule: Rule, on_disagreement: OnDisagreement
) -> None:
    for finished in range(k + 1):
        for tally in tallies(finished):
            key = (*sorted(tally.counts.items()), (None, tally.invalid))
            for poll in polls(k):
                fewest = fewest_by_search(key, poll, rule, on_disagreement)
                assert paths_to_decide(tally, poll, rule, on_disagreement) == fewest


@pytest.mark.parametrize("on_disagreement", OUTCOMES)
def test_what_finished_is_judged_as_a_poll_of_its_own(on_disagreement: OnDisagreement) -> None:
    for n in range(7):
        for tally in tallies(n):
            for hundredths in (0, 29, 33, 50, 60, 99, 100):
                tau = Fraction(hundredths, 100)
                for greedy in (None, "b", "z"):
                    verdict = settle(tally, tau, greedy, on_disagreement)
                    expected = outcome(tally, hundredths * n // 100 + 1, greedy, on_disagreement)
                    assert (verdict.route, verdict.answer) == expected


@pytest.mark.parametrize("on_disagreement", OUTCOMES)
def test_a_verdict_of_k_paths_is_one_of_any_fewer_that_it_needed(
    on_disagreement: OnDisagreement,
) -> None:
    """So a poll that a budget cut to fewer paths never contradicts the whole one."""
    for k in range(1, 7):
        for cut in range(1, k):
            for tau in (Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(3, 5), Fraction(1)):
                for finished in range(cut + 1):
                    for tally in tallies(finished):
                        for greedy in (None, "b", "z"):
                            whole = Poll(k, min_votes(k, tau), greedy)
                            verdict = judge(tally, whole, "greedy_first", on_disagreement)
                            if verdict is None:
                                continue
                            fewer = Poll(cut, min_votes(cut, tau), greedy)
                            again = judge(tally, fewer, "greedy_first", on_disagreement)
                            assert again is not None
                            assert again.answer == verdict.answer


answers = st.sampled_from(["a", "b", "c", "d", None])


@pytest.mark.parametrize("on_disagreement", OUTCOMES)
@given(
    votes=st.lists(answers, min_size=1, max_size=64),
    share=st.integers(0, 100),
    greedy=answers,
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_no_verdict_falls_before_the_paths_that_are_always_started(
    on_disagreement: OnDisagreement,
    votes: list[str | None],
    share: int,
    greedy: str | None,
    data: st.DataObject,
) -> None:
    """What the rule for the text stands on: min(m, k - m + 1) paths are needed for anything."""
    k = len(votes)
    poll = Poll(k, min_votes(k, Fraction(share, 100)), greedy)
    always = min(poll.min_votes, k - poll.min_votes + 1)
    assert paths_to_decide(Tally(), poll, "greedy_first", on_disagreement) >= always
    tally = Tally()
    for used, vote in enumerate(data.draw(st.permutations(votes))):
        known = judge(tally, poll, "greedy_first", on_disagreement)
        blind = judge_blind(tally, poll, on_disagreement)
        if blind is not None:
            assert known is not None
            assert known.answer == blind.answer
        if known is not None:
            assert used >= always
            return
        tally = tally.with_vote(vote)


def test_consensus_of_no_path_is_none() -> None:
    assert Tally().consensus(0) == (0.0, 0.0)


def test_every_pair_of_equal_leaders_is_settled_the_same_way_in_any_mode() -> None:
    for one, other in combinations_with_replacement(("b", "c", "d"), 2):
        tied = Tally().with_vote(one, 2).with_vote(other, 2)
        for greedy in (None, "b", "c", "d"):
            winner = greedy if greedy in (one, other) else one
            for mode in OUTCOMES:
                verdict = judge(tied, Poll(4, 2, greedy), "plain", mode)
                expected = winner if one != other else one
                assert verdict == Verdict("majority", expected)
