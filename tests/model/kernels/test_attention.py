"""The compiled attention against the plain-JAX one, over shapes that nobody would choose."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels.library import load_kernels
from model.nn.decoder import LayerCache, _attend, _attend_compiled, _slots
from model.nn.ops import rope_tables
from model.nn.params import LayerParams
from model.spec import LayerSpec, ModelSpec, Rope

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")


@dataclass(frozen=True)
class Case:
    """starts: each row's first new position; counts: its new positions, the rest is padding."""

    kv_heads: int
    queries_per_kv: int
    head_dim: int
    page_size: int
    window: int | None
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    bfloat16: bool
    bias: bool
    norm: bool
    seed: int

    @property
    def width(self) -> int:
        return max(1, *self.counts)


@st.composite
def cases(draw) -> Case:
    rows = draw(st.integers(1, 5))
    longest = draw(st.sampled_from([1, 1, 7, 40]))
    return Case(
        kv_heads=draw(st.integers(1, 3)),
        queries_per_kv=draw(st.integers(1, 18)),
        head_dim=2 * draw(st.sampled_from([1, 4, 8, 12, 16, 20, 32, 33, 48, 128])),
        page_size=draw(st.sampled_from([1, 2, 4, 8, 16, 32])),
        window=draw(st.sampled_from([None, 1, 3, 8, 50])),
        starts=tuple(draw(st.integers(0, 90)) for _ in range(rows)),
        counts=tuple(draw(st.integers(0, longest)) for _ in range(rows)),
        bfloat16=draw(st.booleans()),
        bias=draw(st.booleans()),
        norm=draw(st.booleans()),
        seed=draw(st.integers(0, 2**20)),
    )


def run(case: Case) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Results of kernel and reference: mixed values, both pages. Then which rows are real."""
    rng = np.random.default_rng(case.seed)
    B, Q, S = len(case.starts), case.width, case.page_size
    G, R, K = case.kv_heads, case.queries_per_kv, case.head_dim
    dtype = jnp.dtype(jnp.bfloat16 if case.bfloat16 else jnp.float32)
    layer = LayerSpec(G * R, G, K, 8, Rope(10000.0), case.window)
    spec = ModelSpec("gemma3", 8, 8, 256, (layer,), attn_scale=K**-0.5)
    positions = np.full((B, Q), -1, np.int32)
    for row, (start, count) in enumerate(zip(case.starts, case.counts, strict=True)):
        positions[row, :count] = np.arange(start, start + count)
    W = int(positions.max(initial=0)) // S + 2
    table = (1 + rng.permutation(B * W)).reshape(B, W).astype(np.int32)
    # A page behind every window is given back: its entry is the null page.
    if case.window is not None:
        for row, start in enumerate(case.starts):
            table[row, : max(0, start - case.window + 1) // S] = 0

    def random(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    weights = LayerParams(
        *(jnp.zeros(0, dtype),) * 6,
        qkv_bias=random(G, R + 2, K) if case.bias else None,
        q_norm=random(K) if case.norm else None,
        k_norm=random(K) if case.norm else None,
    )
    old = [random(B * W + 1, G, S, K).astype(dtype) for _ in range(2)]
    if case.bfloat16:
        old = [jax.lax.bitcast_convert_type(x, jnp.uint16) for x in old]
    pages = LayerCache(*old)
    qkv = random(B, Q, G, R + 2, K)
    rope = rope_tables(layer.rope, K, jnp.asarray(positions))
    with jax.default_matmul_precision("highest"):
        wanted, kept = _attend(
            spec, layer, weights, pages, qkv, positions, rope, table, _slots(table, positions, S)
        )
    found, written = jax.jit(
        lambda pages: _attend_compiled(
            spec, layer, weights, pages, qkv, positions, rope, jnp.asarray(table), dtype
        ),
    )(pages)
    real = positions >= 0

    def widened(mixed: jax.Array, pages: LayerCache) -> list[np.ndarray]:
        stored = [jax.lax.bitcast_convert_type(x, dtype) if case.bfloat16 else x for x in pages]
        return [np.asarray(x, np.float32) for x in (mixed, *stored)]

    return widened(found, written), widened(wanted, kept), real


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_kernel_attends_as_the_reference_does(case):
    (found, *written), (wanted, *kept), real = run(case)
    tolerance = 3e-2 if case.bfloat16 else 2e-5
    scale = max(1.0, float(np.abs(wanted[real]).max(initial=0)))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[real], wanted[real], atol=tolerance * scale, rtol=0)
    # Page 0 is where the reference puts padding; nobody reads it.
    for ours, theirs in zip(written, kept, strict=True):
        step = 2**-7 if case.bfloat16 else 1e-5
        np.testing.assert_allclose(ours[1:], theirs[1:], atol=1e-5, rtol=step)


def test_pages_that_are_not_donated_stay_as_they_were():
    case = Case(1, 2, 8, 4, None, (3,), (1,), False, False, False, 0)
    pages = jnp.ones((4, 1, 4, 8))
    spec = ModelSpec("llama", 8, 8, 64, (LayerSpec(2, 1, 8, 8, Rope(1e4)),))
    weights = LayerParams(*(jnp.zeros(0),) * 6)
    positions = np.array([[3]], np.int32)
    rope = rope_tables(Rope(1e4), 8, jnp.asarray(positions))
    qkv = jnp.full((1, 1, 1, case.queries_per_kv + 2, 8), 2.0)
    _, written = jax.jit(
        lambda cache: _attend_compiled(
            spec, spec.layers[0], weights, cache, qkv, positions, rope, jnp.array([[2]]), qkv.dtype
        )
    )(LayerCache(pages, pages))
    assert (np.asarray(pages) == 1).all()
    assert (np.asarray(written.v)[2, 0, 3] == 2).all()
    assert (np.asarray(written.v) == 2).sum() == 8
