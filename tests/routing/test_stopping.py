"""The stopping rules against brute force over every completion, and against published numbers."""

import functools
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.stopping import OnDisagreement, Poll, Rule, Verdict, judge, min_votes, paths_to_decide
from routing.tally import Tally

# "0" sorts before every seen answer and "z" after: unseen rivals on both sides of any tie.
SEEN = ("b", "c", "d")
UNIVERSE = ("0", *SEEN, "z")


def outcome(tally: Tally, m: int, greedy: str | None) -> tuple[str, str | None]:
    """The rule itself, on k finished paths; written independently of `stopping`."""
    best: str | None = None
    for answer, votes in tally.counts.items():
        if (
            best is None
            or votes > tally.counts[best]
            or (
                votes == tally.counts[best]
                and best != greedy
                and (answer == greedy or answer < best)
            )
        ):
            best = answer
    if best is not None and tally.counts[best] >= m:
        return "majority", best
    return "greedy", greedy


def completions(tally: Tally, count: int) -> Iterator[Tally]:
    for extra in combinations_with_replacement((*UNIVERSE, None), count):
        done = tally
        for answer in extra:
            done = done.with_vote(answer)
        yield done


def tallies(finished: int) -> Iterator[Tally]:
    for votes in combinations_with_replacement((*SEEN, None), finished):
        tally = Tally()
        for answer in votes:
            tally = tally.with_vote(answer)
        yield tally


def polls(k: int) -> Iterator[Poll]:
    for m in range(1, k + 2):
        for greedy in (None, "b", "c", "z"):
            yield Poll(k, m, greedy)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7])
def test_rules_are_necessary_and_sufficient_against_all_completions(k: int) -> None:
    for finished in range(k + 1):
        for tally in tallies(finished):
            finals = list(completions(tally, k - finished))
            for poll in polls(k):
                possible = {outcome(final, poll.min_votes, poll.greedy) for final in finals}
                answers = {answer for _, answer in possible}
                plain = judge(tally, poll, "plain")
                first = judge(tally, poll, "greedy_first")
                case = (tally, poll, possible)

                # Plain: a verdict exactly when one outcome is left, and it is that outcome.
                assert (plain is not None) == (len(possible) == 1), case
                if plain is not None:
                    assert possible == {(plain.route, plain.answer)}, case

                # Greedy-first: a verdict exactly when the route is certain, or every completion
                # returns the greedy answer.
                certain = len(possible) == 1 or (
                    poll.greedy is not None and answers == {poll.greedy}
                )
                assert (first is not None) == certain, case
                if first is not None:
                    assert answers == {first.answer}, case
                    assert first.route == (
                        next(iter(possible))[0] if len(possible) == 1 else "either"
                    ), case


@functools.cache
def fewest_by_search(
    tally_key: tuple[tuple[str | None, int], ...],
    poll: Poll,
    rule: Rule,
    on_disagreement: OnDisagreement = "greedy",
) -> int:
    """Breadth-first over everything the next paths may say."""
    start = Tally()
    for answer, times in tally_key:
        start = start.with_vote(answer, times)
    level = [start]
    for steps in range(poll.remaining(start) + 1):
        if any(judge(tally, poll, rule, on_disagreement) is not None for tally in level):
            return steps
        level = [tally.with_vote(answer) for tally in level for answer in (*UNIVERSE, None)]
    raise AssertionError("a poll with no path left is always decided")


@pytest.mark.parametrize("rule", ["plain", "greedy_first"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_paths_to_decide_is_the_fewest_that_could_do(k: int, rule: Rule) -> None:
    for finished in range(k + 1):
        for tally in tallies(finished):
            key = (*sorted(tally.counts.items()), (None, tally.invalid))
            for poll in polls(k):
                assert paths_to_decide(tally, poll, rule) == fewest_by_search(key, poll, rule)


def test_paths_to_decide_of_all_is_what_is_left() -> None:
    poll = Poll(5, 3, "b")
    assert paths_to_decide(Tally().with_vote("b", 4), poll, "all") == 1
    assert judge(Tally().with_vote("b", 4), poll, "all") is None
    assert judge(Tally().with_vote("b", 5), poll, "all") == Verdict("majority", "b")


answers = st.sampled_from(["a", "b", "c", "d", None])


@given(
    votes=st.lists(answers, min_size=1, max_size=64),
    share=st.integers(0, 100),
    greedy=answers,
    data=st.data(),
)
@settings(max_examples=300, deadline=None)
def test_stopping_early_never_changes_the_answer(
    votes: list[str | None], share: int, greedy: str | None, data: st.DataObject
) -> None:
    k = len(votes)
    poll = Poll(k, min_votes(k, Fraction(share, 100)), greedy)
    whole = Tally()
    for vote in votes:
        whole = whole.with_vote(vote)
    full = judge(whole, poll, "all")
    assert full is not None
    assert (full.route, full.answer) == outcome(whole, poll.min_votes, greedy)

    for rule in ("plain", "greedy_first"):
        tally, used = Tally(), 0
        order = data.draw(st.permutations(votes))
        while (verdict := judge(tally, poll, rule)) is None:
            # No verdict can come sooner than promised.
            assert used + paths_to_decide(tally, poll, rule) <= k
            tally, used = tally.with_vote(order[used]), used + 1
        assert verdict.answer == full.answer
        if verdict.route == "either":
            assert rule == "greedy_first"
            assert verdict.answer == greedy
        else:
            assert verdict.route == full.route


def test_thresholds_are_exact_for_every_k_and_hundredth() -> None:
    for k in range(1, 65):
        for hundredths in range(101):
            tau = Fraction(hundredths, 100)
            m = min_votes(k, tau)
            assert Fraction(m, k) > tau
            assert Fraction(m - 1, k) <= tau
    assert min_votes(100, Fraction("0.29")) == 30


def test_a_threshold_no_vote_can_meet_falls_back_without_running_a_path() -> None:
    poll = Poll(8, min_votes(8, Fraction(1)), "b")
    assert judge(Tally(), poll, "plain") == Verdict("greedy", "b")
    assert paths_to_decide(Tally(), poll) == 0


@pytest.mark.parametrize("m", [0, 6, -1])
def test_a_threshold_out_of_range_is_refused(m: int) -> None:
    with pytest.raises(ValueError, match="min_votes"):
        Poll(4, m, None)


def test_ties_go_to_the_greedy_answer_and_then_to_code_point_order() -> None:
    tied = Tally().with_vote("c", 2).with_vote("b", 2)
    assert judge(tied, Poll(4, 2, None)) == Verdict("majority", "b")
    assert judge(tied, Poll(4, 2, "c")) == Verdict("majority", "c")


# --- the published table: k = 32, sequential, rivals all different ------------------------------

TABLE = {
    (0.3, "0.5"): (22.8, 0.005),
    (0.3, "0.6"): (18.6, 0.0),
    (0.3, "0.7"): (14.3, 0.0),
    (0.3, "0.8"): (10.0, 0.0),
    (0.5, "0.5"): (28.4, 0.43),
    (0.5, "0.6"): (25.4, 0.11),
    (0.5, "0.7"): (20.0, 0.01),
    (0.5, "0.8"): (14.0, 0.0),
    (0.7, "0.5"): (24.2, 0.99),
    (0.7, "0.6"): (27.8, 0.87),
    (0.7, "0.7"): (28.1, 0.50),
    (0.7, "0.8"): (22.6, 0.11),
    (0.9, "0.5"): (18.9, 1.0),
    (0.9, "0.6"): (22.2, 1.0),
    (0.9, "0.7"): (25.6, 1.0),
    (0.9, "0.8"): (28.7, 0.96),
}


def expected_samples(p: float, poll: Poll, rule: Rule) -> tuple[float, float]:
    """Mean paths used and probability of acceptance, by exact dynamic programming.

    A path gives the leading answer with probability p; the others are so diffuse that they
    count as no vote.
    """
    mean, accepted = 0.0, 0.0
    alive = {0: 1.0}  # votes of the leading answer -> probability of being here, undecided
    for finished in range(poll.k + 1):
        following: dict[int, float] = {}
        for leading, probability in alive.items():
            tally = Tally().with_vote("lead", leading).with_vote(None, finished - leading)
            verdict = judge(tally, poll, rule)
            if verdict is not None:
                mean += probability * finished
                accepted += probability * (verdict.route == "majority")
                continue
            for gain, chance in ((1, p), (0, 1 - p)):
                place = leading + gain
                following[place] = following.get(place, 0.0) + probability * chance
        alive = following
    return mean, accepted


@pytest.mark.parametrize(("p", "tau"), sorted(TABLE))
def test_expected_samples_of_the_plain_rule_match_the_published_table(p: float, tau: str) -> None:
    poll = Poll(32, min_votes(32, Fraction(tau)), None)
    mean, accepted = expected_samples(p, poll, "plain")
    assert mean == pytest.approx(TABLE[p, tau][0], abs=0.051)
    assert accepted == pytest.approx(TABLE[p, tau][1], abs=0.0051)


@pytest.mark.parametrize(("tau", "paths"), [("0.5", 16), ("0.6", 13), ("0.7", 10), ("0.8", 7)])
def test_greedy_first_with_a_leading_greedy_answer_uses_a_fixed_number(
    tau: str, paths: int
) -> None:
    poll = Poll(32, min_votes(32, Fraction(tau)), "lead")
    for p in (0.3, 0.5, 0.7, 0.9):
        assert expected_samples(p, poll, "greedy_first")[0] == pytest.approx(paths)
    # A rival that was seen once needs one vote less than an unseen one: one path more.
    with_rival = Tally().with_vote("lead", paths - 1).with_vote("rival")
    assert judge(with_rival, poll) is None
    assert judge(with_rival.with_vote("lead"), poll) is not None
