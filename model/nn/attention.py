"""Attention over paged KV: the plain-JAX reference, portable and the oracle for kernels.

Pages are visited a block at a time with a running softmax, from the first block that any row
sees to the last one. The number of blocks is a value, not a shape: one program serves every
context length, and costs what the longest row in the batch needs.
"""

import jax
import jax.numpy as jnp
from jax import lax

BLOCK_TOKENS = 128
_MASKED = -1e30

_Running = tuple[jax.Array, jax.Array, jax.Array]
"""Of a running softmax: highest score, sum of weights, weighted sum of values."""


def storage_dtype(dtype: jnp.dtype, platform: str) -> jnp.dtype:
    """How KV is kept. XLA's CPU scatter widens a whole bfloat16 buffer to float32 and back
    (19 ms for 25 MB against 10 us), so there the same bits are kept as uint16."""
    if platform == "cpu" and dtype == jnp.bfloat16:
        return jnp.dtype(jnp.uint16)
    return jnp.dtype(dtype)


def to_storage(x: jax.Array, storage: jnp.dtype) -> jax.Array:
    return x if x.dtype == storage else lax.bitcast_convert_type(x, storage)


def from_storage(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return x if x.dtype == dtype else lax.bitcast_convert_type(x, dtype)


def write_pages(
    pages: jax.Array, values: jax.Array, slots: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """Stores values[B, Q, G, K] at slots (page[B, Q], offset[B, Q]) of pages[P, S, G, K]."""
    page, offset = slots
    stored = to_storage(values, pages.dtype)
    return pages.at[page, offset].set(stored, mode="promise_in_bounds")


def paged_attention(
    q: jax.Array,
    k_pages: jax.Array,
    v_pages: jax.Array,
    table: jax.Array,
    positions: jax.Array,
    *,
    scale: float,
    window: int | None,
) -> jax.Array:
    """Causal attention of queries whose own keys are already in the pages.

    q: [B, Q, N, K]. k_pages, v_pages: [P, S, G, K] as stored. table: [B, W] page of each block of
    S positions. positions: [B, Q] int32, -1 for padding (its result is finite and meaningless).
    window: positions seen, the query's own included. Returns [B, Q, N, K] in q's dtype.
    """
    B, Q, N, K = q.shape
    _, S, G, _ = k_pages.shape
    per_block = max(1, min(BLOCK_TOKENS // S, table.shape[1]))
    span = per_block * S
    blocks = -(-table.shape[1] // per_block)
    table = jnp.pad(table, ((0, 0), (0, blocks * per_block - table.shape[1])))
    queries = (q.reshape(B, Q, G, N // G, K) * scale).astype(q.dtype)

    last = jnp.maximum(jnp.max(positions), 0)
    first = jnp.int32(0)
    if window is not None:
        lowest = jnp.min(jnp.where(positions < 0, last, positions))
        first = jnp.maximum(lowest - window + 1, 0) // span

    def visit(block: jax.Array, carry: _Running) -> _Running:
        peak, total, mixed = carry
        pages = lax.dynamic_slice(table, (0, block * per_block), (B, per_block))
        keys = from_storage(k_pages[pages], q.dtype).reshape(B, span, G, K)
        values = from_storage(v_pages[pages], q.dtype).reshape(B, span, G, K)
        scores = jnp.einsum("BQGRK,BSGK->BGRQS", queries, keys, preferred_element_type=jnp.float32)
        at = block * span + jnp.arange(span, dtype=jnp.int32)
        seen = at[None, None] <= positions[..., None]
        if window is not None:
            seen &= at[None, None] > positions[..., None] - window
        scores = jnp.where(seen[:, None, None], scores, _MASKED)
        new_peak = jnp.maximum(peak, scores.max(axis=-1))
        weights = jnp.exp(scores - new_peak[..., None])
        # A block that a row does not see at all must not count, whatever its peak was.
        weights = jnp.where(seen[:, None, None], weights, 0.0)
        fade = jnp.exp(peak - new_peak)
        update = jnp.einsum(
            "BGRQS,BSGK->BGRQK",
            weights.astype(q.dtype),
            values,
            preferred_element_type=jnp.float32,
        )
        return (
            new_peak,
            total * fade + weights.sum(axis=-1),
            mixed * fade[..., None] + update,
        )

    shape = (B, G, N // G, Q)
    start = (
        jnp.full(shape, _MASKED, jnp.float32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros((*shape, K), jnp.float32),
    )
    _, total, mixed = lax.fori_loop(first, last // span + 1, visit, start)
    out = mixed / jnp.maximum(total, 1e-30)[..., None]
    return out.transpose(0, 3, 1, 2, 4).reshape(B, Q, N, K).astype(q.dtype)
