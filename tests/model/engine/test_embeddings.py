"""Embeddings through the engine: what is summed up, in which steps, beside whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import (
    Abort,
    GroupClosed,
    GroupStarted,
    PathRequest,
    PromptEmbedded,
    SamplingParams,
    Submit,
)
from model.engine.hidden import HiddenSum
from model.nn.blocks import QUERY_BLOCK
from tests.model.engine.doubles import (
    Seen,
    drain,
    expected_tokens,
    group,
    hidden_state,
    make_engine,
)


def embedding(name: str, prompt, **fields):
    return group(name, prompt, paths=0, embed=True, **fields)


def expected(prompt) -> list[float]:
    states = [hidden_state(prompt[: at + 1]) for at in range(len(prompt))]
    return np.mean(np.array(states), axis=0).astype(np.float32).tolist()


def embedded(events) -> dict[str, list[float]]:
    found = {}
    for event in events:
        if isinstance(event, PromptEmbedded):
            assert event.group_id not in found, "told twice"
            found[event.group_id] = np.frombuffer(event.values, "<f4").tolist()
    return found


def prompt_of(length: int, first: int = 0) -> list[int]:
    return [(first + 7 * at) % 60 for at in range(length)]


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 40, 64])
def test_every_position_counts_the_last_one_too(length):
    engine, _ = make_engine(prefill_chunk=16)
    engine.handle(Submit(group=embedding("e", prompt_of(length))))
    events = drain(engine)
    assert embedded(events) == {"e": pytest.approx(expected(prompt_of(length)))}
    assert [type(event) for event in events] == [GroupStarted, PromptEmbedded, GroupClosed]
    assert events[0].prompt_tokens == length
    assert engine.scheduler.memory.used == 0
    assert not engine.scheduler.groups


def test_short_prompts_share_steps():
    engine, runner = make_engine(prefill_chunk=64, pooled_prompts=3)
    for name in "abcdefg":
        engine.handle(Submit(group=embedding(name, prompt_of(5, ord(name)))))
    found = embedded(drain(engine))
    assert runner.pooled == [[5, 5, 5], [5, 5, 5], [5]]
    assert found == {name: pytest.approx(expected(prompt_of(5, ord(name)))) for name in "abcdefg"}


def test_an_embedding_neither_takes_nor_leaves_pages_of_the_prefix_cache():
    engine, runner = make_engine(prefill_chunk=16)
    prompt = prompt_of(32)
    engine.handle(Submit(group=group("first", prompt)))
    drain(engine)
    engine.handle(Submit(group=embedding("e", prompt)))
    (started,) = [e for e in drain(engine) if isinstance(e, GroupStarted)]
    assert started.cached_tokens == 0
    assert runner.pooled == [[16], [16]]
    other = prompt_of(32, 3)
    engine.handle(Submit(group=embedding("other", other)))
    drain(engine)
    engine.handle(Submit(group=group("after", other)))
    (started,) = [e for e in drain(engine) if isinstance(e, GroupStarted)]
    assert started.cached_tokens == 0


def test_pooled_steps_and_decode_steps_take_turns():
    engine, runner = make_engine(prefill_chunk=64, busy_chunk=16)
    engine.handle(Submit(group=group("long", prompt_of(4), max_tokens=30, sampling=UNENDING)))
    while not engine.decode_tokens:
        engine.step()
    before = engine.decode_tokens
    for name in "abc":
        engine.handle(Submit(group=embedding(name, prompt_of(32))))
    while len(runner.pooled) < 6:
        engine.step()
    # No more than a decode step's share of prompt tokens in each, and one decode step for each.
    assert all(sum(counts) <= 16 for counts in runner.pooled)
    assert engine.decode_tokens - before >= 5
    found = Seen(drain(engine))
    assert len(found.tokens["long", 0]) == 30


UNENDING = {"ignore_eos": True}


def test_an_abort_ends_an_embedding_and_frees_its_pages():
    engine, _ = make_engine(prefill_chunk=16)
    engine.handle(Submit(group=embedding("e", prompt_of(60))))
    engine.step()
    engine.step()
    assert engine.scheduler.memory.used > 0
    engine.handle(Abort(group_id="e"))
    events = drain(engine)
    assert not embedded(events)
    assert isinstance(events[-1], GroupClosed)
    assert engine.scheduler.memory.used == 0


def test_embeddings_take_places_in_the_queue():
    engine, _ = make_engine(queue=2)
    for name in "abc":
        engine.handle(Submit(group=embedding(name, prompt_of(5))))
    assert engine.scheduler.waiting_count == 2
    events = drain(engine)
    assert Seen(events).failed["c"].code == "capacity"
    assert set(embedded(events)) == {"a", "b"}


def test_an_embedding_with_paths_is_refused():
    path = PathRequest(index=0, sampling=SamplingParams(max_tokens=1))
    engine, _ = make_engine()
    asked = embedding("e", prompt_of(3))
    for name, fields in {
        "paths": {"paths": (path,)},
        "open": {"open": True},
        "scores": {"prompt_logprobs": 0},
    }.items():
        changed = type(asked)(
            **{"id": name, "prompt": asked.prompt, "paths": (), "embed": True, **fields}
        )
        engine.handle(Submit(group=changed))
    failed = Seen(drain(engine)).failed
    assert {name: failure.param for name, failure in failed.items()} == {
        "paths": "embed",
        "open": "embed",
        "scores": "embed",
    }


@st.composite
def _mixtures(draw):
    """Groups in order, each with how many steps run before it comes."""
    lengths = st.integers(1, 60)
    kinds = st.tuples(st.booleans(), lengths, st.integers(1, 3), st.integers(0, 4))
    return draw(st.lists(kinds, min_size=1, max_size=8))


@given(
    groups=_mixtures(),
    # A longest path, and the page that it forked from.
    pages=st.integers(18, 40),
    chunk=st.sampled_from([16, 32, 64]),
    busy_chunk=st.sampled_from([0, 16, 32]),
    windows=st.sampled_from([(None,), (None, 8)]),
    aborted=st.sets(st.integers(0, 7), max_size=2),
)
def test_any_mixture_in_few_pages_comes_to_its_end(
    groups, pages, chunk, busy_chunk, windows, aborted
):
    """Preemption, chunks and neighbours change neither a mean nor a path's tokens."""
    engine, _ = make_engine(
        windows=windows,
        capacities=(pages,) * len(windows),
        prefill_chunk=chunk,
        busy_chunk=busy_chunk,
        context=68,
    )
    wanted, paths, events = {}, {}, []
    for at, (embeds, length, count, steps) in enumerate(groups):
        prompt = prompt_of(length, at % 3)
        if embeds:
            engine.handle(Submit(group=embedding(str(at), prompt)))
            wanted[str(at)] = expected(prompt)
        else:
            asked = group(str(at), prompt, paths=count, max_tokens=8)
            engine.handle(Submit(group=asked))
            paths |= {(str(at), p.index): expected_tokens(prompt, p) for p in asked.paths}
        for _ in range(steps):
            engine.step()
        events += engine.take_events()
    ended = {str(at) for at in aborted if at < len(groups)}
    for name in ended:
        engine.handle(Abort(group_id=name))
    events += drain(engine)
    found, seen = embedded(events), Seen(events)
    assert not seen.failed
    assert set(seen.closed) == {str(at) for at in range(len(groups))}
    for name, values in wanted.items():
        if name not in ended:
            assert found[name] == pytest.approx(values)
    for (name, index), tokens in paths.items():
        if name not in ended:
            assert seen.tokens[name, index] == tokens
    assert engine.scheduler.memory.used == 0


@given(
    length=st.integers(1, 200),
    cuts=st.lists(st.integers(1, 12), max_size=12),
    again=st.integers(0, 12),
    seed=st.integers(0, 2**16),
)
def test_a_mean_is_the_same_bit_for_bit_however_it_is_cut(length, cuts, again, seed):
    states = np.random.default_rng(seed).normal(size=(length, 3)).astype(np.float32)
    blocks = np.add.reduceat(states, np.arange(0, length, QUERY_BLOCK), axis=0)

    def mean(cuts: list[int]) -> bytes:
        total, start = HiddenSum(), 0
        for cut in [*cuts, length]:
            # A preempted prompt is read again from its beginning.
            if again and cut == again:
                start = 0
            count = min(cut * QUERY_BLOCK, length - start)
            first = start // QUERY_BLOCK
            if count > 0:
                total.add(start, count, blocks[first : first + -(-count // QUERY_BLOCK)])
            start += count
        assert total.count == length
        return total.mean()

    assert mean(cuts) == mean([])
    assert np.frombuffer(mean(cuts), "<f4") == pytest.approx(states.mean(axis=0), abs=1e-5)
