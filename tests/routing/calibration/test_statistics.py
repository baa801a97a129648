"""Intervals and tests against published values and brute force."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from routing.calibration.consensus import reliability, risk_coverage
from routing.calibration.statistics import (
    bootstrap_mean,
    clopper_pearson,
    exact_mcnemar,
    interval_of_mean,
    paired_difference,
    upper_bound,
    wilson,
)


@pytest.mark.parametrize(
    ("errors", "trials", "percent"),
    [(0, 59, 5.0), (10, 200, 8.3), (25, 500, 6.9), (50, 1000, 6.3), (20, 1000, 2.9)],
)
def test_upper_bounds_match_the_published_table(errors: int, trials: int, percent: float) -> None:
    assert 100 * upper_bound(errors, trials) == pytest.approx(percent, abs=0.05)


def test_an_upper_bound_is_where_so_few_errors_become_as_rare_as_claimed() -> None:
    bound = upper_bound(7, 90, 0.9)
    assert stats.binom.cdf(7, 90, bound) == pytest.approx(0.1)
    assert upper_bound(0, 0) == upper_bound(5, 5) == 1


def test_two_sided_intervals_match_scipy() -> None:
    for successes, trials in [(0, 12), (3, 10), (45, 60), (60, 60)]:
        test = stats.binomtest(successes, trials)
        exact, score = test.proportion_ci(method="exact"), test.proportion_ci(method="wilson")
        ours = clopper_pearson(successes, trials)
        assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high))
        ours = wilson(successes, trials)
        assert (ours.low, ours.high) == pytest.approx((score.low, score.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (3, 2), (-1, 4)])
def test_what_is_no_share_is_refused(successes: int, trials: int) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="no share"):
            interval(successes, trials)


def test_mcnemar_is_the_exact_sign_test() -> None:
    for b, c in itertools.product(range(8), repeat=2):
        expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert exact_mcnemar(b, c) == pytest.approx(expected)


def test_the_bootstrap_is_repeatable_and_as_wide_as_theory_says() -> None:
    values = np.array([1.0] * 300 + [0.0] * 600 + [-1.0] * 100)
    interval = bootstrap_mean(values)
    assert interval == bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(0.2 - half, abs=0.003)
    assert interval.high == pytest.approx(0.2 + half, abs=0.003)
    assert interval_of_mean(np.array([0.25, 0.5, 1.0])).high <= 1


def test_a_paired_difference_names_who_was_right_alone() -> None:
    first, second = np.array([1.0, 1, 1, 0, 0]), np.array([1.0, 0, 0, 1, 0])
    found = paired_difference(first, second)
    assert (found.only_first, found.only_second) == (2, 1)
    assert found.mean == pytest.approx(0.2)
    assert found.undecided
    assert not paired_difference(np.ones(50), np.zeros(50)).undecided
    with pytest.raises(ValueError, match="same questions"):
        paired_difference(first, second[:3])


def test_risk_coverage_takes_equal_consensus_in_random_order() -> None:
    consensus = np.array([0.9, 0.5, 0.5, 0.5, 0.2])
    right = np.array([1.0, 1, 0, 0, 0])
    found = risk_coverage(consensus, right)
    assert found.consensus.tolist() == [0.9, 0.5, 0.2]
    assert found.coverage.tolist() == [0.2, 0.8, 1.0]
    assert found.risk.tolist() == pytest.approx([0, 0.5, 0.6])
    areas = []
    for order in itertools.permutations([1, 2, 3]):
        wrong = 1 - right[[0, *order, 4]]
        areas.append((np.cumsum(wrong) / np.arange(1, 6)).mean())
    assert found.area == pytest.approx(np.mean(areas))


def test_reliability_of_a_probability_is_near_zero_and_of_a_boast_is_not() -> None:
    random = np.random.default_rng(2)
    consensus = random.integers(0, 17, 4000) / 16
    honest = (random.random(4000) < consensus).astype(float)
    found = reliability(consensus, honest)
    assert found.ece < 0.03
    assert found.brier == pytest.approx(((consensus - honest) ** 2).mean())
    assert sum(b.questions for b in found.bins) == 4000
    assert max(b.questions for b in found.bins) < 4 * min(b.questions for b in found.bins)
    boast = reliability(np.ones(100), np.array([1.0, 0.0] * 50))
    assert len(boast.bins) == 1
    assert (boast.ece, boast.brier) == (0.5, 0.5)


def test_questions_of_equal_consensus_stay_in_one_bin() -> None:
    found = reliability(np.array([0.5] * 95 + [1.0] * 5), np.ones(100))
    assert [b.questions for b in found.bins] == [95, 5]
