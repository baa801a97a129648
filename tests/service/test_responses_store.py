"""What is kept of responses: bounds that always hold, owners kept apart, time that runs out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.openai.responses.conversation import Message, new_id
from service.api.openai.responses.store import (
    LIFETIME_S,
    MAX_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_RESPONSES,
    Kept,
    ResponseStore,
)
from tests.service.test_docs import API, section


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(size: int = 10, owner: str | None = None) -> Kept:
    return Kept(
        owner=owner,
        body=b"x" * size,
        items=(Message(role="user", texts=("question",)),),
        output=(Message(role="assistant", texts=("answer",)),),
        logprobs=False,
    )


OVERHEAD = kept(0).size


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    store = ResponseStore(max_responses=2)
    for name in "abc":
        assert store.keep(name, kept())
    assert [store.get(name, None) is not None for name in "abc"] == [False, True, True]


def test_the_oldest_go_first_when_they_are_too_large() -> None:
    store = ResponseStore(max_bytes=3 * OVERHEAD)
    for name in "abc":
        store.keep(name, kept(OVERHEAD // 2))
    assert [store.get(name, None) is not None for name in "abc"] == [False, True, True]


def test_one_that_is_too_large_is_not_kept_and_costs_no_other() -> None:
    store = ResponseStore(max_response_bytes=OVERHEAD + 100)
    store.keep("a", kept(100))
    assert not store.keep("b", kept(101))
    assert store.get("a", None) is not None
    assert store.get("b", None) is None


def test_time_runs_out_for_each_by_itself() -> None:
    clock = Clock()
    store = ResponseStore(lifetime=10, clock=clock)
    store.keep("a", kept())
    clock.now = 6
    store.keep("b", kept())
    clock.now = 10.5
    assert store.get("a", None) is None
    assert store.get("b", None) is not None
    clock.now = 17
    assert not store.delete("b", None)
    assert (len(store), store.bytes) == (0, 0)


def test_an_owner_sees_and_deletes_only_its_own() -> None:
    store = ResponseStore()
    store.keep("a", kept(owner="ann"))
    for other in ("bob", None):
        assert store.get("a", other) is None
        assert not store.delete("a", other)
    assert store.get("a", "ann") is not None
    assert store.delete("a", "ann")
    assert store.get("a", "ann") is None


def test_the_size_of_an_entry_grows_with_all_that_it_holds() -> None:
    grown = Kept(
        owner=None,
        body=b"x" * 10,
        items=(Message(role="user", texts=("ä" * 1000, "b" * 1000)),),
        output=(Message(role="assistant", texts=("c" * 1000,)),),
        logprobs=False,
    )
    assert grown.size >= kept().size + 2900


STEP = st.one_of(
    st.tuples(st.just("keep"), st.integers(0, 9), st.integers(0, 2000)),
    st.tuples(st.just("delete"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 6), st.just(0)),
)


@given(st.lists(STEP, max_size=40))
def test_the_bounds_hold_whatever_happens(steps) -> None:
    clock = Clock()
    bound = 4 * OVERHEAD + 2000
    store = ResponseStore(max_responses=5, max_bytes=bound, lifetime=10, clock=clock)
    model: dict[str, tuple[float, int]] = {}  # what was kept and not deleted
    for turn, (kind, number, size) in enumerate(steps):
        name = f"{number}-{turn}" if kind == "keep" else ""
        if kind == "keep":
            if store.keep(name, kept(size)):
                model[name] = (clock.now, OVERHEAD + size)
        elif kind == "delete" and model:
            name = sorted(model)[number % len(model)]
            store.delete(name, None)
            del model[name]
        elif kind == "wait":
            clock.now += number
        alive = {name for name in model if store.get(name, None) is not None}
        assert len(store) == len(alive) <= 5
        assert store.bytes == sum(model[name][1] for name in alive) <= bound
        assert all(model[name][0] >= clock.now - 10 for name in alive)


@pytest.mark.parametrize("prefix", ["resp", "msg"])
def test_ids_are_unguessable(prefix: str) -> None:
    ids = {new_id(prefix) for _ in range(100)}
    assert len(ids) == 100
    assert all(len(name) == len(prefix) + 49 for name in ids)


def test_the_bounds_are_documented() -> None:
    text = section(API, "Responses")
    mebi = 1024 * 1024
    for bound in (
        f"{MAX_RESPONSES:,}",
        f"{MAX_BYTES // mebi} MiB",
        f"{MAX_RESPONSE_BYTES // mebi} MiB",
    ):
        assert bound in text
    assert LIFETIME_S == 24 * 3600
    assert "for a day" in text
