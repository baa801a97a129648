"""Drift of the consensus: seen when it is there, quiet when it is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.calibration.drift import MIN_OBSERVED, ConsensusDrift

SURE = [0, 0, 1, 2, 3, 5, 8, 20, 61]  # votes of 8 paths, mostly unanimous
UNSURE = [5, 10, 20, 25, 20, 10, 5, 3, 2]


def observing(reference: list[float], traffic: list[float], polls: int, seed: int):
    drift = ConsensusDrift(reference, questions=400)
    rng = random.Random(seed)
    for votes in rng.choices(range(len(traffic)), weights=traffic, k=polls):
        drift.observe(votes)
    return drift


def test_traffic_like_the_calibration_seldom_alarms() -> None:
    alarms = sum(observing(SURE, SURE, 200, seed).drifted for seed in range(500))
    assert alarms <= 10


def test_harder_questions_are_seen() -> None:
    seen = sum(observing(SURE, UNSURE, 60, seed).drifted for seed in range(100))
    assert seen == 100


def test_nothing_is_said_before_there_is_enough_to_say_it_on() -> None:
    drift = observing(SURE, UNSURE, MIN_OBSERVED - 1, 0)
    assert drift.statistic is None
    assert not drift.drifted


def test_old_polls_are_forgotten() -> None:
    drift = ConsensusDrift(SURE, questions=400, window=50)
    for votes in [0] * 50 + [8] * 30 + [7] * 10 + [6] * 5 + [5] * 5:
        drift.observe(votes)
    assert drift.observed == 50
    assert not drift.drifted


@given(st.lists(st.integers(0, 8), min_size=MIN_OBSERVED, max_size=80))
def test_the_statistic_is_a_share(votes: list[int]) -> None:
    drift = ConsensusDrift(SURE, questions=10, window=60)
    for count in votes:
        drift.observe(count)
    assert drift.statistic is not None
    assert 0 <= drift.statistic <= 1 + 1e-9
    recent = votes[-60:]
    assert drift.observed == len(recent)


@pytest.mark.parametrize("reference", [[], [1.0], [0.0, 0.0], [1.0, -1.0]])
def test_a_reference_must_be_a_distribution(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference"):
        ConsensusDrift(reference, questions=10)


def test_votes_outside_of_the_poll_are_refused() -> None:
    with pytest.raises(ValueError, match="votes"):
        ConsensusDrift(SURE, questions=10).observe(9)
