"""The compiled attention against float64, over batches that nobody would choose."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels import ops
from model.kernels.library import load_kernels
from tests.model.kernels.attention_batches import (
    Batch,
    Heads,
    Sequence,
    make_batch,
    reference,
    restored,
    run,
    stored,
    tokens_of,
)

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")

FAMILIES = {
    "gemma3": Heads(1, 4, 256, 32, 512, norm=True),
    "smollm2": Heads(3, 3, 64, 32),
    "qwen2": Heads(2, 7, 64, 32, bias=True),
}
KEPT = ("float32", "bfloat16", "int8")


@st.composite
def any_heads(draw) -> Heads:
    return Heads(
        kv_heads=draw(st.integers(1, 3)),
        queries_per_kv=draw(st.integers(1, 18)),
        head_dim=2 * draw(st.sampled_from([1, 4, 8, 12, 16, 20, 32, 33, 48, 128])),
        page_size=draw(st.sampled_from([1, 2, 3, 4, 8, 15, 16, 32, 33])),
        window=draw(st.sampled_from([None, 1, 3, 8, 50])),
        bias=draw(st.booleans()),
        norm=draw(st.booleans()),
        kept=draw(st.sampled_from(KEPT)),
    )


@st.composite
def batches(draw) -> Batch:
    heads = draw(st.one_of(any_heads(), st.sampled_from(list(FAMILIES.values()))))
    sequences: list[Sequence] = []
    for index in range(draw(st.integers(1, 8))):
        past = draw(st.integers(0, 90))
        shares = draw(st.integers(0, index - 1)) if index and draw(st.booleans()) else None
        new = draw(st.sampled_from([0, 1, 1, 1, 2, 7, 40]))
        sequences.append(Sequence(past, new, shares, draw(st.integers(0, 90))))
    count = sum(s.new for s in sequences)
    holes = draw(st.lists(st.integers(0, count), max_size=20))
    return make_batch(heads, tuple(sequences), tuple(holes), draw(st.integers(0, 2**20)))


def check(batch: Batch) -> None:
    (found, written), (wanted, pages) = run(batch), reference(batch)
    kept, live = batch.heads.kept, batch.live
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    # Bytes: a level more or less where float32 and float64 round to different ones.
    tolerance = {"float32": 2e-5, "bfloat16": 3e-2, "int8": 5e-3}[kept] * scale
    np.testing.assert_allclose(found[live], wanted[live], atol=tolerance, rtol=0)
    if kept == "int8":
        for ours, theirs in zip(written[:2], pages[:2], strict=True):
            different = ours.astype(int) - theirs
            assert np.abs(different[1:]).max() <= 1
            assert (different[1:] != 0).mean() < 1e-2
        for ours, theirs in zip(written[2:], pages[2:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        return
    step = 2**-7 if kept == "bfloat16" else 1e-5
    for ours, theirs in zip(restored(kept, written), restored(kept, pages), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=step)


@settings(max_examples=40, deadline=None)
@given(batches())
def test_the_kernel_attends_as_float64_does(batch):
    check(batch)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kept", KEPT)
def test_a_step_of_each_family_attends_as_float64_does(family, kept):
    """Paths of one prompt at different lengths, a stranger, padding, and a chunk past a window."""
    paths = [Sequence(600 + 9 * i, 1, 0 if i else None, 590) for i in range(7)]
    sequences = (*paths, Sequence(5, 1), Sequence(0, 0), Sequence(530, 40))
    check(make_batch(replace(FAMILIES[family], kept=kept), sequences, (8,) * 8 + (56,) * 8))


@pytest.mark.parametrize("kept", KEPT)
def test_a_row_is_the_same_alone_in_a_batch_and_in_a_chunk_cut_anyhow(kept):
    heads = Heads(2, 3, 40, 8, 30, norm=True, kept=kept)
    sequences = (Sequence(44, 1), Sequence(45, 1, 0, 40), Sequence(20, 37), Sequence(3, 1))
    batch = make_batch(heads, sequences, (1, 7, 7, 20))
    together, pages = run(batch)
    for token in np.flatnonzero(batch.live):
        # Its predecessors of this batch lie in the pages already.
        alone, same = run(replace(tokens_of(batch, [token]), pages=pages))
        assert (alone[0] == together[token]).all()
        assert_same(same, pages)
    assert batch.live.sum() == 40


@pytest.mark.parametrize("kept", KEPT)
def test_a_row_is_the_same_beside_paths_that_share_its_pages_and_past_several_parts(kept):
    heads = Heads(1, 3, 16, 16, None, kept=kept)
    paths = [Sequence(2100 + 7 * i, 1, 0 if i else None, 1500) for i in range(9)]
    batch = make_batch(heads, (*paths, Sequence(4000, 1), Sequence(5, 1)))
    together, _ = run(batch)
    for token in range(len(batch.positions)):
        assert (run(tokens_of(batch, [token]))[0][0] == together[token]).all()
    check(batch)


ONE_CPU = """
import os, sys, pickle
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from model.kernels.library import load_kernels
from tests.model.kernels.attention_batches import run
load_kernels()
sys.stdout.buffer.write(pickle.dumps(run(pickle.load(sys.stdin.buffer))[0]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no process")
def test_a_long_row_is_the_same_with_one_thread():
    batch = make_batch(Heads(1, 2, 16, 16, kept="bfloat16"), (Sequence(5000, 1), Sequence(9, 1)))
    alone = subprocess.run(
        [sys.executable, "-c", ONE_CPU], input=pickle.dumps(batch), stdout=-1, check=True
    )
    assert np.array_equal(pickle.loads(alone.stdout), run(batch)[0])


def test_a_batch_of_padding_writes_nothing():
    batch = make_batch(Heads(), (Sequence(5, 0),), (0,) * 5)
    assert_same(run(batch)[1], batch.pages)


def test_tokens_outside_the_table_are_padding():
    batch = make_batch(Heads(), (Sequence(5, 1), Sequence(5, 3)))
    wild = replace(batch, owner=np.array([7, 1, -1, 1], np.int32))
    wild.positions = np.array([5, 5, 6, 10**6], np.int32)
    found, pages = run(wild)
    wanted, kept = reference(tokens_of(batch, [1]))
    np.testing.assert_allclose(found[1], wanted[0], atol=2e-5)
    for ours, theirs in zip(pages, kept, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_pages_outside_the_pool_are_the_null_page():
    batch = make_batch(Heads(), (Sequence(5, 1), Sequence(5, 3)))
    batch.table[0] = (10**6, -7, 4)
    found, pages = run(batch)
    wanted, _ = reference(tokens_of(batch, [1, 2, 3]))
    np.testing.assert_allclose(found[1:], wanted, atol=2e-5)
    assert np.isnan(pages[0][0]).all()


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("poison", [np.inf, -np.inf, np.nan, 3.4028e38])
def test_an_overflow_ends_with_its_request(kept, poison):
    """Its pages go to another request, whose positions have not yet covered what it wrote."""
    heads = Heads(1, 2, 8, 4, kept=kept)
    batch = make_batch(heads, (Sequence(4, 4), Sequence(4, 1)))
    batch.qkv[2] = poison
    found, pages = run(batch)
    wanted = reference(tokens_of(batch, [4]))[0]
    atol = 2e-5 if kept == "float32" else 3e-2
    np.testing.assert_allclose(found[4], wanted[0], atol=atol)
    for array in restored(kept, pages):
        assert np.isfinite(array[1:]).all()
    # The next owner has two of the page's positions.
    after = replace(make_batch(heads, (Sequence(4, 2), Sequence(4, 1))), pages=pages)
    np.testing.assert_allclose(run(after)[0], reference(after)[0], atol=atol)


def test_pages_that_are_not_donated_stay_as_they_were():
    batch = make_batch(Heads(), (Sequence(3, 1),))
    given = tuple(jnp.asarray(x) for x in batch.pages)
    _, written = run(replace(batch, pages=given))
    assert_same(given, batch.pages)
    assert not np.array_equal(written[0], given[0], equal_nan=True)


@pytest.mark.parametrize("kept", KEPT)
def test_donated_pages_are_updated_where_they_lie(kept):
    batch = make_batch(Heads(kept=kept), (Sequence(3, 1),))
    given = [jnp.array(x) for x in batch.pages]
    where = [x.unsafe_buffer_pointer() for x in given]
    step = jax.jit(
        lambda pages: ops.attention(
            batch.qkv,
            pages,
            batch.rope,
            batch.table,
            batch.owner,
            batch.positions,
            bias=None,
            norms=None,
            scale=1.0,
            eps=0.0,
            window=None,
            dtype=jnp.dtype(jnp.float32),
        ),
        donate_argnums=(0,),
    )
    _, *written = step(given)
    assert [x.unsafe_buffer_pointer() for x in written] == where


def test_bytes_lose_little_of_what_float_keeps():
    """Of real sizes; the error is a fraction of the values' spread."""
    heads = Heads(1, 4, 256, 32, norm=True)
    sequences = tuple(Sequence(300, 1) for _ in range(8))
    batch = make_batch(heads, sequences, seed=3)
    exact = reference(batch)[0]
    values = restored("float32", batch.pages)
    found = run(replace(batch, heads=replace(heads, kept="int8"), pages=stored("int8", *values)))[0]
    assert np.abs(found - exact).max() < 0.06 * exact.std()
    assert np.sqrt(((found - exact) ** 2).mean()) < 0.01 * exact.std()


def assert_same(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
