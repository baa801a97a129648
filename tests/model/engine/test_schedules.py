"""Any schedule of submissions, extensions and aborts, with too few pages: nothing is lost,
nothing leaks, and every path is what it would be alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import Abort, Extend, Group, PathRequest, Prompt, SamplingParams, Submit
from tests.model.engine.doubles import (
    VOCAB,
    Seen,
    drain,
    expected_tokens,
    group,
    make_engine,
)

CONTEXT = 40


@st.composite
def path_requests(draw, index: int, prompt_length: int):
    suffix = draw(st.lists(st.integers(0, VOCAB - 2), max_size=3))
    room = CONTEXT - prompt_length - len(suffix)
    sampling = SamplingParams(
        max_tokens=draw(st.integers(0, min(12, room))),
        seed=draw(st.integers(0, 2**40)),
        ignore_eos=draw(st.booleans()),
    )
    return PathRequest(index=index, sampling=sampling, suffix=tuple(suffix))


@st.composite
def group_requests(draw, name: str):
    # Many begin alike, so that pages of one group are found by the next.
    common = [1] * draw(st.integers(0, 20))
    own = draw(st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=24 - len(common)))
    prompt = common + own
    count = draw(st.integers(0, 5))
    paths = tuple(draw(path_requests(i, len(prompt))) for i in range(count))
    late = tuple(
        draw(path_requests(count + i, len(prompt))) for i in range(draw(st.integers(0, 3)))
    )
    is_open = count == 0 or bool(late) or draw(st.booleans())
    scores = draw(st.sampled_from([None, None, 0]))
    request = Group(
        id=name,
        prompt=Prompt.of_tokens(prompt),
        paths=paths,
        open=is_open,
        prompt_logprobs=scores,
    )
    return request, late


@st.composite
def schedules(draw):
    groups = [draw(group_requests(f"g{i}")) for i in range(draw(st.integers(1, 5)))]
    steps = [draw(st.integers(0, 6)) for _ in range(3 * len(groups))]
    aborts = draw(
        st.lists(
            st.tuples(st.integers(0, len(groups) - 1), st.none() | st.integers(0, 4)), max_size=4
        )
    )
    return groups, steps, aborts


# From the least that plan_memory gives: a context of 40 needs 10 pages, a window of 9 needs 4.
memories = st.tuples(st.integers(13, 40), st.integers(12, 40), st.sampled_from([3, 4, 7, 9]))


steps = st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 5]), st.integers(1, 3))


@given(schedule=schedules(), memory=memories, step=steps)
@settings(max_examples=250, deadline=None)
def test_any_schedule_gives_every_path_its_own_tokens_and_all_pages_back(schedule, memory, step):
    groups, steps, aborts = schedule
    full, windowed, window = memory
    max_rows, busy_chunk, prompts = step
    engine, _ = make_engine(
        windows=(None, window),
        capacities=(full, windowed),
        max_rows=max_rows,
        prefill_chunk=6,
        busy_chunk=busy_chunk,
        prompts=prompts,
        context=CONTEXT,
    )
    pauses = iter(steps)
    events = []

    def advance():
        for _ in range(next(pauses, 0)):
            engine.step()
        events.extend(engine.take_events())

    aborted = set()
    for request, _ in groups:
        engine.handle(Submit(group=request))
        advance()
    for request, late in groups:
        if late:
            engine.handle(Extend(group_id=request.id, paths=late))
        advance()
    for index, path in aborts:
        name = groups[index][0].id
        aborted.add((name, path))
        engine.handle(Abort(group_id=name, paths=None if path is None else (path,)))
        advance()
    events.extend(drain(engine))
    for request, _ in groups:
        if request.open:
            engine.handle(Abort(group_id=request.id))
    events.extend(engine.take_events())

    seen = Seen(events)
    assert engine.scheduler.memory.used == 0
    assert not engine.scheduler.groups
    assert sorted(seen.closed) == sorted(request.id for request, _ in groups)
    assert not seen.failed
    for request, late in groups:
        prompt = request.prompt.token_ids()
        for path in (*request.paths, *late):
            key = (request.id, path.index)
            if key not in seen.finish:  # Its group was aborted before it was added.
                assert (request.id, None) in aborted
                continue
            tokens, wanted = seen.tokens[key], expected_tokens(prompt, path)
            if seen.finish[key].reason == "abort":
                assert tokens == wanted[: len(tokens)]
            else:
                assert tokens == wanted


def test_too_few_pages_for_everybody_means_waiting_not_deadlock():
    engine, _ = make_engine(
        windows=(None,), capacities=(12,), max_rows=8, prefill_chunk=8, context=40
    )
    for i in range(6):
        engine.handle(
            Submit(
                group=Group(
                    id=f"g{i}",
                    prompt=Prompt.of_tokens([i] * 16),
                    paths=tuple(
                        PathRequest(
                            index=p,
                            sampling=SamplingParams(max_tokens=20, seed=p, ignore_eos=True),
                        )
                        for p in range(3)
                    ),
                )
            )
        )
    seen = Seen(drain(engine))
    assert len(seen.closed) == 6
    assert engine.scheduler.preemptions > 0
    assert all(len(tokens) == 20 for tokens in seen.tokens.values())


def test_prompts_that_nobody_runs_give_way_to_a_path_that_needs_one_page_to_start():
    """Three idle prompts and a fourth fill the memory to its last page."""
    engine, _ = make_engine(windows=(None,), capacities=(12,), max_rows=4, context=16)
    for i in range(3):
        idle = group(f"idle{i}", [i] * 10, paths=1, max_tokens=1, open=True)
        engine.handle(Submit(group=idle))
    drain(engine)
    engine.handle(Submit(group=group("asks", [5] * 10, paths=2, max_tokens=3)))
    seen = Seen(drain(engine))
    assert seen.closed == ["asks"]
    late = PathRequest(index=1, sampling=SamplingParams(max_tokens=2, seed=9))
    engine.handle(Extend(group_id="idle2", paths=(late,)))
    seen = Seen(drain(engine))
    assert seen.tokens["idle2", 1] == expected_tokens([2] * 10, late)


def test_rows_whose_paths_wait_for_pages_go_to_the_older_group_that_holds_them():
    """Two young paths of one token have rows and no pages, an old prompt has pages and no row."""
    engine, _ = make_engine(windows=(None,), capacities=(8,), max_rows=3, context=24)
    endless = {"ignore_eos": True}
    old = group("old", [0] * 22, paths=2, max_tokens=2, sampling=endless)
    young = group("young", [1], paths=2, max_tokens=14, sampling=endless)
    engine.handle(Submit(group=old))
    engine.step()
    engine.handle(Submit(group=young))
    seen = Seen(drain(engine))
    assert sorted(seen.closed) == ["old", "young"]
    for request in (old, young):
        for path in request.paths:
            tokens = seen.tokens[request.id, path.index]
            assert tokens == expected_tokens(request.prompt.token_ids(), path)
