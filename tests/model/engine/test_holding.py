"""Prefixes that are held: found by what begins alike, bounded, and never in the way of a finish."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import Abort, Extend, GroupStarted, PathRequest, PrefixHeld, Submit
from model.contract import SamplingParams as Sampling
from model.engine.holding import HeldPages
from model.engine.memory import least_pages
from tests.model.engine.doubles import VOCAB, Seen, drain, expected_tokens, group, make_engine

PAGE = 4
PROMPT = [i % 50 for i in range(30)]
CONTEXT = 40


def holding_engine(share: float = 1.0, capacities=(64, 64), windows=(None, 8), **more):
    engine, runner = make_engine(
        windows=windows, capacities=capacities, context=CONTEXT, prefill_chunk=6, **more
    )
    least = least_pages(windows, PAGE, 6, CONTEXT)
    engine.held = HeldPages.of(engine.scheduler.memory, least, share)
    return engine, runner


def hold(name: str, prompt=PROMPT, **more) -> Submit:
    return Submit(group=group(name, prompt, paths=0, open=True, hold=True, **more))


def run(engine, *commands) -> Seen:
    for command in commands:
        engine.handle(command)
    return Seen(drain(engine))


def held(seen: Seen) -> dict[str, int]:
    return {e.group_id: e.tokens for e in seen.events if isinstance(e, PrefixHeld)}


def cached(seen: Seen, name: str) -> int:
    (started,) = [e for e in seen.events if isinstance(e, GroupStarted) and e.group_id == name]
    return started.cached_tokens


def crowd_out(engine) -> None:
    """Fills the memory with other prompts until nothing idle is left of earlier ones."""
    for i in range(30):
        run(engine, Submit(group=group(f"crowd{i}", [51 + i % 9] * (20 + i % 9), max_tokens=3)))


@pytest.mark.parametrize("windows", [(None,), (None, 8), (None, 3), (8,)])
def test_a_prompt_that_goes_on_behind_a_held_prefix_finds_all_of_it(windows):
    capacities = (40,) * len(windows)
    engine, _ = holding_engine(windows=windows, capacities=capacities)
    assert held(run(engine, hold("h"))) == {"h": 28}
    crowd_out(engine)
    asked = group("a", [*PROMPT, 60, 61])
    seen = run(engine, Submit(group=asked))
    assert cached(seen, "a") == 28
    assert seen.tokens["a", 0] == expected_tokens(asked.prompt.token_ids(), asked.paths[0])


@pytest.mark.parametrize("again", [False, True])
def test_one_that_differs_in_the_last_held_page_finds_the_pages_before_it(again):
    engine, _ = holding_engine(windows=(None, 8), capacities=(40, 40))
    run(engine, hold("h"))
    if again:  # What is found there already keeps it as well.
        run(engine, hold("h2"))
        run(engine, Abort(group_id="h"))
    crowd_out(engine)
    seen = run(engine, Submit(group=group("a", [*PROMPT[:26], 60, 61, 62, 60])))
    assert cached(seen, "a") == 24


def test_without_a_hold_the_crowd_takes_the_pages():
    engine, _ = holding_engine(capacities=(40, 40))
    run(engine, hold("h"))
    run(engine, Abort(group_id="h"))
    crowd_out(engine)
    assert cached(run(engine, Submit(group=group("a", PROMPT))), "a") == 0


def test_a_released_hold_closes_and_gives_everything_back():
    engine, _ = holding_engine()
    run(engine, hold("h"))
    assert engine.scheduler.memory.used == engine.held.pages > 0
    assert len(engine.held) == 1
    seen = run(engine, Abort(group_id="h"))
    assert seen.closed == ["h"]
    assert (engine.scheduler.memory.used, engine.held.pages, len(engine.held)) == (0, 0, 0)


def test_a_hold_of_what_is_there_already_is_told_without_a_step():
    engine, _ = holding_engine()
    run(engine, Submit(group=group("a", PROMPT, max_tokens=1)))
    before = engine.prefill_tokens
    seen = run(engine, hold("h"))
    assert held(seen) == {"h": 28}
    assert cached(seen, "h") == 28
    assert engine.prefill_tokens == before


def test_a_prompt_shorter_than_a_page_is_held_with_nothing():
    engine, _ = holding_engine()
    assert held(run(engine, hold("h", PROMPT[:3]))) == {"h": 0}
    assert engine.scheduler.memory.used == 0


def test_holds_beyond_their_share_are_refused_and_those_that_share_pages_are_not():
    engine, _ = holding_engine(share=0.5, capacities=(40,), windows=(None,))
    run(engine, hold("a"), hold("b", [50] * 30))
    failed = run(engine, hold("c", [51] * 30)).failed["c"]
    assert failed.code == "capacity"
    assert "20 that may be held" in failed.message
    assert held(run(engine, hold("like a"))) == {"like a": 28}
    run(engine, Abort(group_id="b"))
    assert held(run(engine, hold("c", [51] * 30))) == {"c": 28}


def test_nothing_is_held_where_a_full_context_needs_all_there_is():
    least = least_pages((None, 8), PAGE, 6, CONTEXT)
    engine, _ = holding_engine(share=1.0, capacities=least)
    assert run(engine, hold("h")).failed["h"].code == "capacity"


def test_nothing_is_held_where_the_prefix_cache_is_off():
    engine, _ = holding_engine(reuse=False)
    assert "turned off" in run(engine, hold("h")).failed["h"].message


def test_a_hold_takes_no_paths():
    engine, _ = holding_engine()
    with_paths = group("g", PROMPT, paths=1, open=True, hold=True)
    assert run(engine, Submit(group=with_paths)).failed["g"].param == "hold"
    run(engine, hold("h"))
    late = PathRequest(index=0, sampling=Sampling(max_tokens=1))
    assert run(engine, Extend(group_id="h", paths=(late,))).failed["h"].param == "hold"
    assert engine.held.pages == engine.scheduler.memory.used == 0


def test_scopes_share_nothing_and_a_hold_serves_its_own():
    engine, _ = holding_engine()
    run(engine, hold("h", scope="one"))
    for scope, found in (("two", 0), ("", 0), ("one", 28)):
        name = f"in {scope}"
        seen = run(engine, Submit(group=group(name, PROMPT, paths=2, scope=scope)))
        assert cached(seen, name) == found


@st.composite
def workloads(draw):
    """Holds and groups whose prompts begin alike, in any order, some of them let go."""
    items = []
    for i in range(draw(st.integers(2, 7))):
        common = [1] * draw(st.integers(0, 20))
        own = draw(st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=8))
        is_hold = draw(st.booleans())
        paths = 0 if is_hold else draw(st.integers(1, 4))
        sampling = {"ignore_eos": True}
        scope = draw(st.sampled_from(["", "x"]))
        fields = {"open": True, "hold": True} if is_hold else {"sampling": sampling}
        tokens = draw(st.integers(1, CONTEXT - len(common) - len(own)))
        items.append(
            group(
                f"g{i}", common + own, paths=paths, max_tokens=tokens, seed=i, scope=scope, **fields
            )
        )
    return items, draw(st.lists(st.integers(0, 4), min_size=7, max_size=7))


@given(
    workload=workloads(),
    extra=st.tuples(st.integers(0, 20), st.integers(0, 12)),
    window=st.sampled_from([3, 4, 7, 9]),
    let_go=st.sets(st.integers(0, 6)),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_held_everything_else_finishes_with_its_own_tokens(
    workload, extra, window, let_go
):
    items, pauses = workload
    least = least_pages((None, window), PAGE, 6, CONTEXT)
    capacities = tuple(low + more for low, more in zip(least, extra, strict=True))
    engine, _ = holding_engine(windows=(None, window), capacities=capacities, max_rows=3)
    events = []
    for item, pause in zip(items, pauses, strict=False):
        engine.handle(Submit(group=item))
        for _ in range(pause):
            engine.step()
        events += engine.take_events()
    for index in let_go:
        if index < len(items) and items[index].hold:
            engine.handle(Abort(group_id=items[index].id))
    seen = Seen([*events, *drain(engine)])
    for item in items:
        if item.hold:
            assert item.id in seen.closed or item.id in seen.failed or item.id in held(seen)
        for path in item.paths:
            wanted = expected_tokens(item.prompt.token_ids(), path)
            assert seen.tokens[item.id, path.index] == wanted
    # What stays is what holds keep, and all of it can be found.
    assert engine.scheduler.memory.used == engine.held.pages
    for item in items:
        engine.handle(Abort(group_id=item.id))
    assert engine.scheduler.memory.used == engine.held.pages == 0
