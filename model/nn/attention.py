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
    """Stores values[B, Q, G, K] at slots (page[B, Q], offset[B, Q]) of pages[P, G, S, K]."""
    page, offset = slots
    # Pages pass from one request to another, and an overflow in one must end with it: what a
    # query does not see has weight 0, but 0 times infinity is not 0.
    stored = to_storage(jnp.nan_to_num(values), pages.dtype)
    return pages.at[page, :, offset].set(stored, mode="promise_in_bounds")


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

    q: [B, Q, N, K]. k_pages, v_pages: [P, G, S, K] as stored (a head's
    positions lie together: its products need no transposition). table: [B, W] page of each block of
    S positions. positions: [B, Q] int32, -1 for padding (its result is finite and meaningless).
    window: positions seen, the query's own included. Returns [B, Q, N, K] in q's dtype.
    """
    B, Q, N, K = q.shape
    _, G, S, _ = k_pages.shape
    R = N // G
    per_block = max(1, min(BLOCK_TOKENS // S, table.shape[1]))
    span = per_block * S
    blocks = -(-table.shape[1] // per_block)
    table = jnp.pad(table, ((0, 0), (0, blocks * per_block - table.shape[1])))
    queries = (q.reshape(B, Q, G, R, K) * scale).astype(q.dtype)
    queries = queries.transpose(0, 2, 3, 1, 4).reshape(B, G, R * Q, K)

    last = jnp.maximum(jnp.max(positions), 0)
    first = jnp.int32(0)
    if window is not None:
        lowest = jnp.min(jnp.where(positions < 0, last, positions))
        first = jnp.maximum(lowest - window + 1, 0) // span

    def visit(block: jax.Array, carry: _Running) -> _Running:
        peak, total, mixed = carry
        ids = lax.dynamic_slice(table, (0, block * per_block), (B, per_block))
        keys = _gather(k_pages, ids, q.dtype)
        values = _gather(v_pages, ids, q.dtype)
        scores = jnp.einsum("BGMK,BGSK->BGMS", queries, keys, preferred_element_type=jnp.float32)
        at = block * span + jnp.arange(span, dtype=jnp.int32)
        seen = at[None, None] <= positions[..., None]
        if window is not None:
            seen &= at[None, None] > positions[..., None] - window
        seen = jnp.broadcast_to(seen[:, None, None], (B, 1, R, Q, span))
        seen = seen.reshape(B, 1, R * Q, span)
        scores = jnp.where(seen, scores, _MASKED)
        new_peak = jnp.maximum(peak, scores.max(axis=-1))
        # A block that a row does not see at all must not count, whatever its peak was.
        weights = jnp.where(seen, jnp.exp(scores - new_peak[..., None]), 0.0)
        fade = jnp.exp(peak - new_peak)
        update = jnp.einsum(
            "BGMS,BGSK->BGMK",
            weights.astype(q.dtype),
            values,
            preferred_element_type=jnp.float32,
        )
        return (
            new_peak,
            total * fade + weights.sum(axis=-1),
            mixed * fade[..., None] + update,
        )

    shape = (B, G, R * Q)
    start = (
        jnp.full(shape, _MASKED, jnp.float32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros((*shape, K), jnp.float32),
    )
    _, total, mixed = lax.fori_loop(first, last // span + 1, visit, start)
    out = mixed / jnp.maximum(total, 1e-30)[..., None]
    return out.reshape(B, G, R, Q, K).transpose(0, 3, 1, 2, 4).reshape(B, Q, N, K).astype(q.dtype)


def _gather(pages: jax.Array, ids: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Pages ids[B, n] of pages[P, G, S, K] as [B, G, n * S, K]."""
    B, n = ids.shape
    _, G, S, K = pages.shape
    return from_storage(pages[ids], dtype).transpose(0, 2, 1, 3, 4).reshape(B, G, n * S, K)
