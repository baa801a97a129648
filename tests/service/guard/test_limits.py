"""Buckets and accounts, on a clock that the test moves."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.guard.limits import LONGEST_WAIT_S, Account, Bucket, Limits
from service.guard.visits import Visit
from tests.service.guard.clock import Hands


def account(clock: Hands, **limits: int) -> Account:
    return Account("alice", Limits(**limits), clock)


def test_a_minutes_requests_may_come_at_once_and_then_one_by_one() -> None:
    clock = Hands()
    alice = account(clock, requests_per_minute=3)
    for _ in range(3):
        alice.begin()
    with pytest.raises(ApiError) as refused:
        alice.begin()
    assert (refused.value.kind, refused.value.retry_after) == ("rate_limited", 20)
    assert "3 requests a minute" in refused.value.message
    clock.now += 19
    with pytest.raises(ApiError) as refused:
        alice.begin()
    assert refused.value.retry_after == 1
    clock.now += 1
    alice.begin()
    assert alice.requests == 4


def test_tokens_may_overdraw_and_the_debt_is_waited_off() -> None:
    clock = Hands()
    alice = account(clock, tokens_per_minute=60)
    alice.begin()
    alice.charge(160)
    with pytest.raises(ApiError) as refused:
        alice.begin()
    assert refused.value.retry_after == 101
    assert "60 tokens a minute" in refused.value.message
    clock.now += 101
    alice.begin()
    assert alice.tokens == 160


def test_a_request_that_is_refused_for_its_tokens_costs_no_request() -> None:
    clock = Hands()
    alice = account(clock, tokens_per_minute=60, requests_per_minute=1)
    alice.charge(61)
    with pytest.raises(ApiError):
        alice.begin()
    clock.now += 2
    alice.begin()


def test_a_wait_is_told_up_to_a_day() -> None:
    alice = account(Hands(), tokens_per_minute=1)
    alice.charge(10**9)
    with pytest.raises(ApiError) as refused:
        alice.begin()
    assert refused.value.retry_after == LONGEST_WAIT_S


def test_sequences_are_held_while_they_run_and_given_back_whatever_happens() -> None:
    alice = account(Hands(), concurrent_sequences=5)
    with alice.running(3):
        with pytest.raises(ApiError) as refused, alice.running(3):
            pass
        assert (refused.value.kind, refused.value.retry_after) == ("rate_limited", 1)
        with contextlib.suppress(KeyError), alice.running(2):
            assert alice.sequences == 5
            raise KeyError
        assert alice.sequences == 3
    assert alice.sequences == 0


def test_what_can_never_run_is_not_asked_to_come_back() -> None:
    alice = account(Hands(), concurrent_sequences=5)
    with pytest.raises(ApiError) as refused, alice.running(6):
        pass
    assert (refused.value.kind, refused.value.retry_after) == ("forbidden", None)


def test_without_limits_everything_is_counted_and_nothing_refused() -> None:
    alice = account(Hands())
    for _ in range(1000):
        alice.begin()
    alice.charge(10**9)
    with alice.running(10**6):
        assert (alice.requests, alice.tokens) == (1000, 10**9)


Steps = st.lists(
    st.tuples(st.floats(0, 500), st.integers(0, 300)), max_size=40
)  # seconds that pass, then what is wanted


@given(st.integers(1, 1000), Steps)
def test_no_window_ever_gives_more_than_a_minute_and_what_it_fills_up(
    per_minute: int, steps: list[tuple[float, int]]
) -> None:
    clock = Hands()
    bucket = Bucket(per_minute, clock)
    granted: list[tuple[float, int]] = []
    for seconds, amount in steps:
        clock.now += seconds
        if amount <= per_minute and bucket.wait(amount) == 0.0:
            bucket.take(amount)
            granted.append((clock.now, amount))
    for start, (begin, _) in enumerate(granted):
        total = 0
        for now, amount in granted[start:]:
            total += amount
            assert total <= per_minute * (1 + (now - begin) / 60) + 1e-3


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**7), max_size=10))
def test_waiting_as_long_as_told_is_enough_and_less_is_not(
    per_minute: int, charges: list[int]
) -> None:
    clock = Hands()
    bucket = Bucket(per_minute, clock)
    for tokens in charges:
        bucket.take(tokens)
    wait = bucket.wait()
    clock.now += wait * 0.99
    assert (bucket.wait() == 0.0) == (wait == 0.0)
    clock.now += wait * 0.01
    assert bucket.wait() < 1e-6


def test_a_socket_pays_for_its_first_question_at_the_door_and_for_each_later_one() -> None:
    alice = account(Hands(), requests_per_minute=2)
    alice.begin()
    visit = Visit(alice)
    visit.begin()
    assert alice.requests == 1
    visit.begin()
    assert alice.requests == 2
    with pytest.raises(ApiError):
        visit.begin()
