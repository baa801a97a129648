"""The sweep against brute force over all subsets and orders."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.calibration.replays import greedy_first_cost
from routing.calibration.sweep import sweep
from routing.records import RecordedPath, RecordedQuestion
from routing.stopping import Poll, judge
from routing.tally import Tally
from tests.routing.calibration.recorded import questions, record


def returned(paths: tuple[RecordedPath, ...], m: int, greedy: str | None) -> str | None:
    tally = Tally()
    for path in paths:
        tally = tally.with_vote(path.answer)
    if m == 0:
        return next(iter(tally.ranked(greedy)), None)
    verdict = judge(tally, Poll(len(paths), m, greedy), "all")
    assert verdict is not None
    return verdict.answer


@given(asked=questions(1, 6))
@settings(max_examples=60, deadline=None)
def test_accuracy_is_that_of_all_subsets(asked: RecordedQuestion) -> None:
    K = len(asked.paths)
    found = sweep([asked], K).accuracy
    for k in range(1, K + 1):
        subsets = list(itertools.combinations(asked.paths, k))
        for m in range(k + 2):
            right = sum(returned(subset, m, asked.greedy) == asked.answer for subset in subsets)
            assert found[k, m] == pytest.approx(right / len(subsets), abs=1e-12), (k, m)
        assert np.isnan(found[k, k + 2 :]).all()


@given(asked=questions(1, 4))
@settings(max_examples=40, deadline=None)
def test_cost_is_that_of_all_orders_when_there_are_few_paths(asked: RecordedQuestion) -> None:
    """Up to five paths every order is walked, so nothing is estimated."""
    K = len(asked.paths)
    found = sweep([asked], K)
    assert (found.paths_error, found.tokens_error) == (0, 0)
    for k in range(1, K + 1):
        orders = [
            RecordedQuestion(id=0, answer=None, greedy=asked.greedy, paths=order)
            for order in itertools.permutations(asked.paths, k)
        ]
        for m in range(1, k + 2):
            paths, tokens = greedy_first_cost(orders, k, m)
            assert found.paths[k, m] == pytest.approx(paths), (k, m)
            assert found.tokens[k, m] == pytest.approx(tokens), (k, m)
    assert np.array_equal(found.paths[1:, 0], found.paths[1:, 1])


def test_estimated_cost_is_within_its_error_of_replays_in_many_orders() -> None:
    asked = record(40, 8, seed=3)
    found = sweep(asked, 8)
    assert 0 < found.paths_error < 0.05
    random = np.random.default_rng(5)
    shuffled = [
        RecordedQuestion(
            id=0, answer=None, greedy=q.greedy, paths=tuple(random.permutation(np.array(q.paths)))
        )
        for q in asked
        for _ in range(40)
    ]
    for m in (3, 5, 7):
        paths, tokens = greedy_first_cost(shuffled, 8, m)
        assert found.paths[8, m] == pytest.approx(paths, abs=0.12)
        assert found.tokens[8, m] == pytest.approx(tokens, rel=0.03)


def test_the_ends_of_a_row_are_the_mode_and_the_greedy_answer() -> None:
    asked = record(60, 16, greedy_right=0.7)
    found = sweep(asked, 16)
    greedy = sum(q.greedy == q.answer for q in asked) / len(asked)
    for k in range(1, 17):
        assert found.accuracy[k, k + 1] == pytest.approx(greedy)
        assert found.paths[k, k + 1] == 0
        assert found.accuracy[k, 1] >= found.accuracy[k, 0]


def test_one_seed_gives_one_result_and_questions_without_an_answer_do_not_count() -> None:
    asked = record(20, 8)
    unknown = RecordedQuestion(id="u", answer=None, greedy="1", paths=asked[0].paths)
    first, second = sweep(asked, 8), sweep([unknown, *asked], 8)
    assert np.array_equal(first.paths, second.paths, equal_nan=True)
    assert np.array_equal(first.accuracy, second.accuracy, equal_nan=True)
    assert second.questions == 20


@pytest.mark.parametrize("k_max", [0, 65, 9])
def test_more_paths_than_there_are_or_than_a_server_polls_are_refused(k_max: int) -> None:
    with pytest.raises(ValueError, match=r"k_max|fewer than 9"):
        sweep(record(2, 8), k_max)


def test_without_a_known_answer_there_is_no_sweep() -> None:
    with pytest.raises(ValueError, match="known answer"):
        sweep([], 4)


@given(votes=st.lists(st.sampled_from(["a", "b", None]), min_size=64, max_size=64))
@settings(max_examples=10, deadline=None)
def test_the_largest_poll_stays_a_probability(votes: list[str | None]) -> None:
    asked = RecordedQuestion(
        id=0, answer="a", greedy="b", paths=tuple(RecordedPath(answer=v) for v in votes)
    )
    accuracy = sweep([asked], 64).accuracy[1:]
    known = accuracy[~np.isnan(accuracy)]
    assert ((known >= -1e-12) & (known <= 1 + 1e-9)).all()
