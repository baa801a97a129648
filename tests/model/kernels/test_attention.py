"""The compiled attention against float64, over batches that nobody would choose."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels.library import load_kernels
from tests.model.kernels.attention_batches import (
    Batch,
    Heads,
    Sequence,
    make_batch,
    reference,
    run,
    tokens_of,
)

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")

FAMILIES = {
    "gemma3": Heads(1, 4, 256, 32, 512, norm=True),
    "smollm2": Heads(3, 3, 64, 32),
    "qwen2": Heads(2, 7, 64, 32, bias=True),
}


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
        kept=draw(st.sampled_from(["float32", "bfloat16"])),
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
    (found, *written), (wanted, *kept) = run(batch), reference(batch)
    narrow = batch.heads.kept == "bfloat16"
    live, scale = batch.live, max(1.0, float(np.abs(wanted).max(initial=0)))
    tolerance = 3e-2 if narrow else 2e-5
    np.testing.assert_allclose(found[live], wanted[live], atol=tolerance * scale, rtol=0)
    for ours, theirs in zip(written, kept, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=2**-7 if narrow else 1e-5)


@settings(max_examples=40, deadline=None)
@given(batches())
def test_the_kernel_attends_as_float64_does(batch):
    check(batch)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
def test_a_step_of_each_family_attends_as_float64_does(family, kept):
    """Paths of one prompt at different lengths, a stranger, padding, and a chunk past a window."""
    paths = [Sequence(600 + 9 * i, 1, 0 if i else None, 590) for i in range(7)]
    sequences = (*paths, Sequence(5, 1), Sequence(0, 0), Sequence(530, 40))
    check(make_batch(replace(FAMILIES[family], kept=kept), sequences, (8,) * 8 + (56,) * 8))


def test_a_row_is_the_same_alone_in_a_batch_and_in_a_chunk_cut_anyhow():
    for kept in ("float32", "bfloat16"):
        heads = Heads(2, 3, 40, 8, 30, norm=True, kept=kept)
        sequences = (Sequence(44, 1), Sequence(45, 1, 0, 40), Sequence(20, 37), Sequence(3, 1))
        batch = make_batch(heads, sequences, (1, 7, 7, 20))
        together, k, v = run(batch)
        for token in np.flatnonzero(batch.live):
            # Its predecessors of this batch lie in the pages already.
            alone = replace(tokens_of(batch, [token]), k=k, v=v)
            assert (run(alone)[0][0] == together[token]).all()
        assert batch.live.sum() == 40


def test_a_batch_of_padding_writes_nothing():
    batch = make_batch(Heads(), (Sequence(5, 0),), (0,) * 5)
    _, k, v = run(batch)
    assert np.array_equal(k, batch.k, equal_nan=True)
    assert np.array_equal(v, batch.v, equal_nan=True)


def test_tokens_outside_the_table_are_padding():
    batch = make_batch(Heads(), (Sequence(5, 1), Sequence(5, 3)))
    wild = replace(batch, owner=np.array([7, 1, -1, 1], np.int32))
    wild.positions = np.array([5, 5, 6, 10**6], np.int32)
    found, k, v = run(wild)
    wanted, *kept = reference(tokens_of(batch, [1]))
    np.testing.assert_allclose(found[1], wanted[0], atol=2e-5)
    for ours, theirs in zip((k, v), kept, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
@pytest.mark.parametrize("poison", [np.inf, -np.inf, np.nan, 3.4028e38])
def test_an_overflow_ends_with_its_request(kept, poison):
    """Its pages go to another request, whose positions have not yet covered what it wrote."""
    heads = Heads(1, 2, 8, 4, kept=kept)
    batch = make_batch(heads, (Sequence(4, 4), Sequence(4, 1)))
    batch.qkv[2] = poison
    found, k, v = run(batch)
    wanted = reference(tokens_of(batch, [4]))[0]
    atol = 3e-2 if kept == "bfloat16" else 2e-5
    np.testing.assert_allclose(found[4], wanted[0], atol=atol)
    assert np.isfinite(k[1:]).all()
    assert np.isfinite(v[1:]).all()
    # The next owner has two of the page's positions.
    after = make_batch(heads, (Sequence(4, 2), Sequence(4, 1)))
    after.k, after.v = k, v
    np.testing.assert_allclose(run(after)[0], reference(after)[0], atol=atol)


def test_pages_that_are_not_donated_stay_as_they_were():
    batch = make_batch(Heads(), (Sequence(3, 1),))
    before = jnp.asarray(batch.k)
    batch.k = before
    _, k, _ = run(batch)
    assert np.array_equal(np.asarray(before), np.asarray(batch.k), equal_nan=True)
    assert not np.array_equal(k, np.asarray(before), equal_nan=True)
