"""Pages of one request, found by the next that begins alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import Extend, GroupStarted, PathRequest, SamplingParams, Submit
from model.engine.pages import FIRST_KEY, NULL_PAGE, BlockTables, PagedMemory, page_key
from tests.model.engine.doubles import Seen, drain, expected_tokens, group, make_engine

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8]
PAGE = 4


def run(engine, *commands) -> Seen:
    for command in commands:
        engine.handle(command)
    return Seen(drain(engine))


def cached(seen: Seen, name: str) -> int:
    (started,) = [e for e in seen.events if isinstance(e, GroupStarted) and e.group_id == name]
    return started.cached_tokens


def test_a_prompt_that_begins_like_an_earlier_one_computes_only_what_differs():
    engine, _ = make_engine(windows=(None,), capacities=(64,))
    first = run(engine, Submit(group=group("a", PROMPT)))
    assert cached(first, "a") == 0
    before = engine.prefill_tokens
    asked = group("b", [*PROMPT[:13], 40, 41, 42])
    second = run(engine, Submit(group=asked))
    assert cached(second, "b") == 12
    assert engine.prefill_tokens - before == 16 - 1 - 12
    assert second.tokens["b", 0] == expected_tokens(asked.prompt.token_ids(), asked.paths[0])


def test_the_last_token_is_computed_even_when_every_page_is_there():
    engine, _ = make_engine(windows=(None,), capacities=(64,))
    prompt = PROMPT[:16]
    run(engine, Submit(group=group("a", prompt)))
    again = run(engine, Submit(group=group("b", prompt)))
    assert cached(again, "b") == 12


def test_an_answer_is_found_by_the_next_turn_of_its_conversation():
    engine, _ = make_engine(windows=(None, 8), capacities=(64, 64))
    asked = group("a", PROMPT[:5], max_tokens=14, sampling={"ignore_eos": True})
    answer = run(engine, Submit(group=asked)).tokens["a", 0]
    follow = [*PROMPT[:5], *answer, 7, 7]
    seen = run(engine, Submit(group=group("b", follow)))
    # The answer's last token was sampled and never read.
    assert cached(seen, "b") == (5 + 13) // PAGE * PAGE
    assert seen.tokens["b", 0] == expected_tokens(follow, group("b", follow).paths[0])


def test_scores_of_a_prompt_are_computed_though_its_pages_are_there():
    engine, _ = make_engine()
    run(engine, Submit(group=group("a", PROMPT)))
    before = engine.prefill_tokens
    seen = run(engine, Submit(group=group("b", PROMPT, prompt_logprobs=0)))
    assert cached(seen, "b") == 0
    assert engine.prefill_tokens - before == len(PROMPT) - 1


def test_a_preempted_path_finds_what_it_had_computed():
    engine, _ = make_engine(windows=(None,), capacities=(24,), max_rows=2, context=40)
    asked = group("g", PROMPT, paths=2, max_tokens=18, sampling={"ignore_eos": True})
    engine.handle(Submit(group=asked))
    for _ in range(12):
        engine.step()
    path = engine.scheduler.groups["g"].paths[1]
    computed = path.computed
    engine.scheduler._preempt(path)
    before = engine.prefill_tokens
    seen = Seen([*engine.take_events(), *drain(engine)])
    assert engine.prefill_tokens - before < PAGE
    assert computed > len(PROMPT)
    for request in asked.paths:
        assert seen.tokens["g", request.index] == expected_tokens(PROMPT, request)


def test_paths_with_a_suffix_seen_before_start_behind_it():
    engine, _ = make_engine(windows=(None,), capacities=(64,))
    suffix = (7, 8, 9, 10, 11, 12, 13, 14)
    engine.handle(Submit(group=group("g", PROMPT, paths=0, open=True)))
    one = PathRequest(index=0, suffix=suffix, sampling=SamplingParams(max_tokens=2, seed=1))
    run(engine, Extend(group_id="g", paths=(one,)))
    before = engine.prefill_tokens
    two = PathRequest(index=1, suffix=suffix, sampling=SamplingParams(max_tokens=2, seed=2))
    seen = run(engine, Extend(group_id="g", paths=(two,)))
    assert engine.prefill_tokens - before == (len(PROMPT) + 8 - 1) % PAGE
    assert seen.tokens["g", 1] == expected_tokens(PROMPT, two)


def test_room_is_taken_from_what_was_let_go_longest_ago():
    engine, _ = make_engine(windows=(None,), capacities=(12,), context=32)
    for name, token in (("a", 1), ("b", 2), ("c", 3)):
        run(engine, Submit(group=group(name, [token] * 17, max_tokens=1)))
    assert engine.scheduler.memory.pools[0].evictions > 0
    assert cached(run(engine, Submit(group=group("c2", [3] * 17, max_tokens=1))), "c2") == 16
    assert cached(run(engine, Submit(group=group("a2", [1] * 17, max_tokens=1))), "a2") < 16


def test_reuse_can_be_turned_off():
    engine, _ = make_engine(reuse=False)
    for name in "ab":
        assert cached(run(engine, Submit(group=group(name, PROMPT))), name) == 0


def keys_of(tokens: list[int]) -> list[bytes]:
    keys, before = [], FIRST_KEY
    for start in range(0, len(tokens) // PAGE * PAGE, PAGE):
        before = page_key(before, tokens[start : start + PAGE])
        keys.append(before)
    return keys


def test_a_key_says_everything_before_its_page():
    a, b = keys_of([1] * 8), keys_of([2] * 4 + [1] * 4)
    assert len({*a, *b}) == 4
    assert keys_of([1] * 8) == a


@given(
    window=st.integers(1, 14),
    length=st.integers(4, 40),
    lost=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_what_is_found_has_all_that_the_next_position_sees_and_nothing_longer_has(
    window, length, lost
):
    """Against the definition, tried for every length."""
    memory = PagedMemory.of(PAGE, (None, window), (16, 16))
    tables = BlockTables.empty(2)
    keys = keys_of(list(range(length)))
    memory.grow(tables, length)
    kept = [list(keys), list(keys)]
    for kind in (0, 1):
        for windowed, index in lost:
            if windowed == bool(kind) and index < len(keys) and keys[index] in kept[kind]:
                kept[kind].remove(keys[index])
    for kind, table in enumerate(tables.tables):
        for page, key in zip(table, keys, strict=False):
            if key in kept[kind]:
                memory.pools[kind].name(page, key)

    def works(pages: int) -> bool:
        at = pages * PAGE
        seen = {position // PAGE for position in range(max(0, at - window + 1), at)}
        return all(keys[i] in kept[0] for i in range(pages)) and all(
            keys[i] in kept[1] for i in seen
        )

    found = memory.find(keys)
    assert works(found)
    assert not any(works(longer) for longer in range(found + 1, len(keys) + 1))
    attached = memory.attach(keys[:found])
    assert attached.tables[0] == tables.tables[0][:found]
    for mine, theirs in zip(attached.tables[1], tables.tables[1], strict=False):
        assert mine in (theirs, NULL_PAGE)
    memory.release(attached)
    memory.release(tables)
    assert memory.used == 0


@pytest.mark.parametrize("busy_chunk", [0, 5])
def test_running_paths_keep_their_pace_while_a_long_prompt_is_read(busy_chunk):
    engine, runner = make_engine(windows=(None,), capacities=(64,), busy_chunk=busy_chunk)
    stream = group("s", [5], max_tokens=40, sampling={"ignore_eos": True})
    engine.handle(Submit(group=stream))
    for _ in range(4):
        engine.step()
    engine.handle(Submit(group=group("long", list(range(50)), max_tokens=1)))
    steps, before = engine.steps, engine.decode_tokens
    while engine.scheduler.groups["long"].trunk.pending > 1:
        engine.step()
    taken, made = engine.steps - steps, engine.decode_tokens - before
    assert made >= (taken if busy_chunk else taken // 2)
    assert (runner.mixed_steps > 0) == bool(busy_chunk)
    drain(engine)


def test_prompts_that_are_read_at_the_same_time_end_up_with_the_same_pages():
    engine, _ = make_engine(windows=(None,), capacities=(64,), max_rows=8, prompts=2)
    for name in "ab":
        asked = group(name, PROMPT, paths=2, max_tokens=9, sampling={"ignore_eos": True})
        engine.handle(Submit(group=asked))
    for _ in range(8):
        engine.step()
    a, b = (engine.scheduler.groups[name].trunk for name in "ab")
    full = (len(PROMPT) - 1) // PAGE
    assert a.computed == b.computed == len(PROMPT) - 1
    assert a.tables.tables[0][:full] == b.tables.tables[0][:full]
    seen = Seen([*engine.take_events(), *drain(engine)])
    assert seen.tokens["a", 1] == seen.tokens["b", 1]


def test_a_path_that_comes_back_holds_its_prompts_pages_and_no_others():
    """Else prompt and path could hold all pages between them and both want one more."""
    engine, _ = make_engine(
        windows=(None, 3), capacities=(13, 12), max_rows=1, prefill_chunk=6, busy_chunk=0
    )
    asked = [
        PathRequest(index=i, suffix=suffix, sampling=SamplingParams(max_tokens=m, seed=seed))
        for i, (m, seed, suffix) in enumerate(
            [(5, 0, ()), (9, 1, ()), (8, 0, (0,)), (11, 0, (0, 0)), (2, 0, ())]
        )
    ]
    prompt = [1] * 16 + [14, 2, 1, 0]
    first = group("first", prompt, paths=0, open=True)
    engine.handle(Submit(group=first))
    engine.handle(Extend(group_id="first", paths=tuple(asked)))
    late = tuple(
        PathRequest(index=i, suffix=suffix, sampling=SamplingParams(max_tokens=m, seed=0))
        for i, (m, suffix) in enumerate([(0, ()), (12, (0, 0))])
    )
    engine.handle(Submit(group=group("late", prompt, paths=0, open=True)))
    engine.handle(Extend(group_id="late", paths=late))
    seen = Seen(drain(engine))
    for name, paths in (("first", asked), ("late", late)):
        for path in paths:
            assert seen.tokens[name, path.index] == expected_tokens(prompt, path)
